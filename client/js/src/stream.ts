import { Connection } from './connection.js';
import { Emitter } from './emitter.js';
import { NeuroQuantumError } from './errors.js';
import { RequestOptions } from './options.js';
import { Requests } from './requests.js';
import { after, Timer } from './timer.js';
import { Wire } from './wire.js';

/** A column of a result. */
export interface Column {
  name: string;
  /** The database's name for its type; empty where it has none. */
  type: string;
}

/** What is known as soon as a query runs. */
export interface Started {
  streamId: string;
  columns: Column[];
  /** null where it cannot be told. */
  estimatedRows: number | null;
  totalKind: 'exact' | 'estimate' | 'unknown';
}

/** How far a query is. */
export interface Progress {
  /** Rows taken from the database. */
  rowsProcessed: number;
  /** null where the total is unknown. */
  percentage: number | null;
  /** Rows per second. */
  throughput: number;
  elapsedMs: number;
  etaMs: number | null;
  bytes: number;
  /** How much of elapsedMs the query waited for this client. */
  stalledMs: number;
  state: 'streaming' | 'throttled' | 'paused';
}

/** One query stream or watch. It outlives connections, until it ends. */
export abstract class Stream<Events extends Record<string, (...args: any[]) => void>> extends Emitter<Events> {
  /** @internal */
  _ended = false;
  /** @internal What ended it, if that was an error. */
  _failure: unknown;
  /** @internal Its time limit, while it waits for the answer to a request. */
  _timer: Timer;

  /** @internal The first is the type of message that ends it at the server. */
  constructor(
    /** @internal */
    readonly _verb: string,
    /** @internal */
    readonly _streams: Streams,
    private _limits: RequestOptions,
  ) {
    super();
  }

  /** @internal The request that begins it on this connection, or goes on with it. */
  abstract _request(): object;
  /** @internal */
  abstract _started(message: Wire): void;
  /** @internal */
  abstract _message(message: Wire): void;
  /** @internal It was ended by an error; or, where it had not begun on this connection (`request`), could not begin. */
  abstract _error(message: Wire, request: boolean): void;
  /** @internal Tells the application that it has ended. */
  abstract _finish(error: unknown): void;
  /** @internal The connection is lost. */
  _lost(): void {}

  /** @internal */
  _begin(): void {
    const { signal } = this._limits;
    if (signal?.aborted) this._abort();
    else {
      signal?.addEventListener('abort', this._abort);
      this._streams._add(this);
    }
  }

  /** @internal Ends it if its request has no answer in time. */
  _await(timeout: number): void {
    this._timer ??= after(this._limits.timeout ?? timeout, () => this._end(new NeuroQuantumError('TIMEOUT', 'no answer in time')));
  }

  /** @internal */
  _answered(): void {
    clearTimeout(this._timer);
    this._timer = undefined;
  }

  /** @internal */
  _end(error?: unknown): void {
    if (this._ended) return;
    this._ended = true;
    this._failure = error;
    this._answered();
    this._limits.signal?.removeEventListener('abort', this._abort);
    this._streams._remove(this, this._verb);
    this._finish(error);
  }

  private _abort = () => this._end(this._limits.signal!.reason);
}

type Any = Stream<any>;

/** The streams of a client: begins them, gives them their messages, and goes on with them on a new connection. */
export class Streams {
  private _flows = new Map<Any, string | undefined>(); // their stream ids on this connection

  constructor(
    private _connection: Connection,
    private _requests: Requests,
    private _timeout: number,
    /** @internal */
    readonly _client: { _failed(error: NeuroQuantumError): void },
  ) {}

  _add(flow: Any): void {
    this._flows.set(flow, undefined);
    flow._await(this._timeout);
    if (this._connection._isOpen) this._begin(flow);
  }

  /** Forgets a stream; what still comes of it is not heard. verb, if given, tells the server. */
  _remove(flow: Any, verb?: string): void {
    const id = this._flows.get(flow);
    flow._answered();
    if (this._flows.delete(flow) && id && verb) this._requests._command({ type: verb, stream_id: id });
  }

  _credit(flow: Any, batches: number): void {
    const id = this._flows.get(flow);
    if (id) this._requests._command({ type: 'credit', stream_id: id, batches }, {}, true);
  }

  _opened(): void {
    for (const flow of [...this._flows.keys()]) this._begin(flow);
  }

  _down(): void {
    for (const flow of [...this._flows.keys()]) {
      this._flows.set(flow, undefined);
      flow._lost();
    }
  }

  _close(error: NeuroQuantumError): void {
    for (const flow of [...this._flows.keys()]) flow._end(error);
  }

  /** Gives a message to its stream. */
  _message(message: Wire): void {
    for (const [flow, id] of this._flows) {
      if (id !== message.stream_id) continue;
      if (message.type === 'error') flow._error(message, false);
      else if (message.type !== 'query_cancelled') flow._message(message);
      else if (!this._connection._leaving) {
        flow._end(new NeuroQuantumError('CANCELLED', 'the query was cancelled: ' + message.reason, { streamId: id }));
      } // else it is gone on with on the next connection
      return;
    }
  }

  private _begin(flow: Any): void {
    flow._await(this._timeout);
    this._requests._command(flow._request(), {
      _answer: (m) => {
        if (m.type !== 'query_started') throw new TypeError('unexpected ' + m.type);
        if (this._flows.has(flow)) {
          this._flows.set(flow, m.stream_id);
          flow._answered();
          flow._started(m);
        } else this._requests._command({ type: flow._verb, stream_id: m.stream_id });
      },
      _error: (m) => {
        if (!this._flows.has(flow)) return;
        if (m.code === 'INTERNAL' && this._connection._leaving) return; // it begins on the next connection
        flow._answered();
        flow._error(m, true);
      },
    });
  }
}
