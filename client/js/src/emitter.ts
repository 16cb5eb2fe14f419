import { verify } from './verify.js';

/** Events with typed arguments. */
export class Emitter<Events extends Record<string, (...args: any[]) => void>> {
  /** @internal */
  _listeners = new Map<keyof Events, Set<(...args: any[]) => void>>();
  /** Calls the listener at each such event, until the function that it returns is called. */
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void {
    verify({ listener }, 'listener');
    const set = this._listeners.get(name) ?? new Set();
    this._listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  /** @internal Calls the listeners. It returns false where there is none. */
  _emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): boolean {
    const listeners = [...(this._listeners.get(name) ?? [])];
    for (const listener of listeners) call(listener, ...args);
    return !!listeners[0];
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
