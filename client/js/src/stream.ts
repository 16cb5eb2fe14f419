import { Connection } from './connection.js';
import { NeuroQuantumError } from './errors.js';
import { Requests } from './requests.js';

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

/** One query stream or watch, as the streams of a client see it. */
export interface Flow {
  /** The request that begins it on this connection, or goes on with it. */
  _request(): Record<string, unknown>;
  _started(message: Record<string, any>): void;
  _message(message: Record<string, any>): void;
  /** It has ended by an error; or, where it had not begun on this connection (`request`), could not begin. */
  _error(message: Record<string, any>, request: boolean): void;
  /** The connection is lost. */
  _lost?(): void;
  /** It has ended for the client. */
  _end(error?: unknown): void;
}

/** The streams of a client: begins them, gives them their messages, and goes on with them on a new connection. */
export class Streams {
  private _flows = new Map<Flow, string | undefined>(); // their stream ids on this connection

  constructor(private _connection: Connection, private _requests: Requests) {}

  _add(flow: Flow): void {
    this._flows.set(flow, undefined);
    if (this._connection._state === 'open') this._begin(flow);
  }

  /** Forgets a stream; what still comes of it is not heard. verb, if given, tells the server. */
  _remove(flow: Flow, verb?: 'cancel_query' | 'unwatch'): void {
    const id = this._flows.get(flow);
    if (!this._flows.delete(flow) || !verb || this._connection._state !== 'open') return;
    if (id) this._requests._command({ type: verb, stream_id: id });
  }

  _credit(flow: Flow, batches: number): void {
    const id = this._flows.get(flow);
    if (id) this._requests._command({ type: 'credit', stream_id: id, batches }, {}, true);
  }

  _opened(): void {
    for (const flow of [...this._flows.keys()]) this._begin(flow);
  }

  _down(): void {
    for (const flow of [...this._flows.keys()]) {
      this._flows.set(flow, undefined);
      flow._lost?.();
    }
  }

  _close(error: NeuroQuantumError): void {
    for (const flow of [...this._flows.keys()]) flow._end(error);
  }

  /** Gives a message to its stream. */
  _message(message: Record<string, any>): void {
    for (const [flow, id] of this._flows) {
      if (id !== message.stream_id) continue;
      if (message.type === 'error') flow._error(message, false);
      else if (message.type !== 'query_cancelled') flow._message(message);
      else if (!this._connection._leaving) {
        const details = { streamId: id };
        flow._end(new NeuroQuantumError('CANCELLED', `the query was cancelled: ${message.reason}`, details));
      } // else it is gone on with on the next connection
      return;
    }
  }

  private _begin(flow: Flow): void {
    const message = flow._request();
    const cancel = message.type === 'watch' ? 'unwatch' : 'cancel_query';
    this._requests._command(message, {
      _answer: (m) => {
        if (this._flows.has(flow)) {
          this._flows.set(flow, m.stream_id);
          flow._started(m);
        } else this._requests._command({ type: cancel, stream_id: m.stream_id });
      },
      _error: (m) => {
        if (!this._flows.has(flow)) return;
        if (m.code === 'INTERNAL' && this._connection._leaving) return; // it begins on the next connection
        flow._error(m, true);
      },
    });
  }
}
