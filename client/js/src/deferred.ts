/** A promise that is settled from outside. Whoever does not wait for it is told otherwise: its rejection is no uncaught error. */
export class Deferred<T = void> {
  _resolve!: (value: T) => void;
  _reject!: (error: unknown) => void;
  readonly _promise = new Promise<T>((resolve, reject) => {
    this._resolve = resolve;
    this._reject = reject;
  });

  constructor() {
    this._promise.catch(() => {});
  }
}
