import { Buffer } from './buffer.js';
import { Deferred } from './deferred.js';
import { Emitter, call } from './emitter.js';
import { NeuroQuantumError } from './errors.js';
import { Position } from './options.js';
import { matcher } from './pattern.js';

/** A message of a channel. */
export interface Message<Data = any> {
  /** The channel that it was published to; also where a pattern was subscribed to. */
  channel: string;
  data: Data;
  /** When it was published: RFC 3339, UTC, with milliseconds. */
  timestamp: string;
  /** Its place in the order of the hub, in channels with history. */
  offset?: number;
  /** For who iterates: what may be missing right before this message. */
  gap?: Gap;
}

/** Tells that messages are missing, or may be. */
export interface Gap {
  /** The channel, or the pattern where no channel can be named. `$presence/CHANNEL` stands for presence events of CHANNEL. */
  channel: string;
  /**
   * The server's (`drop_oldest`, `drop_newest`, `drop_all`, `conflated`, `history_trimmed`) or the client's own:
   *
   * - `not_recovered`: the server could not give all that was published since the connection was lost.
   * - `epoch_changed`: the server's hub began anew. What the old one had for this client and had not sent is lost; what the new one
   *   keeps follows.
   * - `connection`: the connection was lost, and the channel keeps no history.
   * - `overflow`: the iteration was too slow for what came.
   */
  reason: string;
  /** The offsets that were delivered on either side, where there are any. */
  after?: number;
  before?: number;
  /** How many; null where that cannot be known. */
  dropped: number | null;
  /** Whether the history may still have them. */
  recoverable: boolean;
}

/** A connection that is present in a channel. */
export interface Member {
  connectionId: string;
  user?: string;
  since: string;
}

/** Options of `subscribe`. `since` and `history` exclude each other. */
export interface SubscribeOptions {
  /** Begin behind this place, as `position` told it before. */
  since?: Position;
  /** Begin with so many of the newest messages, at most 10,000. */
  history?: number;
  /** Tell of joins and leaves, too. */
  presence?: boolean;
  /** How many messages may wait for an iteration; then the oldest go, told as a gap. Default: 1,000. */
  buffer?: number;
}

export type SubscriptionEvents = {
  gap: (gap: Gap) => void;
  /** After a reconnect: whether all that was missed could be had, and how many messages are replayed. */
  recovered: (result: { recovered: boolean; replayed: number }) => void;
  join: (member: Member, channel: string) => void;
  leave: (member: Member, channel: string) => void;
  /** The server refused the subscription or ended it; there will be no more messages. */
  error: (error: NeuroQuantumError) => void;
};

/** One subscription to a channel or pattern. It outlives connections. */
export class Subscription<Data = any> extends Emitter<SubscriptionEvents> implements AsyncIterable<Message<Data>> {
  /** @internal Everything up to this offset has been handed over; undefined where nobody knows yet. */
  _at?: number;
  /** @internal Whether it has all that the connection has brought. */
  _caughtUp = false;
  /** @internal The server has confirmed it on this connection, where the hub was at this offset. */
  _confirmedAt?: number;
  /** @internal How many replayed messages are still to come; NaN where that is not told. */
  _replayLeft = NaN;
  /** @internal It was confirmed before, on whatever connection, where the hub was at this offset. */
  _startedAt?: { offset?: number };
  /** @internal It was confirmed on an earlier connection, too. */
  _retried = false;
  /** @internal A message without offset came: what is missed of its channel cannot be had again. */
  _unnumbered = false;
  /** @internal The hub began anew, and the server has not confirmed it since: something may be lost, whatever it says of the new hub. */
  _epochLost = false;
  /** @internal */
  _ended = false;
  /** @internal */
  readonly _matches: (channel: string) => boolean;
  /** @internal */
  readonly _confirmed = new Deferred();

  private _buffered?: Buffer<Message<Data>>;
  private _error?: NeuroQuantumError; // what ended it
  private _heard = false; // somebody waits for what may fail
  private _pendingGap?: Gap; // not yet told to who iterates

  /** @internal */
  constructor(
    readonly channel: string,
    /** @internal */
    readonly _options: SubscribeOptions,
    private _callback: ((message: Message<Data>) => void) | undefined,
    private _set: { _remove(sub: Subscription): void; _position(sub: Subscription): Position | undefined },
  ) {
    super();
    if (_options.since && _options.history !== undefined) throw new TypeError('give since or history, not both');
    this._matches = matcher(channel);
    if (!_callback) this._buffer();
  }

  /** Resolves once the server has confirmed it for the first time; rejects if it refuses. */
  get ready(): Promise<void> {
    this._heard = true;
    return this._confirmed._promise;
  }

  /** The place up to which everything has been handed over: what a later `since` may begin with. Undefined without history. */
  get position(): Position | undefined {
    return this._set._position(this);
  }

  /** Ends it. An iteration ends as well, behind what waits for it. */
  unsubscribe(): void {
    this._end();
  }

  /** The messages from the call of `subscribe` on where no callback was given, else from now on. Leaving the loop unsubscribes. */
  [Symbol.asyncIterator](): AsyncIterator<Message<Data>, undefined> {
    this._heard = true;
    return this._buffer();
  }

  /** @internal */
  _message(message: Message): void {
    if (this._callback) call(this._callback, message);
    this._buffered?._push(this._pendingGap ? { ...message, gap: this._pendingGap } : message);
    this._pendingGap = undefined;
  }

  /** @internal */
  _gap(gap: Gap): void {
    if (this._buffered) this._pendingGap = gap;
    this._emit('gap', gap);
  }

  /** @internal It reports whether the application hears of an error. */
  _end(error?: NeuroQuantumError): boolean {
    if (this._ended) return true;
    this._ended = true;
    this._error = error;
    this._set._remove(this);
    this._confirmed._reject(error ?? new NeuroQuantumError('CLOSED', 'unsubscribed', { channel: this.channel }));
    this._buffered?._end(error);
    return !error || this._emit('error', error) || this._heard;
  }

  private _buffer(): Buffer<Message<Data>> {
    if (!this._buffered) {
      const { buffer = 1000 } = this._options;
      this._buffered = new Buffer(buffer, (items) => this._overflow(items), () => this.unsubscribe());
      if (this._ended) this._buffered._end(this._error);
    }
    return this._buffered;
  }

  /** The oldest message goes. The first of a row is an event; how many went is told to who iterates. */
  private _overflow(items: Message<Data>[]): void {
    const lost = items.shift()!;
    const next = items[0];
    const told = lost.gap;
    const more = told?.reason === 'overflow';
    const known = !next.gap && (!told || (more && told.dropped !== null));
    const dropped = known ? (told?.dropped ?? 0) + 1 : null;
    const gap = { channel: this.channel, reason: 'overflow', before: next.offset, dropped, recoverable: lost.offset !== undefined };
    items[0] = { ...next, gap };
    if (!more) this._emit('gap', { ...gap, dropped: null });
  }
}
