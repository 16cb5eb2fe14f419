import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NeuroQuantumError } from '../dist/neuroquantum-ws.js';
import { event, fake } from './fake.mjs';

const published = (m, offset, more = {}) => ({ type: 'published', id: m.id, channel: m.channel, offset, epoch: 'one', ...more });
const refusal = (m, code, more = {}) => ({ type: 'error', code, message: 'refused', id: m.id, channel: m.channel, ...more });

async function connected(t, options, welcome) {
  const server = await fake(t, { welcome });
  const client = server.client(options);
  await client.connect();
  return { server, client, peer: await server.accept() };
}

test('a publish tells its place', async (t) => {
  const { client, peer } = await connected(t);
  const done = client.publish('a', { x: 1 }, { key: 'k' });
  const m = await peer.next('publish');
  assert.deepEqual({ ...m, id: 0 }, { type: 'publish', channel: 'a', data: { x: 1 }, key: 'k', id: 0 });
  peer.send(published(m, 7, { duplicate: true }));
  assert.deepEqual(await done, { channel: 'a', offset: 7, epoch: 'one', duplicate: true });
});

test('keys of publishes differ, between clients too', async (t) => {
  const keys = new Set();
  for (let i = 0; i < 3; i++) {
    const { client, peer } = await connected(t);
    for (let n = 0; n < 3; n++) {
      client.publish('a', n).catch(() => {});
      const { key } = await peer.next('publish');
      assert.ok(key.length >= 20 && key.length <= 128);
      keys.add(key);
    }
  }
  assert.equal(keys.size, 9);
});

test('errors come to the request that they are of', async (t) => {
  const { client, peer } = await connected(t);
  const one = client.publish('a', 1);
  const two = client.history('b', { limit: 3 });
  const three = client.presence('c');
  peer.send(refusal(await peer.next('presence'), 'FORBIDDEN'), refusal(await peer.next('publish'), 'INTERNAL', { retry_after_ms: 5 }));
  await assert.rejects(three, { code: 'FORBIDDEN', channel: 'c', uncertain: false });
  await assert.rejects(one, (error) => {
    assert.ok(error instanceof NeuroQuantumError && error instanceof Error);
    assert.equal(error.code, 'INTERNAL');
    assert.equal(error.retryAfterMs, 5);
    return true;
  });
  const asked = await peer.next('history');
  assert.equal(asked.limit, 3);
  const messages = [{ type: 'channel_message', channel: 'b', data: 1, timestamp: 't', offset: 1 }];
  peer.send({ type: 'history', id: asked.id, channel: 'b', messages, epoch: 'one', has_more: true });
  const { messages: [message], hasMore } = await two;
  assert.deepEqual([message.data, message.offset, hasMore], [1, 1, true]);
});

test('what a cut left unanswered is sent again, in order, with the same keys', async (t) => {
  const { server, client, peer } = await connected(t);
  const done = [1, 2, 3].map((n) => client.publish('a', n));
  const first = [await peer.next('publish'), await peer.next('publish'), await peer.next('publish')];
  peer.send(published(first[0], 1));
  await done[0];
  peer.cut();
  done.push(client.publish('a', 4));
  const later = await server.accept();
  const again = [await later.next('publish'), await later.next('publish'), await later.next('publish')];
  assert.deepEqual(again.map(({ key, data }) => [key, data]), [[first[1].key, 2], [first[2].key, 3], [again[2].key, 4]]);
  again.forEach((m, i) => later.send(published(m, i + 2, i < 2 ? { duplicate: true } : {})));
  assert.deepEqual((await Promise.all(done)).map(({ offset }) => offset), [1, 2, 3, 4]);
});

test('a publish is not sent again where that could publish it twice', async (t) => {
  const { server, client, peer } = await connected(t);
  const sent = client.publish('a', 1);
  sent.catch(() => {}); // looked at below
  await peer.next('publish');
  server.state.welcome = { epoch: 'two' };
  const waiting = event(client, 'state', (state) => state === 'waiting');
  peer.cut();
  await waiting;
  const unsent = client.publish('a', 2);
  const later = await server.accept();
  await assert.rejects(sent, { code: 'UNCERTAIN', uncertain: true });
  const m = await later.next('publish');
  assert.equal(m.data, 2);
  later.send(published(m, 1));
  await unsent;
});

test('a retry that is limited waits; it may have been carried out', async (t) => {
  const { server, client, peer } = await connected(t);
  const done = client.publish('a', 1);
  await peer.next('publish');
  peer.cut();
  const later = await server.accept();
  later.send(refusal(await later.next('publish'), 'RATE_LIMITED', { retry_after_ms: 5 }));
  later.send(published(await later.next('publish'), 1));
  assert.equal((await done).offset, 1);
});

test('while the server leaves, requests wait for the next connection', async (t) => {
  const { server, client, peer } = await connected(t);
  const under = client.publish('a', 1);
  const m = await peer.next('publish');
  peer.send({ type: 'reconnect', after_ms: 20, reason: '' }, refusal(m, 'INTERNAL'), { type: 'operator', marker: 1 });
  await event(client, 'message', (message) => message.marker === 1);
  const held = client.publish('a', 2);
  server.state.welcome = { epoch: 'two' };
  peer.socket.close(1001);
  const later = await server.accept();
  assert.equal(peer.unread.filter(({ type }) => type === 'publish').length, 0);
  for (const data of [1, 2]) {
    const again = await later.next('publish');
    assert.equal(again.data, data);
    later.send(published(again, data));
  }
  await Promise.all([under, held]);
});

test('only so many requests are under way, and only so many wait', async (t) => {
  const { client, peer } = await connected(t, { maxPending: 100 });
  const done = Array.from({ length: 100 }, (_, n) => client.publish('a', n));
  await assert.rejects(client.publish('a', 100), { code: 'OVERFLOW' });
  for (let n = 0; n < 64; n++) await peer.next('publish');
  assert.equal(peer.unread.length, 0);
  assert.equal(peer.frames.length, 1);
  client.close();
  const results = await Promise.allSettled(done);
  assert.deepEqual(results.map(({ reason }) => reason.uncertain), done.map((_, n) => n < 64));
  assert.ok(results.every(({ reason }) => reason.code === 'CLOSED'));
});

test('requests have a time limit and can be given up', async (t) => {
  const { client, peer } = await connected(t);
  const options = { timeout: 20 };
  await assert.rejects(client.publish('a', 1, options), { code: 'TIMEOUT', uncertain: true });
  await assert.rejects(client.ping(options), { code: 'TIMEOUT', uncertain: false });
  const control = new AbortController();
  const aborted = client.presence('a', { signal: control.signal });
  const asked = await peer.next('presence');
  control.abort(new Error('changed my mind'));
  await assert.rejects(aborted, /changed my mind/);
  await assert.rejects(client.history('a', { signal: control.signal }), /changed my mind/);
  peer.send({ type: 'presence', id: asked.id, channel: 'a', members: [], count: 0 }); // late, and heard by nobody
  const status = client.queryStatus('s');
  const m = await peer.next('query_status');
  peer.send({ type: 'query_status', stream_id: 's', query_id: 's', id: m.id, status: 'paused', progress: 0.3, rows_sent: 4, batches_sent: 2, elapsed_ms: 241 });
  const { rowsSent, batchesSent, elapsedMs } = await status;
  assert.deepEqual([rowsSent, batchesSent, elapsedMs], [4, 2, 241]);
});

test('without a connection requests wait for one', async (t) => {
  const server = await fake(t);
  const client = server.client();
  const done = client.ping();
  const peer = await server.accept();
  peer.send({ type: 'pong', timestamp: 'then', id: (await peer.next('ping')).id });
  assert.equal(await done, 'then');
});

test('a publish without acknowledgement is sent once, and never rejects: what fails is an event', async (t) => {
  const { server, client, peer } = await connected(t, { maxPending: 5 });
  assert.equal(await client.publish('a', 1, { ack: false }), undefined);
  const told = event(client, 'error');
  peer.send(refusal(await peer.next('publish'), 'FORBIDDEN'));
  assert.deepEqual((await told).map(({ code, channel }) => [code, channel]), [['FORBIDDEN', 'a']]);

  const fails = async (...args) => {
    const failed = event(client, 'error');
    assert.equal(await client.publish(...args), undefined);
    return (await failed)[0];
  };
  assert.equal((await fails('a', 1n, { ack: false })).code, 'INVALID_MESSAGE');
  assert.equal((await fails(5, 1, { ack: false })).code, 'INVALID_MESSAGE');
  assert.equal((await fails('a', 'x'.repeat(70_000), { ack: false })).code, 'TOO_LARGE');
  for (let n = 0; n < 5; n++) await client.publish('a', n, { ack: false });
  assert.equal((await fails('a', 6, { ack: false })).code, 'OVERFLOW');
  for (let n = 0; n < 5; n++) peer.send(published(await peer.next('publish'), n));
  peer.send({ type: 'marker' });
  await event(client, 'message');
  const ping = client.ping();
  peer.send({ type: 'pong', timestamp: '', id: (await peer.next('ping')).id });
  await ping;

  await client.publish('a', 2, { ack: false });
  await peer.next('publish');
  const lost = event(client, 'error', ({ code, uncertain }) => code === 'CLOSED' && uncertain);
  const waiting = event(client, 'state', (state) => state === 'waiting');
  peer.cut();
  await waiting;
  await lost;
  assert.equal((await fails('a', 3, { ack: false })).code, 'CLOSED');
  const later = await server.accept();
  const again = client.ping();
  later.send({ type: 'pong', timestamp: '', id: (await later.next('ping')).id });
  await again;
  assert.equal(later.unread.length, 0);
});

/** A server that takes one message in each `interval`, and `burst` at once; it leaves who sends too much, as the real one does. */
function limited(peer, interval, burst, seen) {
  let allowance = burst;
  let last = performance.now();
  peer.socket.on('message', (frame) => {
    for (const line of String(frame).split('\n')) {
      const m = JSON.parse(line);
      const now = performance.now();
      allowance = Math.min(burst, allowance + (now - last) / interval);
      last = now;
      if (allowance < 1) {
        if (++seen.refused > 100) peer.socket.close(4029);
        peer.send(refusal(m, 'RATE_LIMITED', { retry_after_ms: Math.max(1, Math.floor(interval)) }));
        continue;
      }
      allowance--;
      seen.taken.push(m);
      if (m.type === 'publish') peer.send(published(m, seen.taken.length));
      if (m.type === 'subscribe') {
        for (const channel of m.channels) peer.send({ type: 'subscription_confirmed', channel, id: m.id, timestamp: '', epoch: 'one', offset: 0 });
      }
    }
  });
}

test('what the server limits waits, and goes at its pace', async (t) => {
  for (const [interval, burst] of [[1.4, 100], [2, 1], [3.4, 10]]) {
    const { client, peer } = await connected(t);
    const seen = { refused: 0, taken: [] };
    limited(peer, interval, burst, seen);
    const states = [];
    client.on('state', (state) => states.push(state));
    const done = Array.from({ length: 450 }, (_, n) => client.publish('a', n, { timeout: Infinity }));
    const subscriptions = Array.from({ length: 50 }, (_, n) => client.subscribe(`c${n}`, () => {}));
    await Promise.all([...done, ...subscriptions.map(({ ready }) => ready)]);
    assert.deepEqual(states, []);
    assert.ok(seen.refused <= 100, `${seen.refused} of ${interval} ms were refused`);
    assert.equal(new Set(seen.taken.map(({ id }) => id)).size, 500);
  }
});

test('a refusal that does not say until when is no busy loop', async (t) => {
  for (const more of [{}, { retry_after_ms: 0 }]) {
    const { client, peer } = await connected(t);
    let refused = 0;
    peer.socket.on('message', (frame) => {
      for (const line of String(frame).split('\n')) {
        refused++;
        peer.send(refusal(JSON.parse(line), 'RATE_LIMITED', more));
      }
    });
    await assert.rejects(client.publish('a', 1, { timeout: 300 }), { code: 'TIMEOUT', uncertain: false });
    assert.ok(refused < 40, `${refused} refusals`);
  }
});

test('a limit that is endless or longer than a timer is none', async (t) => {
  const { client, peer } = await connected(t);
  const done = [Infinity, 2 ** 31, 1e300].map((timeout) => client.publish('a', 1, { timeout }));
  const asked = await Promise.all(done.map(() => peer.next('publish')));
  await client.ping({ timeout: 50 }).catch(() => {});
  asked.forEach((m, n) => peer.send(published(m, n)));
  await Promise.all(done);
});
