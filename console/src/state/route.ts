// Which part of the page is shown stands behind the # of its address.

import { computed, signal } from '@preact/signals';

const fragment = signal(location.hash);
addEventListener('hashchange', () => (fragment.value = location.hash));

/** The view's name, and what stands behind it: #/channels?tail=a has the view channels and the argument tail. */
export const route = computed(() => {
  const [path = '', query = ''] = fragment.value.replace(/^#\/?/, '').split('?', 2);
  return { view: path, args: new URLSearchParams(query) };
});

export function href(view: string, args: Record<string, string> = {}): string {
  const query = new URLSearchParams(args);
  return `#/${view}${query.size > 0 ? `?${query}` : ''}`;
}

/** Changes the arguments without a step back in the browser's history. */
export function replaceArgs(args: Record<string, string>): void {
  history.replaceState(null, '', href(route.value.view, args));
  fragment.value = location.hash;
}
