import { Buffer } from './buffer.js';
import { Deferred } from './deferred.js';
import { fromWire, NeuroQuantumError } from './errors.js';
import { Progress, Started, Stream, Streams } from './stream.js';
import { fields, Wire } from './wire.js';

/** Options of `watch`. */
export interface WatchOptions {
  /** The column that the site's `watch` block calls `key`, or several. Default: `id`. */
  key?: string | string[];
  /** Rows in a batch of the result. Default: as the server says. */
  batchSize?: number;
  /** How many changes may wait for an iteration; then one `reset` takes their place. Default: 1,000. */
  buffer?: number;
  /** How long the watch may take to start, as that of a query. Default: the client's. */
  timeout?: number;
  signal?: AbortSignal;
}

/** A change of the result. `reset`: all rows may be others; look at `rows`. */
export type Change<Row> =
  | { op: 'insert' | 'update'; key: any; row: Row; old?: Row }
  | { op: 'delete'; key: any; old?: Row }
  | { op: 'reset' };

export type WatchEvents<Row> = {
  /** `rows` is the result as it is now: for the first time, after a reset, and after a reconnect. */
  ready: (started: Started) => void;
  /** One row of `rows` has changed. */
  change: (change: Exclude<Change<Row>, { op: 'reset' }>) => void;
  /** `rows` has been replaced. */
  reset: () => void;
  /** `rows` may be old, because the connection is lost or a newer result is on its way; `ready` follows. */
  stale: () => void;
  progress: (progress: Progress) => void;
  /** The result could not be brought up to date just now (`retryAfterMs` is there), or the watch has ended. */
  error: (error: NeuroQuantumError) => void;
};

/** The key of `rows`: the value of the key's column; of several, their values as JSON text of an array. */
export type Key = string | number | boolean | null;

/** How many batches may be on their way. */
const credits = 8;

/** A live query: a copy of a result that the server keeps true. It outlives connections. */
export class Watch<Row extends Record<string, any> = Record<string, any>>
  extends Stream<WatchEvents<Row>>
  implements AsyncIterable<Change<Row>>
{
  /** The result by its key, in the order in which rows came. It is replaced as a whole, never emptied, by a reset. */
  rows: ReadonlyMap<Key, Row> = new Map();
  /** Whether `rows` is the result as it is now, as far as this client has heard. */
  live = false;

  private _complete = new Deferred(); // for the first time
  private _copy = new Map<Key, Row>(); // what `rows` is, or will be once it is complete
  private _whole = false; // whether copy is
  private _columns: string[];
  private _startedAs?: Started;
  private _revision = -1;
  private _heard = false; // somebody waits for what may fail
  private _received = 0; // batches for which no credit was granted yet
  private _changes?: Buffer<Change<Row>>;

  /** @internal */
  constructor(
    streams: Streams,
    private _ask: object,
    private _options: WatchOptions,
  ) {
    super('unwatch', streams, _options);
    this._columns = [_options.key ?? 'id'].flat();
    if (!this._columns[0]) throw new TypeError('key must name a column');
    this._begin();
  }

  /** Resolves once `rows` is complete for the first time. */
  get ready(): Promise<void> {
    this._heard = true;
    return this._complete._promise;
  }

  /** Ends it; an iteration ends as well. */
  close(): void {
    this._end();
  }

  /** The changes from now on. Leaving the loop ends the watch. */
  [Symbol.asyncIterator](): AsyncIterator<Change<Row>, undefined> {
    this._heard = true;
    if (!this._changes) {
      const { buffer = 1000 } = this._options;
      this._changes = new Buffer<Change<Row>>(buffer, (items) => items.splice(0, Infinity, { op: 'reset' }), () => this.close());
      if (this._ended) this._changes._end(this._failure);
    }
    return this._changes;
  }

  /** @internal */
  _request(): object {
    this._received = 0;
    if (!this._whole) this._revision = -1;
    const resume = this._startedAs && { stream_id: this._startedAs.streamId, revision: this._revision };
    return { ...this._ask, credits, resume };
  }

  /** @internal */
  _started(m: Wire): void {
    this._startedAs = fields(m);
    if (m.resumed) this._becomeLive();
    else this._restart();
  }

  /** @internal */
  _message(m: Wire): void {
    switch (m.type) {
      case 'query_batch':
        for (const row of m.rows) if (!this._ended) this._put(row);
        if (++this._received < credits / 2) break;
        this._streams._credit(this, this._received);
        this._received = 0;
        break;
      case 'query_ready':
        this._replace(m.revision);
        break;
      case 'query_change':
        this._change(m);
        break;
      case 'query_reset':
        this._restart();
        break;
      case 'query_progress':
        this._emit('progress', fields(m));
    }
  }

  /** @internal What is in `rows` may be old. */
  _lost(): void {
    if (!this.live) return;
    this.live = false;
    this._emit('stale');
  }

  /** @internal */
  _error(m: Wire, request: boolean): void {
    const error = fromWire(m);
    if (!request && error.retryAfterMs !== undefined) this._emit('error', error);
    else this._end(error);
  }

  /** @internal */
  _finish(error: unknown): void {
    this._lost();
    this._complete._reject(error ?? new NeuroQuantumError('CANCELLED', 'the watch was closed'));
    this._changes?._end(error);
    if (error instanceof NeuroQuantumError && !this._emit('error', error) && !this._heard) this._streams._client._failed(error);
  }

  /** A whole result follows. */
  private _restart(): void {
    this._lost();
    this._copy = new Map();
    this._whole = false;
  }

  private _key(value: unknown): Key {
    return typeof value === 'object' && value !== null ? JSON.stringify(value) : (value as Key);
  }

  private _put(row: Row): void {
    const values = this._columns.map((column) => row[column]);
    const key = this._key(values.length > 1 ? values : values[0]);
    if (values.includes(undefined) || this._copy.has(key)) {
      const words = `the rows have no unique ${this._columns}: set key`;
      this._end(new NeuroQuantumError('INVALID_PARAMS', words));
    } else this._copy.set(key, row);
  }

  private _replace(revision: number): void {
    this._revision = revision;
    this._whole = true;
    this.rows = this._copy;
    this._changes?._push({ op: 'reset' });
    this._emit('reset');
    this._becomeLive();
  }

  private _change(m: Wire): void {
    const key = this._key(m.key);
    const old = this._copy.get(key);
    const { op } = m;
    if (op !== 'delete' && !m.row) throw new TypeError('unexpected ' + op);
    if (op === 'delete') this._copy.delete(key);
    else this._copy.set(key, m.row);
    if (!this._whole) return; // a part of the result that is on its way
    this._revision = m.revision;
    const change = op === 'delete' ? { op, key: m.key, old } : { op, key: m.key, row: m.row, old };
    this._changes?._push(change);
    this._emit('change', change);
  }

  private _becomeLive(): void {
    if (this._ended) return; // by who was told of a reset
    this.live = true;
    this._complete._resolve();
    this._emit('ready', this._startedAs!);
  }
}
