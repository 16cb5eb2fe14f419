// What no server should send, options that no application should set, and calls in any order: nothing ends the process, no promise is
// pending after close(), and no loop is busy. Each case is made from its number alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Client } from '../dist/neuroquantum-ws.js';
import { fake, now, welcomeOf, within } from './fake.mjs';

const cases = Number(process.env.FUZZ_CASES ?? 150);

/** random returns a source of numbers from 0 to 1, the same for the same seed (mulberry32). */
function random(seed) {
  let a = seed * 0x9e3779b9;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pick = (next, list) => list[Math.floor(next() * list.length)];

const oddities = [null, undefined, 0, -1, 1, 0.5, 1e300, '', 'x', '2020', true, false, [], [null], [[]], {}, { type: 'x' }, '__proto__', 2 ** 31];
const lines = ['null', '[]', '5', '"x"', '{', '', '{}', 'true', '{"type":null}', '{"type":"toString"}', '{"type":"__proto__"}', '\n\n', '[{"type":"pong"}]'];

/** What a server that keeps to the protocol answers. */
function answers(m) {
  const { id, channel, channels = [channel] } = m;
  const stream_id = `s${id}`;
  switch (m.type) {
    case 'publish':
      return [{ type: 'published', id, channel, offset: 7, epoch: 'one' }];
    case 'history':
      return [{ type: 'history', id, channel, messages: [{ type: 'channel_message', channel, data: 1, timestamp: now(), offset: 1 }], epoch: 'one', has_more: false }];
    case 'presence':
      return [{ type: 'presence', id, channel, members: [{ connection_id: 'x', since: now() }], count: 1 }];
    case 'ping':
      return [{ type: 'pong', id, timestamp: now() }];
    case 'authenticate':
      return [{ type: 'authenticated', id, user: 'ann', expires_at: now() }];
    case 'query_status':
      return [{ type: 'query_status', id, stream_id: 's', query_id: 's', status: 'paused', progress: 1, rows_sent: 1, batches_sent: 1, elapsed_ms: 1 }];
    case 'subscribe':
      return [
        ...channels.map((name) => ({ type: 'subscription_confirmed', channel: name, id, timestamp: now(), epoch: 'one', offset: 5, recovered: true, replayed: 1 })),
        { type: 'channel_message', channel: channels[0], data: 1, timestamp: now(), offset: 6 },
        { type: 'gap', channel: channels[0], after: 1, before: 9, dropped: 2, reason: 'drop_oldest', recoverable: true },
        { type: 'presence_join', channel: channels[0], member: { connection_id: 'x', since: now() } },
        { type: 'presence_leave', channel: channels[0], member: { connection_id: 'x', since: now() } },
        { type: 'error', code: 'RATE_LIMITED', message: 'slow', id: id + 1, retry_after_ms: 1 },
      ];
    case 'unsubscribe':
      return [{ type: 'unsubscription_confirmed', channel, id, timestamp: now() }];
    case 'stream_query':
      return [
        { type: 'query_started', stream_id, query: 'q', id, columns: [{ name: 'id', type: 'integer' }], estimated_rows: 3, total_kind: 'exact' },
        { type: 'query_batch', stream_id, batch_number: 0, rows: [{ id: 1 }], has_more: true },
        { type: 'query_progress', stream_id, rows_processed: 1, percentage: 50, elapsed_ms: 1, eta_ms: null, state: 'streaming' },
        { type: 'query_batch', stream_id, batch_number: 1, rows: [{ id: 2 }], has_more: false },
        { type: 'query_completed', stream_id, total_rows: 2, execution_time_ms: 1, batches: 2 },
      ];
    case 'watch':
      return [
        { type: 'query_started', stream_id, query: 'w', id, columns: [{ name: 'id', type: 'integer' }], estimated_rows: 1, total_kind: 'exact' },
        { type: 'query_batch', stream_id, batch_number: 0, rows: [{ id: 1 }], has_more: false },
        { type: 'query_ready', stream_id, revision: 2 },
        { type: 'query_change', stream_id, revision: 4, op: 'insert', key: 2, row: { id: 2 } },
        { type: 'query_reset', stream_id },
        { type: 'error', code: 'QUERY_FAILED', message: 'failed', stream_id, retry_after_ms: 1 },
      ];
    case 'cancel_query':
    case 'unwatch':
      return [{ type: 'query_cancelled', stream_id: m.stream_id, reason: 'asked', rows_sent: 1, id }];
    default:
      return [];
  }
}

/** A message with something wrong about it. */
function mutated(next, message) {
  if (next() < 0.15) return pick(next, lines);
  const m = structuredClone(message);
  const name = pick(next, [...Object.keys(m), 'id', 'extra']);
  if (next() < 0.3) delete m[name];
  else m[name] = pick(next, oddities);
  return JSON.stringify(m);
}

/** track notes what becomes of promises. */
function track() {
  const pending = new Map();
  return {
    add(name, promise) {
      const key = Symbol(name);
      pending.set(key, name);
      Promise.resolve(promise).then(() => pending.delete(key), () => pending.delete(key));
    },
    /** Waits for all, and names those that are pending all the same. */
    async settled(what) {
      for (let i = 0; i < 20 && pending.size; i++) await new Promise((done) => setImmediate(done));
      assert.deepEqual([...pending.values()], [], `${what}: pending`);
    },
  };
}

async function drain(iterable) {
  for await (const item of iterable) void item;
}

/** use calls everything that a client has once, and lets nothing of it be uncaught. */
function use(client, promises) {
  promises.add('connect', client.connect());
  for (const name of ['state', 'welcome', 'gap', 'error', 'message']) client.on(name, () => {});
  const since = { epoch: 'old', offset: 3 };
  for (const [channel, options] of [['a', { presence: true }], ['a', { since }], ['b/*', { history: 2, buffer: 1 }], ['**', {}]]) {
    const subscription = client.subscribe(channel, options);
    promises.add('ready', subscription.ready);
    promises.add('iteration', drain(subscription));
  }
  client.subscribe('c', () => {});
  const query = client.query('q');
  promises.add('started', query.started);
  promises.add('rows', drain(query));
  const watch = client.watch('w');
  promises.add('watch', watch.ready);
  promises.add('changes', drain(watch));
  promises.add('publish', client.publish('a', 1));
  promises.add('publish once', client.publish('a', 1, { ack: false }));
  promises.add('history', client.history('a'));
  promises.add('presence', client.presence('a'));
  promises.add('ping', client.ping());
  promises.add('status', client.queryStatus('s'));
  promises.add('authenticate', client.authenticate('t.t.t'));
}

test('whatever the server sends', async (t) => {
  let connections = 0;
  let next;
  const server = await fake(t, { welcome: false });
  let serving = true;
  const mutate = (message) => (next() < 0.12 ? mutated(next, message) : JSON.stringify(message));
  const accepting = (async () => {
    while (serving) {
      const peer = await server.accept().catch(() => undefined);
      if (!peer) continue;
      connections++;
      const send = (message) => peer.socket.readyState === WebSocket.OPEN && peer.socket.send(mutate(message));
      peer.socket.on('message', (frame) => {
        for (const line of String(frame).split('\n')) {
          for (const answer of answers(JSON.parse(line))) send(answer);
          if (next() < 0.05) send({ type: 'reconnect', after_ms: 0, reason: '' });
          if (next() < 0.05) peer.socket.close(pick(next, [1000, 1001, 1011, 4000, 4029]));
        }
      });
      send(welcomeOf({}));
    }
  })();
  for (let seed = 1; seed <= cases; seed++) {
    next = random(seed);
    connections = 0;
    const promises = track();
    const begun = performance.now();
    const client = server.client({ backoff: { min: 10, max: 20 }, connectTimeout: 40, heartbeat: { timeout: 40 } });
    use(client, promises);
    await new Promise((done) => setTimeout(done, next() * 40));
    client.close();
    await promises.settled(`case ${seed}`);
    // Waiting is 5 to 10 ms on average; a busy loop makes hundreds of connections.
    assert.ok(connections <= 20 + (performance.now() - begun) / 2, `case ${seed}: ${connections} connections`);
  }
  serving = false;
  const last = server.client();
  last.connect();
  await within(accepting, 'the server ends');
});

test('whatever the options', async () => {
  const names = ['token', 'ticket', 'WebSocket', 'ndjson', 'backoff', 'connectTimeout', 'heartbeat', 'timeout', 'maxPending'];
  const values = [...oddities, NaN, Infinity, -Infinity, () => {}, () => null, async () => 5, () => Promise.reject(new Error('no')),
    { min: 0 }, { min: 1, max: 2 }, { interval: 0 }, { timeout: 1 }, 'ws://127.0.0.1:1/', Symbol.iterator];
  for (let seed = 1; seed <= 5 * cases; seed++) {
    const next = random(seed);
    const options = { WebSocket, backoff: { min: 10, max: 20 } };
    for (let n = next() * 3; n > 0; n--) options[pick(next, names)] = pick(next, values);
    const promises = track();
    const begun = performance.now();
    let dialled = 0;
    let client;
    const any = (f) => {
      try {
        promises.add('a call', f());
      } catch (error) {
        assert.ok(error instanceof Error, `case ${seed}: ${error}`);
      }
    };
    any(() => void (client = new Client(pick(next, ['ws://127.0.0.1:1/', 'ws://127.0.0.1:1/', pick(next, values)]), options)));
    if (!client) continue;
    client.on('state', (state) => state === 'connecting' && dialled++);
    const value = () => pick(next, values);
    any(() => client.connect());
    any(() => client.subscribe(value(), value(), value()).ready);
    any(() => client.subscribe('a', { since: value(), buffer: value(), history: value() }).ready);
    any(() => client.publish(value(), value(), { ack: next() < 0.5, key: value(), timeout: value() }));
    any(() => client.history('a', { limit: value(), since: value(), signal: value() }));
    any(() => drain(client.query('q', value(), { credits: value(), timeout: value() })));
    any(() => client.watch('w', value(), { key: value(), buffer: value() }).ready);
    if (seed % 10 === 0) await new Promise((done) => setTimeout(done, 5));
    client.close();
    await promises.settled(`case ${seed}`);
    assert.ok(dialled <= 20 + performance.now() - begun, `case ${seed}: ${dialled} attempts`);
  }
});

test('calls in any order', async (t) => {
  const server = await fake(t);
  let serving = true;
  const accepting = (async () => {
    while (serving) {
      const peer = await server.accept().catch(() => undefined);
      peer?.socket.on('message', (frame) => {
        for (const line of String(frame).split('\n')) for (const answer of answers(JSON.parse(line))) peer.send(answer);
      });
    }
  })();
  for (let seed = 1; seed <= cases; seed++) {
    const next = random(seed);
    const promises = track();
    const states = [];
    const client = server.client({ backoff: { min: 5, max: 10 } });
    client.on('state', (state) => {
      states.push([state, client.state]);
      if (next() < 0.05) act();
    });
    const made = [];
    const keep = (thing) => (made.push(thing), thing);
    const actions = [
      () => promises.add('connect', client.connect()),
      () => client.close(),
      () => promises.add('ready', keep(client.subscribe(pick(next, ['a', 'b', '**']), () => next() < 0.1 && act())).ready),
      () => promises.add('iteration', drain(keep(client.subscribe('a')))),
      () => promises.add('rows', drain(keep(client.query('q')))),
      () => promises.add('watch', keep(client.watch('w')).ready),
      () => promises.add('publish', client.publish('a', 1, { ack: next() < 0.5 })),
      () => promises.add('ping', client.ping({ timeout: 1 + next() * 10 })),
      () => promises.add('authenticate', client.authenticate('t.t.t')),
      () => {
        const thing = pick(next, made);
        (thing?.unsubscribe ?? thing?.cancel ?? thing?.close)?.call(thing);
      },
    ];
    let ended = false;
    const act = () => {
      if (ended) return;
      try {
        pick(next, actions)();
      } catch (error) {
        assert.equal(error.code, 'CLOSED', `case ${seed}: ${error.stack}`);
      }
    };
    for (let n = 0; n < 30; n++) {
      act();
      if (next() < 0.2) await new Promise((done) => setTimeout(done, next() * 4));
    }
    ended = true;
    client.close();
    await promises.settled(`case ${seed}`);
    for (const [told, actual] of states) assert.equal(told, actual, `case ${seed}: a state that had passed`);
    assert.equal(client.state, 'closed');
  }
  serving = false;
  server.client().connect();
  await within(accepting, 'the server ends');
  await new Promise((done) => setImmediate(done));
});

/** A WebSocket of nobody: that of `ws` has timers of its own. It opens at once, or never. */
class Nowhere {
  static opens = false;
  protocol = 'neuroquantum.v1';
  constructor() {
    if (Nowhere.opens) queueMicrotask(() => this.onmessage?.({ data: JSON.stringify(welcomeOf({})) }));
  }
  send() {}
  close() {}
}

test('nothing is left to do after close', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  let listeners = 0;
  const signal = { addEventListener: () => listeners++, removeEventListener: () => listeners--, aborted: false };
  for (let n = 0; n < 20; n++) {
    const before = timers();
    Nowhere.opens = n % 2 === 1;
    const token = `x.${btoa(JSON.stringify({ exp: Date.now() / 1000 + 1000 }))}.x`;
    const client = new Client('ws://127.0.0.1:1/', { WebSocket: Nowhere, token: () => token });
    const promises = track();
    use(client, promises);
    promises.add('watch', client.watch('w', {}, { signal }).ready);
    promises.add('query', drain(client.query('q', {}, { signal })));
    promises.add('publish', client.publish('a', 1, { signal, timeout: 1e6 }));
    await new Promise((done) => setImmediate(done));
    assert.equal(client.state, Nowhere.opens ? 'open' : 'connecting');
    assert.ok(timers() > before);
    assert.ok(listeners > 0);
    client.close();
    await promises.settled(`client ${n}`);
    assert.deepEqual([timers(), listeners], [before, 0]);
  }
});
