import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Client } from '../dist/neuroquantum-ws.js';
import { event, fake, tokenUntil, welcomeOf, within } from './fake.mjs';

test('a client connects when it is first needed', async (t) => {
  const server = await fake(t);
  const client = server.client();
  assert.equal(client.state, 'idle');
  const states = [];
  client.on('state', (state) => states.push(state));
  client.subscribe('a', () => {});
  const peer = await server.accept();
  assert.deepEqual(peer.offered, ['neuroquantum.v1.ndjson', 'neuroquantum.v1']);
  await client.connect();
  assert.deepEqual(states, ['connecting', 'open']);
  assert.equal(client.welcome.maxMessageBytes, 65_536);
});

test('after a close code the client comes back or not, as the protocol says', async (t) => {
  for (const [code, back] of [
    [1000, true], [1002, false], [1003, false], [1007, false], [1008, false], [1009, false], [1011, true], [1012, true],
    [4000, true], [4001, false], [4003, false], [4008, true], [4029, true], [4100, false],
  ]) {
    await t.test(`${code}`, async (t) => {
      const server = await fake(t);
      const client = server.client({ token: 'a.b.c' });
      await client.connect();
      const peer = await server.accept();
      const subscription = client.subscribe('a', () => {});
      await peer.subscribe();
      const told = event(client, 'state', (state) => state === (back ? 'waiting' : 'closed'));
      peer.socket.close(code, 'because');
      const [, { error }] = await told;
      assert.equal(error.closeCode, code);
      if (back) {
        await server.accept();
        await client.connect();
      } else {
        assert.equal(error.code, 'CLOSED');
        assert.equal(error.message, 'because');
        await assert.rejects(client.publish('a', 1), { code: 'CLOSED' });
        assert.throws(() => client.subscribe('a'), { code: 'CLOSED' });
        await assert.rejects(subscription[Symbol.asyncIterator]().next(), { code: 'CLOSED', closeCode: code });
        const again = client.connect(); // the application may ask for it
        await server.accept();
        await again;
      }
    });
  }
});

test('reconnect says when to come back, also after 4100', async (t) => {
  for (const code of [1001, 4100]) {
    const server = await fake(t);
    const client = server.client({ backoff: { min: 60_000, max: 60_000 } });
    await client.connect();
    const peer = await server.accept();
    const told = event(client, 'state', (state) => state === 'waiting');
    peer.send({ type: 'reconnect', after_ms: 200, reason: 'the server is going away' });
    peer.socket.close(code);
    const [, { delay }] = await told;
    assert.ok(delay > 0 && delay <= 200, `${delay}`);
    await server.accept();
  }
});

test('waiting grows, at random and within bounds', async (t) => {
  const server = await fake(t, { refuse: () => true });
  const delays = [];
  const client = server.client({ backoff: { min: 4, max: 32 } });
  client.connect();
  await within(new Promise((done) => client.on('state', (state, { delay }) => {
    if (state === 'waiting' && delays.push(delay) === 30) done();
  })), '30 attempts');
  delays.forEach((delay, n) => assert.ok(delay >= 0 && delay <= Math.min(32, 4 * 2 ** n), `attempt ${n}: ${delay}`));
  assert.ok(new Set(delays).size > 20, 'they differ');
  assert.ok(Math.max(...delays) > 8, 'they grow');
});

test('the network coming back ends the waiting, but not what the server asked for', async (t) => {
  const listeners = new Set();
  globalThis.addEventListener = (name, f) => name === 'online' && listeners.add(f);
  globalThis.removeEventListener = (name, f) => listeners.delete(f);
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  const server = await fake(t);
  const client = server.client({ backoff: { min: 1e9, max: 1e9 } });
  await client.connect();
  const waiting = event(client, 'state', (state) => state === 'waiting');
  (await server.accept()).cut();
  await waiting;
  for (const f of listeners) f();
  const peer = await server.accept();
  await client.connect();

  peer.send({ type: 'reconnect', after_ms: 1e9, reason: '' });
  const again = event(client, 'state', (state) => state === 'waiting');
  peer.socket.close(1001);
  await again;
  for (const f of listeners) f();
  assert.equal(client.state, 'waiting');
  client.close();
  assert.equal(listeners.size, 0);
});

test('a silent server is asked for a sign of life, and given up without one', async (t) => {
  const server = await fake(t, { welcome: { heartbeat_interval_ms: 30 } });
  const client = server.client({ heartbeat: { timeout: 30 } });
  await client.connect();
  const peer = await server.accept();
  for (let i = 0; i < 3; i++) {
    await peer.next('ping');
    peer.send({ type: 'pong', timestamp: '' });
  }
  assert.equal(client.state, 'open');
  const [, { error }] = await event(client, 'state', (state) => state === 'waiting');
  assert.equal(error.closeCode, 1006);
  assert.equal(await within(peer.closed, 'the old connection ends'), 1006);
  await server.accept();
});

test('a server that does not welcome is given up', async (t) => {
  const server = await fake(t, { welcome: false });
  const client = server.client({ connectTimeout: 50 });
  client.connect();
  await server.accept();
  await server.accept();
  server.state.welcome = {};
  await client.connect();
});

test('without ndjson each frame holds one message', async (t) => {
  const server = await fake(t);
  for (const ndjson of [true, false]) {
    const client = server.client({ ndjson });
    await client.connect();
    const peer = await server.accept();
    assert.equal(peer.offered.includes('neuroquantum.v1.ndjson'), ndjson);
    for (let i = 0; i < 10; i++) client.publish('a', i).catch(() => {});
    for (let i = 0; i < 10; i++) assert.equal((await peer.next('publish')).data, i);
    assert.equal(peer.frames.length, ndjson ? 1 : 10);
    client.close();
  }
});

test('a frame may bring several messages, and takes no more than the server does', async (t) => {
  const server = await fake(t, { welcome: { max_message_bytes: 600 } });
  const client = server.client();
  await client.connect();
  const peer = await server.accept();
  const sent = Array.from({ length: 10 }, (_, i) => client.publish('a', 'é'.repeat(50 + i)));
  const answers = [];
  for (let i = 0; i < 10; i++) answers.push({ type: 'published', id: (await peer.next('publish')).id, channel: 'a', offset: i, epoch: 'one' });
  assert.ok(peer.frames.length < 10 && peer.frames.every((frame) => Buffer.byteLength(frame) <= 600));
  peer.socket.send(answers.map((m) => JSON.stringify(m)).join('\n') + '\n');
  assert.deepEqual((await Promise.all(sent)).map((m) => m.offset), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  await assert.rejects(client.publish('a', 'é'.repeat(300)), { code: 'TOO_LARGE' });
  assert.equal(client.state, 'open');
});

test('what is not JSON ends the connection, as something was lost', async (t) => {
  const server = await fake(t);
  const client = server.client();
  await client.connect();
  (await server.accept()).socket.send('{"type":');
  await server.accept();
});

test('what is not of the protocol is dropped and told, and the connection is made anew', async (t) => {
  const server = await fake(t);
  const gap = { type: 'gap', channel: 'a', dropped: 1, reason: 'drop_oldest', recoverable: false };
  const welcome = (fields) => JSON.stringify(welcomeOf(fields));
  for (const line of [
    'null', '5', '"x"', '[]', '{}', '{"type":', '{"type":null}',
    JSON.stringify({ ...gap, channel: undefined }), JSON.stringify({ ...gap, channel: 5 }), JSON.stringify({ ...gap, id: null }),
    '{"type":"channel_message","channel":"a","data":1,"timestamp":"","offset":"7"}',
    '{"type":"query_batch","stream_id":"s1","batch_number":0,"rows":[null]}', '{"type":"query_batch","stream_id":"s1","batch_number":0}',
    '{"type":"query_change","stream_id":"s1","revision":2,"op":"insert","key":1}',
    '{"type":"presence_join","channel":"a"}', '{"type":"reconnect"}', '{"type":"error","message":"no"}', '{"type":"published"}', welcome({}),
  ]) {
    const client = server.client();
    const got = [];
    client.subscribe('a', (message) => got.push(message));
    const watch = client.watch('w');
    watch.on('error', ({ code }) => assert.equal(code, 'CLOSED'));
    const peer = await server.accept();
    await peer.subscribe({ epoch: 'one', offset: 0 });
    const { id } = await peer.next('watch');
    peer.send({ type: 'query_started', stream_id: 's1', query: 'w', id, columns: [], estimated_rows: 0, total_kind: 'exact' });
    const told = event(client, 'error');
    peer.socket.send(line);
    assert.equal((await told)[0].code, 'PROTOCOL_ERROR', line);
    const later = await server.accept();
    await client.connect();
    assert.equal((await later.next('watch')).resume.stream_id, 's1');
    assert.deepEqual(got, []);
    client.close();
  }
  for (const fields of [
    { server_time: 'soon' }, { heartbeat_interval_ms: 0 }, { heartbeat_interval_ms: null }, { max_message_bytes: -1 }, { epoch: null },
    { offset: 'x' }, { server_time: undefined },
  ]) {
    server.state.welcome = fields;
    const client = server.client();
    const told = event(client, 'error');
    const opened = client.connect();
    await server.accept();
    assert.equal((await told)[0].code, 'PROTOCOL_ERROR', JSON.stringify(fields));
    server.state.welcome = {};
    await opened;
    client.close();
    await server.accept();
  }
});

test('a token that cannot be one is given up at once', async () => {
  const client = new Client('ws://127.0.0.1:1/', { WebSocket, token: 'not a token' });
  const told = event(client, 'error');
  await assert.rejects(client.connect(), (error) => {
    assert.equal(error.code, 'CLOSED');
    assert.ok(!error.message.includes('not a token'));
    return true;
  });
  assert.equal(client.state, 'closed');
  assert.equal((await told)[0].code, 'CLOSED');
});

test('a platform without WebSocket is named as what it is', async (t) => {
  const { WebSocket: own } = globalThis;
  delete globalThis.WebSocket;
  t.after(() => (globalThis.WebSocket = own));
  const client = new Client('ws://127.0.0.1:1/');
  await assert.rejects(client.connect(), { code: 'CLOSED', message: /no WebSocket class/ });
});

test('a token that is a string and has expired closes the client; one that the server takes does not', async (t) => {
  let refused = true;
  const server = await fake(t, { refuse: () => refused });
  const client = server.client({ token: tokenUntil(Date.now() - 1000) });
  const subscription = client.subscribe('a');
  await assert.rejects(client.connect(), { code: 'CLOSED', closeCode: 4001, message: 'the token has expired' });
  await assert.rejects(subscription.ready, { code: 'CLOSED' });
  assert.equal(client.state, 'closed');
  refused = false; // this machine's clock is wrong
  await client.connect();
});

test('a reconnect at once is honoured once; then the client waits', async (t) => {
  const server = await fake(t);
  const client = server.client({ backoff: { min: 1e7, max: 1e7 } });
  const delays = [];
  client.on('state', (state, { delay }) => state === 'waiting' && delays.push(delay));
  await client.connect();
  for (let i = 0; i < 2; i++) {
    const waiting = event(client, 'state', (state) => state === 'waiting');
    const peer = await server.accept();
    await client.connect();
    peer.send({ type: 'reconnect', after_ms: 0, reason: '' });
    peer.socket.close(1001);
    await waiting;
  }
  assert.equal(delays[0], 0);
  assert.ok(delays[1] > 100, `${delays[1]}`);
});

test('a server that says that it goes and does not is left', async (t) => {
  const server = await fake(t);
  const client = server.client({ connectTimeout: 1000 });
  await client.connect();
  const peer = await server.accept();
  peer.send({ type: 'reconnect', after_ms: 0, reason: '' });
  const held = client.publish('a', 1);
  const later = await server.accept();
  later.send({ type: 'published', id: (await later.next('publish')).id, channel: 'a' });
  await held;
});

test('who closes the client from a listener is told of nothing after that', async (t) => {
  for (const name of ['state', 'welcome', 'gap']) {
    const server = await fake(t);
    const client = server.client();
    client.on('gap', () => {});
    const states = [];
    client.on(name, (...args) => (name !== 'state' || args[0] === 'open') && client.close());
    client.on('state', (state) => states.push(state));
    // A place of another epoch is told as a gap while the connection opens.
    const subscription = client.subscribe('a', { since: { epoch: 'none', offset: 1 } }, () => {});
    await assert.rejects(subscription.ready, { code: 'CLOSED' });
    await new Promise((done) => setImmediate(done));
    assert.equal(states.at(-1), 'closed', `${name}: ${states}`);
    assert.equal(client.state, 'closed');
  }
});

test('a token is shown as a subprotocol, and got anew when an attempt fails', async (t) => {
  let known = 'old';
  const server = await fake(t, { refuse: ({ req }) => !req.headers['sec-websocket-protocol'].includes(`bearer.${known}`) });
  const tokens = ['old', 'expired', 'new'];
  const client = server.client({ token: async () => tokens.shift() });
  await client.connect();
  const peer = await server.accept();
  assert.deepEqual(peer.offered, ['neuroquantum.v1.ndjson', 'neuroquantum.v1', 'bearer.old']);

  peer.cut(); // the token is still good
  const second = await server.accept();
  assert.equal(tokens.length, 2);
  known = 'new';
  second.cut();
  const third = await server.accept();
  assert.ok(third.offered.includes('bearer.new'));
  assert.equal(tokens.length, 0);
});

test('after 4001 another token is shown', async (t) => {
  const server = await fake(t);
  let n = 0;
  const client = server.client({ token: () => `t${n++}` });
  await client.connect();
  (await server.accept()).socket.close(4001);
  assert.ok((await server.accept()).offered.includes('bearer.t1'));
});

test('a failing source of tokens is told and tried again', async (t) => {
  const server = await fake(t);
  let calls = 0;
  const client = server.client({
    token: () => {
      if (calls++ < 3) throw new Error('no network');
      return null;
    },
  });
  const errors = [];
  client.on('error', (error) => errors.push(error.cause.message));
  await client.connect();
  assert.deepEqual(errors, Array(3).fill('no network'));
  assert.ok(!(await server.accept()).offered.some((entry) => entry.startsWith('bearer.')), 'anonymous');
});

test('a ticket is got for each connection', async (t) => {
  const server = await fake(t);
  let n = 0;
  const client = server.client({ ticket: async () => `t&${n++}` });
  await client.connect();
  const peer = await server.accept();
  assert.equal(peer.url, '/ws?ticket=t%260');
  peer.cut();
  assert.equal((await server.accept()).url, '/ws?ticket=t%261');
  assert.throws(() => server.client({ ticket: () => '', token: '' }), TypeError);
});

test('a token is renewed before it expires', async (t) => {
  const server = await fake(t);
  let n = 0;
  // The server's clock is an hour ahead: what counts is its time.
  const serverNow = () => Date.now() + 3_600_000;
  server.state.welcome = { server_time: new Date(serverNow()).toISOString() };
  const client = server.client({ token: () => (n++ ? `renewed${n}` : tokenUntil(serverNow() + 1200)) });
  const errors = [];
  client.on('error', (error) => errors.push(error.code));
  await client.connect();
  const peer = await server.accept();
  const first = await peer.next('authenticate');
  assert.equal(first.token, 'renewed2');
  peer.send({ type: 'error', code: 'UNAUTHENTICATED', message: 'not now', id: first.id, retry_after_ms: 10 });
  const second = await peer.next('authenticate');
  assert.deepEqual(errors, ['UNAUTHENTICATED']);
  peer.send({ type: 'authenticated', id: second.id, user: 'ann', expires_at: new Date(serverNow() + 1200).toISOString() });
  const third = await peer.next('authenticate');
  peer.send({ type: 'authenticated', id: third.id, user: 'ann' });
  await client.ping({ timeout: 1 }).catch(() => {});
  peer.cut();
  assert.ok((await server.accept()).offered.includes(`bearer.${third.token}`), 'what was renewed is shown again');
});

test('authenticate shows a token now and later', async (t) => {
  const server = await fake(t);
  const client = server.client();
  await client.connect();
  const peer = await server.accept();
  const done = client.authenticate('first');
  peer.send({ type: 'authenticated', id: (await peer.next('authenticate')).id, user: 'ann', expires_at: '2100-01-01T00:00:00.000Z' });
  assert.deepEqual(await done, { user: 'ann', expiresAt: '2100-01-01T00:00:00.000Z' });
  const refused = client.authenticate('second');
  peer.send({ type: 'error', code: 'UNAUTHENTICATED', message: 'the token has expired', id: (await peer.next('authenticate')).id });
  await assert.rejects(refused, { code: 'UNAUTHENTICATED', message: 'the token has expired' });
  peer.cut();
  assert.ok((await server.accept()).offered.includes('bearer.first'));
});

test('close ends everything', async (t) => {
  const server = await fake(t);
  const client = server.client();
  await client.connect();
  const peer = await server.accept();
  const subscription = client.subscribe('a');
  await peer.subscribe();
  const next = subscription[Symbol.asyncIterator]().next();
  const query = client.query('q').batches().next();
  const watch = client.watch('w');
  const published = client.publish('a', 1);
  client.close();
  for (const promise of [next, query, watch.ready, published]) await assert.rejects(promise, { code: 'CLOSED' });
  assert.equal(await within(peer.closed, 'the connection ends'), 1000);
  assert.equal(client.state, 'closed');
});
