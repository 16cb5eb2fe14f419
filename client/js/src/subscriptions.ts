import { Connection } from './connection.js';
import { fromWire, NeuroQuantumError } from './errors.js';
import { Position } from './options.js';
import { Requests } from './requests.js';
import { Gap, Message, Subscription } from './subscription.js';
import { fields, Wire } from './wire.js';

/** How many names a `subscribe` may have. */
const most = 128;

/**
 * All subscriptions of a client, what each has been handed over, and how they come back on a new connection.
 *
 * A connection brings messages in the order of their offsets, each once, whatever subscriptions it is for. Only where a replay begins,
 * offsets begin lower again, with messages for who asked for that replay. So the largest offset that came (`_maxOffset`) is the place of each
 * subscription but those whose replay is under way; these have a place of their own. A message goes to those who are not yet behind it.
 */
export class Subscriptions {
  private _names = new Map<string, Set<Subscription>>();
  private _patterns = new Map<string, Set<Subscription>>(); // the part of names that holds wildcards
  private _replaying = new Set<Subscription>(); // confirmed, with a replay under way
  private _epoch?: string;
  private _maxOffset = 0;
  private _welcomed = 0; // where the hub was when this connection began

  constructor(
    private _connection: Connection,
    private _requests: Requests,
    private _client: { _lost(gap: Gap, sub?: Subscription): void; _failed(error: NeuroQuantumError): void },
  ) {}

  _add(sub: Subscription): void {
    const set = this._names.get(sub.channel) ?? new Set();
    this._names.set(sub.channel, set.add(sub));
    if (sub.channel.includes('*')) this._patterns.set(sub.channel, set);
    if (this._connection._isOpen) this._begin([sub]);
  }

  _remove(sub: Subscription): void {
    const set = this._names.get(sub.channel);
    if (!set?.delete(sub)) return;
    this._replaying.delete(sub);
    if (!set.size) {
      this._names.delete(sub.channel);
      this._patterns.delete(sub.channel);
      this._requests._command({ type: 'unsubscribe', channel: sub.channel });
    } else if (sub._options.presence && !this._attended(sub.channel)) {
      this._requests._command({ type: 'subscribe', channel: sub.channel });
    }
  }

  _position(sub: Subscription): Position | undefined {
    const offset = sub._caughtUp ? Math.max(sub._at!, this._maxOffset) : sub._at;
    return offset === undefined || sub._startedAt?.offset === undefined ? undefined : { epoch: this._epoch!, offset };
  }

  _opened(epoch: string, offset: number): void {
    const changed = this._epoch !== undefined && this._epoch !== epoch;
    this._epoch = epoch;
    this._welcomed = offset;
    this._maxOffset = 0;
    const subs = [...this._all()]; // those that who is told of a loss adds begin by themselves
    for (const sub of subs) {
      const { _startedAt, _at } = sub;
      if (!changed || (!_startedAt && _at === undefined)) continue;
      sub._at = 0; // all that the new hub keeps is news
      if (!_startedAt || _startedAt.offset !== undefined) this._epochLost(sub);
    }
    this._begin(subs);
  }

  _down(): void {
    for (const sub of this._all()) {
      if (sub._caughtUp) sub._at = Math.max(sub._at!, this._maxOffset);
      sub._caughtUp = false;
      sub._confirmedAt = undefined;
    }
    this._replaying.clear();
    this._maxOffset = 0;
  }

  _close(error: NeuroQuantumError): void {
    for (const sub of [...this._all()]) sub._end(error);
  }

  _message(message: Message): void {
    const { channel, data, timestamp, offset } = message;
    const handed: Message = { channel, data, timestamp, offset };
    for (const sub of this._matching(channel)) {
      if (sub._ended) continue;
      if (offset === undefined) sub._unnumbered = true;
      else if (this._skip(sub, offset)) continue;
      sub._message(handed);
    }
    if (offset === undefined) return;
    this._maxOffset = Math.max(this._maxOffset, offset);
    // What comes behind the place of a confirmation comes behind its replay.
    for (const sub of this._replaying) if (offset > sub._confirmedAt!) this._markCaughtUp(sub, sub._confirmedAt);
  }

  _gap(gap: Gap): void {
    const presence = gap.channel.startsWith('$presence/');
    const channel = presence ? gap.channel.slice(10) : gap.channel;
    let told = false;
    for (const sub of this._matching(channel)) {
      if (presence && !sub._options.presence) continue;
      if (gap.before! <= sub._at!) continue; // of a replay for others: sub has had what comes behind
      told = true;
      sub._gap(gap);
      this._client._lost(gap, sub);
    }
    if (!told) this._client._lost(gap);
  }

  _presence(message: Record<string, any>): void {
    const event = message.type.slice(9); // behind presence_
    for (const sub of this._matching(message.channel)) {
      if (sub._options.presence) sub._emit(event, fields(message.member), message.channel);
    }
  }

  /** The server has ended the subscriptions to a channel. */
  _ended(message: Wire): void {
    const error = fromWire(message);
    const subs = [...(this._names.get(message.channel) ?? [])].filter((sub) => sub._confirmedAt !== undefined);
    for (const sub of subs) this._refuse(sub, error);
    if (!subs.length) this._client._failed(error);
  }

  private _refuse(sub: Subscription, error: NeuroQuantumError): void {
    if (!sub._end(error)) this._client._failed(error);
  }

  private *_all(): Generator<Subscription> {
    for (const set of this._names.values()) yield* set;
  }

  /** Subscribes for those that are new on this connection. */
  private _begin(subs: Subscription[]): void {
    // A long list of long names must fit into a message all the same.
    const chunk = Math.min(most, Math.ceil(this._connection._welcome!.maxMessageBytes / 512));
    for (const sub of subs) {
      const { since } = sub._options;
      if (sub._at !== undefined || sub._startedAt || !since) continue;
      sub._at = since.epoch === this._epoch ? since.offset : 0;
      if (since.epoch !== this._epoch) queueMicrotask(() => this._epochLost(sub)); // once the caller can listen
    }

    const fresh = subs.filter((sub) => sub._at === undefined);
    const plain = fresh.filter((sub) => !sub._options.history);
    for (const group of [
      subs.filter((sub) => sub._at !== undefined),
      plain.filter((sub) => !this._attended(sub.channel)),
      plain.filter((sub) => this._attended(sub.channel)),
    ]) {
      for (let i = 0; i < group.length; i += chunk) this._ask(group.slice(i, i + chunk));
    }
    for (const sub of fresh) if (sub._options.history) this._ask([sub]);
  }

  /**
   * Sends one `subscribe`. Those who had messages before are resumed by the place of the one that is furthest behind: what others have
   * already is skipped, and order and once hold for all of them.
   */
  private _ask(all: Subscription[]): void {
    const subs = all.filter((sub) => !sub._ended);
    if (!subs.length) return;
    const channels = new Set(subs.map((sub) => sub.channel));
    const message: Record<string, unknown> = { type: 'subscribe', channels: [...channels] };
    const attended = [...channels].filter((name) => this._attended(name));
    const [{ _at, _options }] = subs;
    if (_at !== undefined) message.since = { epoch: this._epoch, offset: Math.min(...subs.map((sub) => sub._at!)) };
    else {
      message.history = _options.history;
      if (attended.length) message.presence = true;
    }
    this._requests._command(message, {
      _answer: (m) => {
        for (const sub of subs) if (sub.channel === m.channel && !sub._ended) this._confirm(sub, m);
        channels.delete(m.channel);
        return !channels.size;
      },
      _error: (m) => {
        const { channel } = m;
        const meant = subs.filter((sub) => !sub._ended && (!channel || sub.channel === channel));
        if (m.retry_after_ms || (!channel && (m.code === 'HISTORY_UNAVAILABLE' || m.code === 'INTERNAL'))) {
          this._requests._later(Math.max(100, m.retry_after_ms ?? 1000), () => this._ask(meant));
        } else for (const sub of meant) this._refuse(sub, fromWire(m));
        channels.delete(channel);
        return !channel || !channels.size;
      },
    });
    if (_at !== undefined && attended.length) this._attend(attended);
  }

  /** Asks for presence events of channels that are subscribed to already. */
  private _attend(channels: string[]): void {
    this._requests._command(
      { type: 'subscribe', channels, presence: true },
      {
        _answer: () => false,
        _error: (m) => {
          const refused = m.channel ? [m.channel] : channels;
          for (const sub of [...this._all()]) {
            if (sub._options.presence && refused.includes(sub.channel)) this._refuse(sub, fromWire(m));
          }
        },
      },
    );
  }

  private _confirm(sub: Subscription, m: Record<string, any>): void {
    const { offset, replayed } = m;
    const recovered = m.recovered && !sub._epochLost;
    sub._epochLost = false;
    const again = sub._startedAt;
    sub._confirmedAt = offset ?? Math.max(this._maxOffset, this._welcomed);
    sub._replayLeft = NaN;
    // A place that the hub has never been at, such as one of another site: begin where the hub is.
    if (m.recovered === false && sub._at! > offset) sub._at = offset;
    if (sub._at !== undefined && replayed) {
      sub._replayLeft = replayed;
      this._replaying.add(sub);
    } else if (sub._at === undefined && sub._options.history) {
      // Where nothing of the history had come yet, it is asked for again; see skip.
      this._replaying.add(sub);
    } else this._markCaughtUp(sub, sub._confirmedAt!);
    sub._startedAt = { offset: sub._at === undefined && again ? again.offset : offset };
    sub._retried = !!again;
    if (again && sub._options.presence) this._lost(sub, 'connection', '$presence/' + sub.channel);
    if (recovered !== undefined) {
      sub._emit('recovered', { recovered, replayed });
      if (!m.recovered) this._lost(sub, offset === undefined ? 'connection' : 'not_recovered');
      else if (sub._unnumbered) this._lost(sub, 'connection');
    }
    sub._confirmed._resolve();
  }

  /** Those that are confirmed and match, as they are now. */
  private _matching(channel: string): Subscription[] {
    const found = [...(this._names.get(channel) ?? [])];
    for (const set of this._patterns.values()) for (const sub of set) if (sub._matches(channel)) found.push(sub);
    return found.filter((sub) => sub._confirmedAt !== undefined);
  }

  /** Notes that sub is handed the message of this offset; true if it has it already. */
  private _skip(sub: Subscription, offset: number): boolean {
    if (sub._at !== undefined && offset <= sub._at) return true;
    if (sub._at === undefined && sub._retried && offset > sub._startedAt!.offset!) {
      // History was asked for once more, and has nothing from before the cut: there may have been more than was asked for.
      this._lost(sub, 'not_recovered');
    }
    sub._at = offset;
    if (--sub._replayLeft === 0) this._markCaughtUp(sub);
    return false;
  }

  /** Nothing of its replay is still to come; all up to `at` has come. */
  private _markCaughtUp(sub: Subscription, at = 0): void {
    this._replaying.delete(sub);
    sub._caughtUp = true;
    sub._at = Math.max(sub._at ?? 0, at);
  }

  private _attended(channel: string): boolean {
    return [...(this._names.get(channel) ?? [])].some((sub) => sub._options.presence);
  }

  private _epochLost(sub: Subscription): void {
    sub._epochLost = true;
    this._lost(sub, 'epoch_changed');
  }

  private _lost(sub: Subscription, reason: string, channel = sub.channel): void {
    if (sub._ended) return;
    const gap: Gap = { channel, reason, dropped: null, recoverable: false };
    sub._gap(gap);
    this._client._lost(gap, sub);
  }
}
