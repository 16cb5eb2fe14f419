import { Connection, State, StateDetail, Welcome } from './connection.js';
import { Credentials } from './credentials.js';
import { Deferred } from './deferred.js';
import { call, Emitter } from './emitter.js';
import { fromWire, NeuroQuantumError } from './errors.js';
import { ClientOptions, Position, RequestOptions } from './options.js';
import { Query, QueryOptions } from './query.js';
import { Renewal } from './renewal.js';
import { Requests } from './requests.js';
import { Streams } from './stream.js';
import { Gap, Member, Message, SubscribeOptions, Subscription } from './subscription.js';
import { Subscriptions } from './subscriptions.js';
import { Watch, WatchOptions } from './watch.js';
import { verify } from './verify.js';
import { fields, json, known, Wire } from './wire.js';

/** Options of `publish`. */
export interface PublishOptions extends RequestOptions {
  /** 1 to 128 characters; the server publishes what comes with the same key once in 2 minutes. Default: a random one. */
  key?: string;
  /**
   * false: do not wait for the server, and do not send again what a lost connection may have swallowed. Such a publish never rejects: what
   * fails is an `error` event of the client. Default: true.
   */
  ack?: boolean;
}

/** What the server says of a publish. `offset` and `epoch` stand in channels with history. */
export interface Published {
  offset?: number;
  epoch?: string;
  /** It was published before, by the same key. */
  duplicate?: true;
}

/** A part of a channel's history. */
export interface History<Data = any> {
  messages: Message<Data>[];
  epoch: string;
  /** More is kept: older messages, or newer ones with `since`. */
  hasMore: boolean;
}

/** Who is subscribed to a channel. */
export interface Presence {
  /** 10,000 at most. */
  members: Member[];
  /** All of them. */
  count: number;
}

/** What the server knows of a query stream. */
export interface QueryStatus {
  status: 'initializing' | 'streaming' | 'paused' | 'completed' | 'cancelled' | 'failed';
  /** 0 to 100; null where the total is unknown. */
  progress: number | null;
  rowsSent: number;
  batchesSent: number;
  elapsedMs: number;
}

export type ClientEvents = {
  state: (state: State, detail: StateDetail) => void;
  welcome: (welcome: Welcome) => void;
  /** Something may be missing; also told to the subscription that is meant. */
  gap: (gap: Gap, subscription?: Subscription) => void;
  /**
   * What no promise, subscription or stream is told: attempts that failed, tokens that were refused, publishes without `ack`, messages that
   * are not of the protocol, and subscriptions and watches that ended while nobody listened to them.
   */
  error: (error: NeuroQuantumError) => void;
  /** A message of a type that this client does not know, such as one that the site's own code sends. */
  message: (message: Record<string, any>) => void;
};

/** A client of neuroquantum_ws. It connects when first needed, comes back by itself, and tells what it could not make up for. */
export class Client extends Emitter<ClientEvents> {
  // Keys of publishes: nobody can guess them, and so have a message taken for sent already.
  private _keys = Array.from(random(), (n) => n.toString(36)).join('') + '.';
  private _published = 0;
  private _connection: Connection;
  private _credentials: Credentials;
  private _requests: Requests;
  private _renewal: Renewal;
  private _subscriptions: Subscriptions;
  private _streams: Streams;

  /** url: of the WebSocket; `http(s)` and, in browsers, a relative one will do. */
  constructor(url: string | URL, options: ClientOptions = {}) {
    super();
    const { timeout = 30_000, maxPending = 1000, heartbeat = {} } = options;
    verify({ ...options.backoff, ...options });
    verify(heartbeat);
    this._credentials = new Credentials({ ...options });
    this._connection = new Connection(address(url), options, this._credentials, this);
    this._requests = new Requests(this._connection, timeout, maxPending);
    this._renewal = new Renewal(this._credentials, this._requests, this);
    this._subscriptions = new Subscriptions(this._connection, this._requests, this);
    this._streams = new Streams(this._connection, this._requests, timeout, this);
  }

  get state(): State {
    return this._connection._state;
  }

  /** What the server said at the beginning of the connection; undefined before the first. */
  get welcome(): Welcome | undefined {
    return this._connection._welcome;
  }

  /** Connects, if that has not happened yet. Resolves once connected, however many attempts it takes; rejects if that is given up. */
  connect(): Promise<void> {
    const opened = new Deferred();
    const off = this.on('state', (state, { error }) => {
      if (state === 'open') opened._resolve();
      else if (state === 'closed') opened._reject(error ?? closed());
      else return;
      off();
    });
    this._connection._connect();
    if (this._connection._isOpen) {
      off();
      opened._resolve();
    }
    return opened._promise;
  }

  /** Ends everything: subscriptions, queries and watches end, requests that wait reject with `CLOSED`. */
  close(): void {
    this._connection._close();
  }

  /** Receives the messages of a channel or pattern: by a callback, or by iterating over the subscription. */
  subscribe<Data = any>(channel: string, callback: (message: Message<Data>) => void): Subscription<Data>;
  subscribe<Data = any>(
    channel: string,
    options?: SubscribeOptions,
    callback?: (message: Message<Data>) => void,
  ): Subscription<Data>;
  subscribe<Data>(
    channel: string,
    options?: SubscribeOptions | ((message: Message<Data>) => void),
    callback?: (message: Message<Data>) => void,
  ): Subscription<Data> {
    if (typeof options === 'function') [options, callback] = [{}, options];
    verify({ ...options, channel, callback, options }, 'channel');
    json(channel);
    const sub = new Subscription<Data>(channel, options ?? {}, callback, this._subscriptions);
    this._start();
    this._subscriptions._add(sub);
    return sub;
  }

  /** Publishes data, any JSON value. What a lost connection may have swallowed is sent again, without being published twice. */
  async publish(channel: string, data: unknown, options: PublishOptions = {}): Promise<Published | undefined> {
    const { key = this._keys + this._published++, ack = true, ...limits } = options;
    const published = this._ask({ type: 'publish', channel, data: data === undefined ? null : data, key }, limits, !ack);
    if (ack) return fields(await published);
    published.catch((error) => {
      if (!limits.signal?.aborted) this._failed(fromWire(error));
    });
    return undefined;
  }

  /** A part of what a channel keeps: the newest `limit` (100), oldest first, or the first so many behind `since`. */
  async history<Data = any>(
    channel: string,
    { limit, since, ...limits }: { limit?: number; since?: Position } & RequestOptions = {},
  ): Promise<History<Data>> {
    return fields(await this._ask({ type: 'history', channel, limit, since }, limits));
  }

  /** Who is subscribed to a channel. */
  async presence(channel: string, limits?: RequestOptions): Promise<Presence> {
    const { members, count } = await this._ask({ type: 'presence', channel }, limits);
    return { members: members.map(fields), count };
  }

  /** Resolves with the server's time. */
  async ping(limits?: RequestOptions): Promise<string> {
    return (await this._ask({ type: 'ping' }, limits)).timestamp;
  }

  /** How far a query stream is. */
  async queryStatus(streamId: string, limits?: RequestOptions): Promise<QueryStatus> {
    return fields(await this._ask({ type: 'query_status', stream_id: streamId }, limits));
  }

  /** Shows the server another token of the same user, or makes an anonymous client a user; later connections show it, too. */
  async authenticate(token: string, limits?: RequestOptions): Promise<{ user: string; expiresAt?: string }> {
    const m = await this._ask({ type: 'authenticate', token }, limits);
    this._credentials._use(token);
    if (this._connection._isOpen) this._renewal._plan(Date.parse(m.expires_at));
    return fields(m);
  }

  /** Runs a query of the site; its rows come as they are iterated over. */
  query<Row = Record<string, any>>(name: string, params: object = {}, options: QueryOptions = {}): Query<Row> {
    const { batchSize, format, source, credits = 4 } = options;
    const message = { type: 'stream_query', query: name, params, batch_size: batchSize, format, source };
    return new Query<Row>(this._streams, this._plain(message, options), credits, options);
  }

  /** Keeps a copy of a query's result that stays true. */
  watch<Row extends Record<string, any> = Record<string, any>>(
    name: string,
    params: object = {},
    options: WatchOptions = {},
  ): Watch<Row> {
    const message = { type: 'watch', query: name, params, batch_size: options.batchSize };
    return new Watch<Row>(this._streams, this._plain(message, options), options);
  }

  private _start(): void {
    if (this.state === 'closed') throw closed();
    this._connection._connect();
  }

  /** The request of a query or watch. It is a copy: what the application does with `params` later does not count. */
  private _plain(message: Wire, options: object): object {
    verify({ ...message, ...options }, 'query');
    this._start();
    return JSON.parse(json(message));
  }

  private async _ask(message: Wire, options: RequestOptions = {}, once = false): Promise<Wire> {
    verify({ ...message, ...options }, 'channel' in message ? 'channel' : '');
    this._start();
    if (once && !this._connection._isOpen) throw new NeuroQuantumError('CLOSED', 'not connected');
    return this._requests._request(message, options, once);
  }

  /** @internal */
  _failed(error: NeuroQuantumError): void {
    if (this.state !== 'closed') this._emit('error', error);
  }

  /** @internal */
  _lost(gap: Gap, subscription?: Subscription): void {
    this._emit('gap', gap, subscription);
  }

  /** @internal */
  _opened(welcome: Welcome): void {
    this._renewal._opened(welcome);
    this._subscriptions._opened(welcome.epoch, welcome.offset);
    this._streams._opened();
    this._requests._opened(welcome.epoch);
    if (this._connection._isOpen) this._emit('welcome', welcome);
  }

  /** @internal */
  _down(): void {
    this._renewal._stop();
    this._requests._down();
    this._subscriptions._down();
    this._streams._down();
  }

  /** @internal */
  _state(state: State, detail: StateDetail): void {
    if (state === 'closed') {
      const error = detail.error ?? closed();
      this._requests._close(error);
      this._subscriptions._close(error);
      this._streams._close(error);
    }
    // A listener may change the state: those behind it are told of the newer one alone.
    for (const listener of [...(this._listeners.get('state') ?? [])]) if (state === this.state) call(listener, state, detail);
  }

  /** @internal */
  _message(m: Wire): void {
    const { type } = m;
    if (type === 'channel_message') this._subscriptions._message(m as Message);
    else if (!known(type)) this._emit('message', m);
    else if (this._requests._answer(m)) return;
    else if (type === 'gap') this._subscriptions._gap(fields(m));
    else if (type === 'presence_join' || type === 'presence_leave') this._subscriptions._presence(m);
    else if (m.stream_id) this._streams._message(m);
    else if (type === 'error') {
      if (m.channel) this._subscriptions._ended(m);
      else this._emit('error', fromWire(m));
    } else if (type !== 'pong') throw new TypeError('unexpected ' + type);
  }
}

function address(url: string | URL): URL {
  const address = new URL(url, (globalThis as any).location?.href);
  address.protocol = address.protocol.replace(/^http/, 'ws');
  if (!/^wss?:/.test(address.protocol)) throw new TypeError('no WebSocket has this url');
  return address;
}

function random(): Uint32Array {
  const numbers = new Uint32Array(4);
  return globalThis.crypto?.getRandomValues(numbers) ?? numbers.map(() => Math.random() * 2 ** 32); // without crypto: Node 18
}

function closed(): NeuroQuantumError {
  return new NeuroQuantumError('CLOSED', 'the client was closed');
}
