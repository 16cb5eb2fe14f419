/** A bounded queue between what arrives and an async iterator. */
export class Buffer<T> implements AsyncIterator<T, undefined> {
  private _items: T[] = [];
  private _takers: { resolve: (r: IteratorResult<T, undefined>) => void; reject: (e: unknown) => void }[] = [];
  private _ended = false;
  private _error: unknown;

  /** overflow is given all that waits, with one entry too many, and makes it fewer. onReturn is called when the iteration is left. */
  constructor(
    private _size: number,
    private _overflow: (items: T[]) => void,
    private _onReturn: () => void,
  ) {}

  _push(item: T): void {
    if (this._ended) return;
    const taker = this._takers.shift();
    if (taker) {
      taker.resolve({ value: item, done: false });
      return;
    }
    this._items.push(item);
    if (this._items.length > this._size) this._overflow(this._items);
  }

  /** Ends the iteration behind what waits, with an error if there is one. */
  _end(error?: unknown): void {
    if (this._ended) return;
    this._ended = true;
    this._error = error;
    for (const taker of this._takers.splice(0)) this._finish(taker);
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      if (this._items.length) resolve({ value: this._items.shift()!, done: false });
      else if (this._ended) this._finish({ resolve, reject });
      else this._takers.push({ resolve, reject });
    });
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this._items = [];
    this._onReturn();
    this._end();
    return { value: undefined, done: true };
  }

  private _finish(taker: (typeof this._takers)[number]): void {
    const error = this._error;
    this._error = undefined; // an error is thrown once
    if (error !== undefined) taker.reject(error);
    else taker.resolve({ value: undefined, done: true });
  }
}
