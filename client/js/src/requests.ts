import { Connection } from './connection.js';
import { NeuroQuantumError, fromWire } from './errors.js';
import { RequestOptions } from './options.js';

/** What becomes of a request on the connection at hand. */
export interface Reply {
  /** An answer; true if no further one is awaited. */
  _answer(message: Record<string, any>): boolean | void;
  /** An error that is the request's, and whether it was told with the name of one of its channels; true as above. */
  _error(message: Record<string, any>): boolean | void;
}

interface Waiting extends Reply {
  id: number;
  text: string;
  publish: boolean;
  sentAt?: number; // performance.now() of the first time
  epoch?: string; // of the hub to which it was sent first
}

/** How many requests are under way at once. */
const window = 64;

/** The server remembers a publish's key for 2 minutes. So much later it is not sent again: it might be published twice. */
const keyLife = 100_000;

/** Requests, their answers, and what of them outlives a connection. */
export class Requests {
  private _next = 1;
  private _replies = new Map<number, Reply>(); // of this connection
  private _waiting = new Map<number, Waiting>(); // until answered, whatever connections come and go; in the order of the calls
  private _queue: Waiting[] = []; // of these, what is to be sent on this connection
  private _silent: number[] = []; // of the replies, those that come only if something fails
  private _underWay = 0;
  private _paused = false;
  private _timers = new Set<ReturnType<typeof setTimeout>>(); // of retries on this connection

  get _full(): boolean {
    return this._waiting.size >= this._max || this._replies.size >= this._max;
  }

  constructor(private _connection: Connection, private _timeout: number, private _max: number) {}

  /**
   * Sends a message on the connection at hand, and once more where the server says that there were too many. silent: there is no answer
   * but an error.
   */
  _command(message: object, reply: Partial<Reply> = {}, silent = false): void {
    const id = this._next++;
    if (silent && this._silent.push(id) > window) this._replies.delete(this._silent.shift()!);
    const text = JSON.stringify({ ...message, id });
    const send = () => {
      this._replies.set(id, {
        _answer: (m) => reply._answer?.(m) ?? true,
        _error: (m) => {
          if (m.code !== 'RATE_LIMITED') return reply._error?.(m) ?? true;
          this._later(m.retry_after_ms, send);
          return true;
        },
      });
      this._connection._send(text);
    };
    send();
  }

  /** Does something after so many milliseconds, if the connection still is then. */
  _later(delay: number, f: () => void): void {
    const timer = setTimeout(() => {
      this._timers.delete(timer);
      f();
    }, delay);
    this._timers.add(timer);
  }

  /** Sends a request now or as soon as there is a connection, on each new one again, until it is answered. */
  _request(message: Record<string, unknown>, options: RequestOptions = {}): Promise<Record<string, any>> {
    const { signal, timeout = this._timeout } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this._full) return reject(new NeuroQuantumError('OVERFLOW', 'too many requests wait'));
      const id = this._next++;
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        this._forget(w);
      };
      const w: Waiting = {
        id,
        text: JSON.stringify({ ...message, id }),
        publish: message.type === 'publish',
        _answer: (m) => (done(), resolve(m), true),
        _error: (m) => (done(), reject(m instanceof Error ? m : fromWire(m)), true),
      };
      const abort = () => (done(), reject(signal!.reason));
      const timer = setTimeout(() => {
        done();
        const uncertain = w.publish && w.sentAt !== undefined;
        reject(new NeuroQuantumError('TIMEOUT', 'no answer in time', { uncertain }));
      }, timeout);
      signal?.addEventListener('abort', abort);
      this._waiting.set(id, w);
      this._queue.push(w);
      this._pump();
    });
  }

  _opened(epoch: string): void {
    const now = performance.now();
    const uncertain = (w: Waiting) => w.publish && w.sentAt !== undefined && (w.epoch !== epoch || now - w.sentAt > keyLife);
    const all = [...this._waiting.values()];
    this._queue = all.filter((w) => !uncertain(w));
    for (const w of all.filter(uncertain)) {
      w._error(new NeuroQuantumError('UNCERTAIN', 'cut off; sent again it could be published twice', { uncertain: true }));
    }
    this._pump();
  }

  _down(): void {
    this._replies.clear();
    this._silent = [];
    for (const timer of this._timers) clearTimeout(timer);
    this._timers.clear();
    this._underWay = 0;
    this._queue = [];
    this._paused = false;
  }

  /** Refuses all that waits. */
  _close(error: NeuroQuantumError): void {
    this._down();
    for (const w of [...this._waiting.values()]) {
      const uncertain = w.publish && w.sentAt !== undefined;
      w._error(uncertain ? new NeuroQuantumError(error.code, error.message, { closeCode: error.closeCode, uncertain }) : error);
    }
  }

  /** Gives a message to the request that it answers; false where there is none. */
  _answer(message: Record<string, any>): boolean {
    const reply = this._replies.get(message.id);
    if (!reply) return message.id < this._next; // the answer to a request that was given up
    const done = message.type === 'error' ? reply._error(message) : reply._answer(message);
    if (done) this._replies.delete(message.id);
    return true;
  }

  private _forget(w: Waiting): void {
    this._waiting.delete(w.id);
    const place = this._queue.indexOf(w);
    if (place >= 0) this._queue.splice(place, 1);
    else if (this._replies.delete(w.id)) this._underWay--;
    this._pump();
  }

  private _pump(): void {
    const { _connection: connection } = this;
    while (this._queue.length && this._underWay < window && connection._state === 'open' && !connection._leaving && !this._paused) {
      const w = this._queue[0];
      if (!connection._fits(w.text)) {
        w._error(new NeuroQuantumError('TOO_LARGE', `the server takes ${connection._welcome!.maxMessageBytes} bytes`));
        continue;
      }
      this._queue.shift();
      const again = w.sentAt !== undefined;
      w.sentAt ??= performance.now();
      w.epoch ??= connection._welcome!.epoch;
      this._underWay++;
      this._replies.set(w.id, { _answer: w._answer, _error: (m) => this._failed(w, m, again) });
      connection._send(w.text);
    }
  }

  private _failed(w: Waiting, message: Record<string, any>, again: boolean): boolean {
    // Sent again, it may have been carried out the first time: only the answer to it can tell.
    const limited = message.code === 'RATE_LIMITED' && again;
    if (!limited && !(message.code === 'INTERNAL' && this._connection._leaving)) {
      w._error(message);
      return true;
    }
    if (!again) w.sentAt = w.epoch = undefined; // it was not carried out
    this._underWay--;
    this._queue.unshift(w);
    this._paused = true;
    this._later(message.retry_after_ms ?? 0, () => {
      this._paused = false;
      this._pump();
    });
    return true;
  }
}
