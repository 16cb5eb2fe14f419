import { Connection } from './connection.js';
import { NeuroQuantumError, fromWire } from './errors.js';
import { RequestOptions } from './options.js';
import { after, Timer } from './timer.js';
import { json, Wire } from './wire.js';

/** What becomes of a message on the connection at hand. */
export interface Reply {
  /** An answer; true if no further one is awaited. */
  _answer(message: Wire): boolean | void;
  /** An error that is the message's, the server's or the client's own; true as above. */
  _error(message: Wire): boolean | void;
}

/** A message with an id. */
interface Sending extends Reply {
  _id: number;
  _text: string;
  _turn: number; // its place in the queue of this connection
  _publish?: boolean;
  _once?: boolean; // it is not sent on another connection
  _silent?: boolean; // there is no answer but an error
  _number?: number; // in the order in which messages were sent
  _again?: boolean; // it was sent before it was sent last
  _sentAt?: number; // performance.now() of the first time
  _epoch?: string; // of the hub to which it was sent first
}

/** How many messages may be under way, without the server having taken them. */
const window = 64;

/** The server remembers a publish's key for 2 minutes. So much later it is not sent again: it might be published twice. */
const keyLife = 100_000;

/** All that is sent with an id: in one queue, at the server's pace; its answers; and what of it outlives a connection. */
export class Requests {
  private _next = 1;
  private _turns = 0;
  private _waiting = new Map<number, Sending>(); // requests until answered, whatever connections come and go; in the order of the calls
  private _queue: Sending[] = []; // for this connection, by turn
  private _sent = new Map<number, Sending>(); // on this connection, and answers may come
  private _silent: number[] = []; // of these, the last silent ones
  private _interval = 0; // ms between two messages, as the server's refusals name it; 0: no limit
  private _due = 0; // performance.now() from which the next message may go
  private _spare = 0; // how many messages are made up for where a timer was late
  private _paused = false; // until then
  private _numbers = 0; // of messages that have an answer, as they are sent
  private _taken = 0; // the last number that the server has taken: it takes one after the other
  private _slowed = 0; // the last number when the pace was last made slower
  private _timers = new Set<Timer>(); // of this connection

  constructor(private _connection: Connection, private _timeout: number, private _max: number) {}

  /** Sends a message on the connection at hand. silent: there is no answer but an error. */
  _command(message: Wire, reply: Partial<Reply> = {}, silent = false): void {
    this._enqueue({
      ...this._sending(message),
      _silent: silent,
      _answer: (m) => reply._answer?.(m) ?? true,
      _error: (m) => reply._error?.(m) ?? true,
    });
  }

  /** Does something after so many milliseconds, if the connection still is then. */
  _later(delay: number, f: () => void): void {
    const timer = after(delay, () => {
      this._timers.delete(timer);
      f();
    });
    this._timers.add(timer);
  }

  /**
   * Sends a request now or as soon as there is a connection, on each new one again, until it is answered. once: only on the connection at
   * hand.
   */
  _request(message: Wire, options: RequestOptions = {}, once = false): Promise<Wire> {
    const { signal, timeout = this._timeout } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this._waiting.size >= this._max) return reject(new NeuroQuantumError('OVERFLOW', 'too many requests wait'));
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        this._forget(sending);
      };
      const sending: Sending = {
        ...this._sending(message),
        _publish: message.type === 'publish',
        _once: once,
        _answer: (m) => (done(), resolve(m), true),
        _error: (m) => (done(), reject(fromWire(m)), true),
      };
      const abort = () => (done(), reject(signal!.reason));
      signal?.addEventListener('abort', abort); // it throws if signal is none: before anything that would be left behind
      const timer = after(timeout, () => this._fail(sending, new NeuroQuantumError('TIMEOUT', 'no answer in time')));
      this._waiting.set(sending._id, sending);
      this._enqueue(sending);
    });
  }

  _opened(epoch: string): void {
    const now = performance.now();
    for (const s of [...this._waiting.values()]) {
      if (s._turn) continue; // it was made since the connection opened
      if (s._publish && s._sentAt !== undefined && (s._epoch !== epoch || now - s._sentAt > keyLife)) {
        this._fail(s, new NeuroQuantumError('UNCERTAIN', 'cut off, perhaps published'));
      } else this._enqueue(s);
    }
  }

  _down(): void {
    for (const timer of this._timers) clearTimeout(timer);
    this._timers.clear();
    this._interval = this._due = 0;
    this._spare = 32;
    this._paused = false;
    this._sent.clear();
    this._taken = this._numbers;
    this._silent = [];
    this._queue = [];
    for (const s of [...this._waiting.values()]) {
      s._turn = 0;
      if (s._once) this._fail(s, new NeuroQuantumError('CLOSED', 'the connection was lost'));
    }
  }

  /** Refuses all that waits. */
  _close(error: NeuroQuantumError): void {
    for (const s of [...this._waiting.values()]) this._fail(s, error);
  }

  /** Hands a message to the request that it answers; false where there is none. */
  _answer(message: Wire): boolean {
    const sending = this._sent.get(message.id);
    if (!sending) return message.id < this._next; // the answer to a request that was given up
    const failed = message.type === 'error';
    this._taken = Math.max(this._taken, sending._number!);
    const { code } = message;
    if (failed && (code === 'RATE_LIMITED' || (code === 'INTERNAL' && this._connection._leaving && this._waiting.has(sending._id)))) {
      this._again(sending, message);
    } else if (failed ? sending._error(message) : sending._answer(message)) this._sent.delete(message.id);
    this._pump();
    return true;
  }

  private _sending(message: Wire) {
    const _id = this._next++;
    return { _id, _text: json({ ...message, id: _id }), _turn: 0 };
  }

  private _enqueue(sending: Sending): void {
    if (!this._connection._isOpen) return;
    sending._turn = ++this._turns;
    this._queue.push(sending);
    this._pump();
  }

  private _forget(sending: Sending): void {
    this._waiting.delete(sending._id);
    this._queue = this._queue.filter((other) => other !== sending);
    this._sent.delete(sending._id);
    this._taken = Math.max(this._taken, sending._number ?? 0);
    this._pump();
  }

  /** Ends a request without an answer. */
  private _fail(sending: Sending, { code, message, closeCode }: NeuroQuantumError): void {
    const uncertain = sending._publish && sending._sentAt !== undefined;
    sending._error(new NeuroQuantumError(code, message, { closeCode, uncertain }));
  }

  private _pump(): void {
    const { _connection: connection } = this;
    while (this._queue.length && this._numbers - this._taken < window && connection._isOpen && !connection._leaving && !this._paused) {
      const now = performance.now();
      const early = this._due - now;
      if (early > 0) {
        this._paused = true;
        this._later(early, () => {
          this._paused = false;
          this._pump();
        });
        return;
      }
      this._due = Math.max(this._due, now - this._spare * this._interval) + this._interval;
      const s = this._queue.shift()!;
      if (!connection._fits(s._text)) {
        s._error(new NeuroQuantumError('TOO_LARGE', 'larger than the server takes'));
        continue;
      }
      s._again = s._sentAt !== undefined;
      s._sentAt ??= now;
      s._epoch ??= connection._welcome!.epoch;
      s._number = s._silent ? this._numbers : ++this._numbers;
      this._sent.set(s._id, s);
      if (s._silent && this._silent.push(s._id) > window) this._sent.delete(this._silent.shift()!);
      connection._send(s._text);
    }
  }

  /** Puts what the server did not take back to its place in the queue. */
  private _again(sending: Sending, { code, retry_after_ms: wait }: Wire): void {
    // Had it been sent before, it may have been carried out then.
    if (!sending._again) sending._sentAt = sending._epoch = undefined;
    this._sent.delete(sending._id);
    if (code === 'RATE_LIMITED' && sending._number! > this._slowed) {
      this._slowed = this._numbers;
      this._interval = (wait || 1000) + Math.sign(this._interval); // the server leaves out the fraction
      this._spare >>= 1;
      this._due = performance.now() + this._interval;
    }
    const place = this._queue.findIndex(({ _turn }) => _turn > sending._turn);
    this._queue.splice(place < 0 ? this._queue.length : place, 0, sending);
  }
}
