import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

const key = 'neuroquantum_ws.theme';

function stored(): Theme {
  try {
    const value = localStorage.getItem(key);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system'; // the browser keeps nothing for this site
  }
}

export const theme = signal<Theme>(stored());

const system = matchMedia('(prefers-color-scheme: dark)');
const systemDark = signal(system.matches);
system.addEventListener('change', () => (systemDark.value = system.matches));

/** Changes whenever colours do. */
export const dark = signal(false);

effect(() => {
  const now = theme.value === 'dark' || (theme.value === 'system' && systemDark.value);
  document.documentElement.dataset.theme = now ? 'dark' : 'light';
  dark.value = now;
  try {
    if (theme.value === 'system') localStorage.removeItem(key);
    else localStorage.setItem(key, theme.value);
  } catch {
    // It holds until the page is closed.
  }
});
