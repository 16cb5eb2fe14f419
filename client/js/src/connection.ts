import { Credentials } from './credentials.js';
import { NeuroQuantumError } from './errors.js';
import { ClientOptions, WebSocketLike } from './options.js';
import { longest } from './timer.js';
import { fields, parse, Wire } from './wire.js';

/**
 * - `idle`: not yet asked to connect.
 * - `connecting`: a connection is being made.
 * - `open`: connected, and welcomed by the server.
 * - `waiting`: between two attempts.
 * - `closed`: by `close()`, or because the server said not to come back.
 */
export type State = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed';

/** Why a state was entered. */
export interface StateDetail {
  /** With `waiting`: until the next attempt, in milliseconds. */
  delay?: number;
  /** With `waiting` and `closed`: what ended the connection. */
  error?: NeuroQuantumError;
}

/** The server's first message. */
export interface Welcome {
  connectionId: string;
  user?: string;
  heartbeatIntervalMs: number;
  heartbeatTimeoutMs: number;
  maxMessageBytes: number;
  epoch: string;
  offset: number;
  serverTime: string;
}

export interface Handler {
  _state(state: State, detail: StateDetail): void;
  _opened(welcome: Welcome): void;
  _message(message: Wire): void;
  _down(): void;
  _failed(error: NeuroQuantumError): void;
}

const protocol = 'neuroquantum.v1';
const ndjson = 'neuroquantum.v1.ndjson';

/** The close codes with which a server sends a client away for good. */
const final = [1002, 1003, 1007, 1008, 1009, 4003];

/** A connection that was open for so many milliseconds has proved itself: waiting begins anew from the shortest. */
const proven = 10_000;

const encoder = new TextEncoder();

/** One WebSocket at a time, made anew until told otherwise. */
export class Connection {
  _state: State = 'idle';
  _welcome?: Welcome;
  /** The server has announced that it will close this connection. */
  _leaving = false;

  private _socket?: WebSocketLike;
  private _generation = 0; // of attempts: what an earlier one still does has no effect
  private _attempts = 0;
  private _openedAt = 0;
  private _heardAt = 0;
  private _comeBackAt?: number; // performance.now() at which the server wants the client back
  private _retryOnOnline = false; // the waiting is not by the server's wish: the network's coming back ends it early
  private _outbox: string[] = [];
  private _timer?: ReturnType<typeof setTimeout>; // of the state: connecting's limit, open's heartbeat, waiting's end
  private _online = () => this._wake();

  constructor(
    private _url: URL,
    private _options: ClientOptions,
    private _credentials: Credentials,
    private _handler: Handler,
  ) {}

  _connect(): void {
    if (this._state !== 'idle' && this._state !== 'closed') return;
    globalThis.addEventListener?.('online', this._online);
    this._attempts = 0;
    this._open();
  }

  _close(error?: NeuroQuantumError): void {
    if (this._state === 'closed') return;
    if (error) this._handler._failed(error);
    globalThis.removeEventListener?.('online', this._online);
    this._detach(false);
    this._enter('closed', { error });
  }

  get _isOpen(): boolean {
    return this._state === 'open';
  }

  /** Whether the server takes a message of this text. */
  _fits(text: string): boolean {
    const max = this._welcome!.maxMessageBytes;
    return text.length * 3 <= max || encoder.encode(text).length <= max;
  }

  /** Sends messages, together with all that is sent in the same turn where the subprotocol allows it. */
  _send(text: string): void {
    if (this._outbox.push(text) === 1) queueMicrotask(() => this._flush());
  }

  /** Gives up a connection that does not work any more. */
  _drop(reason: string): void {
    this._detach(true);
    this._ended(1006, reason);
  }

  private _enter(state: State, detail: StateDetail = {}): void {
    const { _isOpen: opened } = this;
    this._state = state;
    if (opened) this._handler._down();
    // Who was told of that may have closed the client.
    if (this._state === state) this._handler._state(state, detail);
  }

  private _arm(delay: number, f: () => void): void {
    clearTimeout(this._timer);
    this._timer = setTimeout(f, Math.min(delay, longest));
  }

  private _limit(reason: string): void {
    this._arm(this._options.connectTimeout ?? 15_000, () => this._drop(reason));
  }

  private async _open(): Promise<void> {
    const generation = ++this._generation;
    this._limit('connecting took too long');
    this._enter('connecting');
    try {
      const { token, ticket } = await this._credentials._current();
      if (generation === this._generation) this._dial(token, ticket);
    } catch (cause) {
      if (generation !== this._generation) return;
      this._detach(true);
      this._ended(1006, 'no new token', cause);
    }
  }

  private _dial(token: string | null | undefined, ticket: string | undefined): void {
    const Class = this._options.WebSocket ?? globalThis.WebSocket;
    let socket: WebSocketLike;
    try {
      const url = new URL(this._url);
      if (ticket) url.searchParams.set('ticket', ticket);
      const protocols = this._options.ndjson === false ? [protocol] : [ndjson, protocol];
      if (token) protocols.push('bearer.' + token);
      socket = new Class(url.href, protocols);
    } catch (cause) {
      // Trying again would not help.
      const words = Class ? 'this URL or token cannot be used' : 'no WebSocket class: set the option';
      this._close(new NeuroQuantumError('CLOSED', words, { cause }));
      return;
    }
    this._socket = socket;
    let cause: unknown; // which browsers do not tell
    socket.onerror = (event) => (cause = event.error); // onclose follows
    socket.onclose = (event) => {
      this._detach(false);
      this._ended(event.code, event.reason, cause);
    };
    socket.onmessage = (event) => {
      try {
        this._frame(String(event.data));
      } catch (cause) {
        // What it said is lost: a new connection recovers it.
        const error = new NeuroQuantumError('PROTOCOL_ERROR', 'not of the protocol: ' + cause);
        this._handler._failed(error);
        if (this._socket === socket) this._drop(error.message);
      }
    };
  }

  private _frame(text: string): void {
    this._heardAt = performance.now();
    const socket = this._socket;
    for (const line of socket!.protocol === ndjson ? text.split('\n') : [text]) {
      if (this._socket !== socket) return; // one of the messages before ended the connection
      if (line) this._message(line);
    }
  }

  private _message(line: string): void {
    const message = parse(line);
    const { _isOpen: opened } = this;
    if (message.type === 'reconnect') {
      this._leaving = true;
      this._comeBackAt = performance.now() + message.after_ms;
      this._limit('the server does not answer'); // until then requests wait
    } else {
      if (opened === (message.type === 'welcome')) throw new TypeError('unexpected ' + message.type);
      if (opened) this._handler._message(message);
      else this._welcomed(fields(message));
    }
  }

  private _welcomed(welcome: Welcome): void {
    this._welcome = welcome;
    this._leaving = false;
    this._comeBackAt = undefined;
    this._openedAt = this._heardAt;
    this._watch();
    this._state = 'open';
    this._handler._opened(welcome);
    if (this._isOpen) this._handler._state('open', {});
  }

  /** Asks a silent server for a sign of life. Its WebSocket Pings are not seen here. */
  private _watch(): void {
    const interval = this._options.heartbeat?.interval ?? this._welcome!.heartbeatIntervalMs;
    this._arm(this._heardAt + interval - performance.now(), () => {
      if (performance.now() - this._heardAt < interval) this._watch();
      else this._probe();
    });
  }

  private _probe(): void {
    const asked = performance.now();
    this._send('{"type":"ping"}');
    this._arm(this._options.heartbeat?.timeout ?? 10_000, () => {
      // Where this thread was busy the answer may be here, but not yet told: it comes before the next timer.
      this._arm(50, () => {
        if (this._heardAt >= asked) this._watch();
        else this._drop('the server does not answer');
      });
    });
  }

  private _flush(): void {
    const { _socket: socket, _isOpen: open } = this;
    const texts = this._outbox.splice(0);
    if (!socket || !open) return;
    let frame = '';
    for (const text of texts) {
      const longer = frame + '\n' + text;
      if (frame && socket.protocol === ndjson && this._fits(longer)) frame = longer;
      else {
        if (frame) socket.send(frame);
        frame = text;
      }
    }
    if (frame) socket.send(frame);
  }

  /** Lets go of the socket: what it still says is not heard. */
  private _detach(hard: boolean): void {
    this._generation++;
    clearTimeout(this._timer);
    const socket = this._socket;
    this._socket = undefined;
    this._outbox = [];
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.onerror = () => {};
    if (hard && socket.terminate) socket.terminate();
    else socket.close(1000);
  }

  /** Decides what follows the end of a connection, or of an attempt. */
  private _ended(closeCode: number, reason: string, cause?: unknown): void {
    const { _isOpen: opened } = this;
    const { _comeBackAt: comeBackAt } = this;
    this._comeBackAt = undefined;
    if (opened && performance.now() - this._openedAt >= proven) this._attempts = 0;
    if (!opened || closeCode === 4001) this._credentials._invalidate();

    // A server refuses an expired token before there is a WebSocket that could say so.
    if (!opened && this._credentials._expired) [closeCode, reason] = [4001, 'the token has expired'];
    const refused = closeCode === 4001 && !this._credentials._renewable;
    const away = closeCode === 4100 && comeBackAt === undefined;
    const gone = refused || away || final.includes(closeCode);
    const words = reason || 'close code ' + closeCode;
    const error = new NeuroQuantumError(gone ? 'CLOSED' : 'CONNECT_FAILED', words, { closeCode, cause });
    if (gone) {
      this._close(error);
      return;
    }
    const first = !this._attempts;
    let delay = this._backoff();
    // Who is called back at once, again and again, waits all the same.
    if (comeBackAt !== undefined) delay = Math.max(first ? 0 : delay, comeBackAt - performance.now());
    this._arm(delay, () => this._open());
    this._retryOnOnline = comeBackAt === undefined;
    this._enter('waiting', { delay, error });
    if (!opened && this._state === 'waiting') this._handler._failed(error);
  }

  private _backoff(): number {
    const { min = 500, max = 30_000 } = this._options.backoff ?? {};
    return Math.random() * Math.min(max, min * 2 ** Math.min(this._attempts++, 30));
  }

  /** The network is back, or another. */
  private _wake(): void {
    if (this._state === 'waiting' && this._retryOnOnline) this._open();
    else if (this._isOpen && !this._leaving) this._probe();
  }
}
