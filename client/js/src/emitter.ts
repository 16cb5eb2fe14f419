/** Events with typed arguments. */
export class Emitter<Events extends Record<string, (...args: any[]) => void>> {
  /** @internal */
  _listeners = new Map<keyof Events, Set<(...args: any[]) => void>>();

  /** Calls the listener at each such event, until the function that it returns is called. */
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void {
    const set = this._listeners.get(name) ?? new Set();
    this._listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  /** @internal */
  _emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): void {
    for (const listener of [...(this._listeners.get(name) ?? [])]) call(listener, ...args);
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
