// A server that does what a test tells it to, for what a real one cannot be brought to do at will.
import { once } from 'node:events';
import { WebSocket, WebSocketServer } from 'ws';
import { Client } from '../dist/neuroquantum-ws.js';

/** How long anything may take before a test fails: far more than a slow machine needs. */
export const patience = 120_000;

/** within gives what a promise gives, or fails with what was waited for. */
export function within(promise, what, time = patience) {
  let timer;
  const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error(`too late: ${what}`)), time)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** event gives the arguments of the next event of that name for which a condition holds. */
export function event(emitter, name, holds = () => true) {
  return within(new Promise((done) => {
    const off = emitter.on(name, (...args) => {
      if (!holds(...args)) return;
      off();
      done(args);
    });
  }), `event ${name}`);
}

/** A queue that is waited for: what comes is kept until it is asked for. */
class Mailbox {
  #items = [];
  #waiting = [];

  put(item) {
    const at = this.#waiting.findIndex(({ fits }) => fits(item));
    if (at < 0) this.#items.push(item);
    else this.#waiting.splice(at, 1)[0].done(item);
  }

  take(fits, what) {
    const at = this.#items.findIndex(fits);
    if (at >= 0) return Promise.resolve(this.#items.splice(at, 1)[0]);
    return within(new Promise((done) => this.#waiting.push({ fits, done })), what);
  }

  get items() {
    return [...this.#items];
  }
}

/** One connection, from the server's side. */
export class Peer {
  #inbox = new Mailbox();
  frames = []; // texts as they came

  constructor(socket, request) {
    this.socket = socket;
    this.url = request.url;
    this.offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((entry) => entry.trim());
    this.closed = once(socket, 'close').then(([code]) => code);
    socket.on('error', () => {});
    socket.on('message', (data) => {
      this.frames.push(String(data));
      for (const line of String(data).split('\n')) this.#inbox.put(JSON.parse(line));
    });
  }

  /** The next message of this type that the client sent, whatever else it sent before. */
  next(type, holds = () => true) {
    return this.#inbox.take((m) => m.type === type && holds(m), `${type} of the client`);
  }

  /** What was sent and not asked for yet. */
  get unread() {
    return this.#inbox.items;
  }

  /** Sends each message in a frame of its own. */
  send(...messages) {
    for (const message of messages) this.socket.send(JSON.stringify(message));
  }

  /** Waits for a subscribe and confirms its names. */
  async subscribe(fields = {}) {
    const asked = await this.next('subscribe');
    for (const channel of asked.channels ?? [asked.channel]) {
      this.send({ type: 'subscription_confirmed', channel, timestamp: now(), id: asked.id, ...fields });
    }
    return asked;
  }

  message(channel, offset, data = offset) {
    this.send({ type: 'channel_message', channel, data, timestamp: now(), offset });
  }

  /** Ends the connection as a lost network does. */
  cut() {
    this.socket.terminate();
  }
}

export const now = () => new Date().toISOString();

/** fake starts a server, which a test's end stops. welcome: fields, or false for none. */
export async function fake(t, { welcome = {}, port = 0, refuse } = {}) {
  const arrivals = new Mailbox();
  const server = new WebSocketServer({
    host: '127.0.0.1',
    port,
    verifyClient: refuse ? (info, answer) => answer(!refuse(info), 401) : undefined,
    handleProtocols: (offered) => [...offered][0],
  });
  await once(server, 'listening');
  const state = { welcome };
  server.on('connection', (socket, request) => {
    const peer = new Peer(socket, request);
    if (state.welcome) peer.send(welcomeOf(state.welcome));
    arrivals.put(peer);
  });
  const clients = [];
  t.after(async () => {
    for (const client of clients) client.close();
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return {
    url: `ws://127.0.0.1:${server.address().port}/ws`,
    state,
    /** The next connection that is made. */
    accept: () => arrivals.take(() => true, 'a connection'),
    client(options = {}) {
      const client = new Client(this.url, { WebSocket, backoff: { min: 1, max: 10 }, ...options });
      clients.push(client);
      return client;
    },
  };
}

export function welcomeOf(fields) {
  return {
    type: 'welcome',
    connection_id: '042e48fb-6433-45aa-bdf6-0a4f218dda00',
    heartbeat_interval_ms: 30_000,
    heartbeat_timeout_ms: 90_000,
    max_message_bytes: 65_536,
    epoch: 'one',
    offset: 0,
    server_time: now(),
    ...fields,
  };
}

/** A token that says when it expires, signed by nobody. */
export function tokenUntil(milliseconds) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part({ sub: 'ann', exp: milliseconds / 1000 })}.x`;
}
