import type { ComponentChildren, Ref } from 'preact';
import { useId, useLayoutEffect, useRef } from 'preact/hooks';

/** How full something is, 0 to 1; undefined where that is not known but something goes on. */
export function Bar({ fill, label, tone = '' }: { fill: number | undefined; label: string; tone?: '' | 'warn' | 'bad' }) {
  const share = fill === undefined ? undefined : Math.min(1, Math.max(0, fill));
  const value = share === undefined ? {} : { 'aria-valuenow': Math.round(100 * share), style: { '--fill': `${100 * share}%` } };
  return (
    <div class={`bar ${tone}${share === undefined ? ' unknown' : ''}`} role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} {...value}>
      <i />
    </div>
  );
}

export type Tone = '' | 'good' | 'warn' | 'bad' | 'accent';

export const Pill = ({ tone = '', children }: { tone?: Tone; children: ComponentChildren }) => <span class={`pill ${tone}`}>{children}</span>;

/** A labelled control: children is given the id that the control must have. */
export function Field({ label, value, short = false, beside = false, help, children }: {
  label: string; value?: string; short?: boolean; beside?: boolean; help?: string; children: (id: string, describedBy: string | undefined) => ComponentChildren;
}) {
  const id = useId();
  const described = help ? `${id}-help` : undefined;
  return (
    <div class={`field${short ? ' short' : ''}${beside ? ' beside' : ''}`}>
      <label for={id}>{label}{value !== undefined && <output for={id}>{value}</output>}</label>
      {children(id, described)}
      {help && <p class="help" id={described}>{help}</p>}
    </div>
  );
}

/** A box that stays at its newest line unless one has scrolled away from it. */
export function useFollowing<E extends HTMLElement>(changes: unknown): Ref<E> {
  const box = useRef<E>(null);
  const following = useRef(true);
  useLayoutEffect(() => {
    const element = box.current!;
    const scrolled = () => (following.current = element.scrollHeight - element.scrollTop - element.clientHeight < 24);
    element.addEventListener('scroll', scrolled);
    return () => element.removeEventListener('scroll', scrolled);
  }, []);
  useLayoutEffect(() => {
    const element = box.current!;
    if (following.current) element.scrollTop = element.scrollHeight;
  }, [changes]);
  return box;
}
