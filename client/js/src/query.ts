import { Deferred } from './deferred.js';
import { fromWire, NeuroQuantumError } from './errors.js';
import { RequestOptions } from './options.js';
import { Progress, Started, Stream, Streams } from './stream.js';
import { fields, Wire } from './wire.js';

/** Options of `query`. */
export interface QueryOptions {
  /** Rows in a batch. Default: as the server says. */
  batchSize?: number;
  /** How many batches may be on their way or wait here; consuming one lets the server send another. Default: 4. */
  credits?: number;
  /** Rows as objects, or as arrays in the order of the columns. Default: objects. */
  format?: 'objects' | 'arrays';
  /** For SQL of your own: which of the site's sources it runs on. */
  source?: string;
  /**
   * How long the query may take to start, from the call, in milliseconds; as long once more after each reconnect. Default: the client's.
   */
  timeout?: number;
  signal?: AbortSignal;
}

/** How a query ended. */
export interface Summary {
  totalRows: number;
  executionTimeMs: number;
  batches: number;
}

export type QueryEvents = {
  progress: (progress: Progress) => void;
  /** The query goes on after a reconnect. */
  resumed: () => void;
};

/** The result of a query, to be iterated once. Leaving the loop cancels the query. */
export class Query<Row = Record<string, any>> extends Stream<QueryEvents> implements AsyncIterable<Row> {
  /** How it ended; undefined until then, and if it failed. */
  summary?: Summary;

  private _startedAs = new Deferred<Started>();
  private _streamId?: string;
  private _last = -1; // the last batch that came
  private _resuming = false; // asked to go on, and nothing has come since
  private _waiting: Row[][] = []; // at most `credits`: no more are granted
  private _iterated = false;
  private _held = 0; // 1 while the consumer is at a batch
  private _consumed = 0; // batches for which no credit was granted yet
  private _wake?: () => void;

  /** @internal */
  constructor(
    streams: Streams,
    private _ask: object,
    private _credits: number,
    limits: RequestOptions,
  ) {
    super('cancel_query', streams, limits);
    this._begin();
  }

  /** Resolves once the query runs. */
  get started(): Promise<Started> {
    return this._startedAs._promise;
  }

  /** Stops the query; an iteration ends. */
  cancel(): void {
    this._waiting = [];
    this._end();
  }

  [Symbol.asyncIterator](): AsyncGenerator<Row, void, undefined> {
    return this._rows(this.batches());
  }

  /** The rows as the batches in which they come. */
  batches(): AsyncGenerator<Row[], void, undefined> {
    if (this._iterated) throw new TypeError('a query can be iterated over once');
    this._iterated = true;
    return this._batches();
  }

  private async *_batches(): AsyncGenerator<Row[], void, undefined> {
    try {
      for (;;) {
        while (!this._waiting.length && !this._ended) await new Promise<void>((resolve) => (this._wake = resolve));
        const batch = this._waiting.shift();
        if (!batch) break;
        this._held = 1;
        yield batch;
        this._held = 0;
        this._grant();
      }
      if (this._failure !== undefined) throw this._failure;
    } finally {
      this.cancel();
    }
  }

  private async *_rows(batches: AsyncGenerator<Row[], void, undefined>): AsyncGenerator<Row, void, undefined> {
    for await (const batch of batches) yield* batch;
  }

  /** Grants credit in halves of what there is, so that it costs few messages. */
  private _grant(): void {
    if (++this._consumed < this._credits / 2) return;
    this._streams._credit(this, this._consumed);
    this._consumed = 0;
  }

  /** @internal */
  _request(): object {
    this._consumed = 0;
    this._resuming = this._streamId !== undefined;
    const credits = Math.max(0, this._credits - this._waiting.length - this._held);
    if (!this._resuming) return { ...this._ask, credits };
    return { type: 'stream_query', resume: { stream_id: this._streamId, batch_number: this._last }, credits };
  }

  /** @internal */
  _started(m: Wire): void {
    this._streamId = m.stream_id;
    this._startedAs._resolve(fields(m));
    if (this._resuming) this._emit('resumed');
  }

  /** @internal */
  _message(m: Wire): void {
    if (m.type === 'query_batch') {
      if (m.batch_number !== this._last + 1 || this._waiting.length >= this._credits) {
        this._end(new NeuroQuantumError('STREAM_ERROR', 'a batch is missing', fields(m)));
        return;
      }
      this._resuming = false;
      this._last++;
      this._waiting.push(m.rows);
      this._wake?.();
    } else if (m.type === 'query_progress') this._emit('progress', fields(m));
    else if (m.type === 'query_completed') {
      this.summary = fields(m);
      this._stop();
    }
  }

  /** @internal */
  _error(m: Wire): void {
    const error = fromWire(m);
    if (!this._resuming) this._stop(error);
    else if (this._last < 0) {
      this._streamId = undefined; // nothing had come: begin anew
      this._streams._remove(this);
      this._streams._add(this);
    } else {
      const details = { streamId: this._streamId, cause: error };
      this._stop(new NeuroQuantumError('RESUME_FAILED', 'the query cannot go on: ' + error.message, details));
    }
  }

  /** @internal */
  _finish(error: unknown): void {
    if (error && !(error instanceof NeuroQuantumError)) this._waiting = []; // who aborts wants no more
    this._startedAs._reject(error ?? new NeuroQuantumError('CANCELLED', 'the query was cancelled'));
    this._wake?.();
  }

  /** The server has ended it: there is nothing to cancel. */
  private _stop(error?: unknown): void {
    this._streams._remove(this);
    this._end(error);
  }
}
