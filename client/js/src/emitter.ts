import { verify } from './verify.js';

/** Events with typed arguments. */
export class Emitter<Events extends Record<string, (...args: any[]) => void>> {
  /** @internal */
  _listeners = new Map<keyof Events, Set<(...args: any[]) => void>>();
  /** @internal Calls that are due; undefined while none is made. */
  _due?: (() => void)[];

  /** Calls the listener at each such event, until the function that it returns is called. */
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void {
    verify({ listener }, 'listener');
    const set = this._listeners.get(name) ?? new Set();
    this._listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  /**
   * @internal Calls the listeners. An event that one of them causes waits until all have heard of this one: each hears all events in their
   * order. It returns false where there is no listener.
   */
  _emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): boolean {
    const set = this._listeners.get(name) ?? new Set();
    const calls = [...set].map((listener) => () => void (set.has(listener) && call(listener, ...args)));
    if (this._due) this._due.push(...calls);
    else {
      this._due = calls;
      for (const due of calls) due();
      this._due = undefined;
    }
    return calls.length > 0;
  }
}

/** Calls what the application gave. What it throws is the application's: it is reported as uncaught and hinders nothing here. */
export function call<Args extends unknown[]>(f: (...args: Args) => void, ...args: Args): void {
  try {
    f(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
