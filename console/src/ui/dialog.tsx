import type { ComponentChildren, RefObject } from 'preact';
import { useId } from 'preact/hooks';

/** A modal dialog; the browser keeps the focus in it and closes it with Escape. */
export function Dialog({ title, dialog, children }: { title: string; dialog: RefObject<HTMLDialogElement | null>; children: ComponentChildren }) {
  const id = useId();
  return (
    <dialog ref={dialog} aria-labelledby={id}>
      <div class="stack">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}
