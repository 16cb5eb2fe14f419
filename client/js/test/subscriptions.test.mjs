import assert from 'node:assert/strict';
import { test } from 'node:test';
import { event, fake, now, within } from './fake.mjs';

async function connected(t, options, welcome) {
  const server = await fake(t, { welcome });
  const client = server.client(options);
  await client.connect();
  return { server, client, peer: await server.accept() };
}

/** collector gives a callback and what it was given. */
function collector() {
  const got = [];
  return [(message) => got.push(message.offset ?? message.data), got];
}

/** settled waits until the client has handled all that the peer has sent. */
async function settled(client, peer) {
  const marker = Math.random();
  const seen = event(client, 'message', (message) => message.marker === marker);
  peer.send({ type: 'marker', marker });
  await seen;
}

const confirmation = (asked, channel, fields) => ({ type: 'subscription_confirmed', channel, timestamp: now(), id: asked.id, ...fields });

test('messages come to all subscriptions that match, each once', async (t) => {
  const { client, peer } = await connected(t);
  const [one, got1] = collector();
  const [two, got2] = collector();
  const [three, got3] = collector();
  client.subscribe('a/b', one);
  client.subscribe('a/*', two);
  client.subscribe('**', three);
  for (let i = 0; i < 3; i++) await peer.subscribe({ epoch: 'one', offset: 0 });
  peer.message('a/b', 1);
  peer.message('a/c', 2);
  peer.message('a/b/c', 3);
  peer.message('a/b', undefined, 'x');
  await settled(client, peer);
  assert.deepEqual([got1, got2, got3], [[1, 'x'], [1, 2, 'x'], [1, 2, 3, 'x']]);
});

test('one place resumes all, and nothing comes twice', async (t) => {
  const { server, client, peer } = await connected(t);
  const [one, got1] = collector();
  const [two, got2] = collector();
  const a = client.subscribe('a', one);
  const b = client.subscribe('b/**', two);
  const recovered = [];
  a.on('recovered', (result) => recovered.push(result));
  for (let i = 0; i < 2; i++) await peer.subscribe({ epoch: 'one', offset: 10 });
  peer.message('a', 11);
  peer.message('b/c', 15);
  await settled(client, peer);
  assert.deepEqual([a.position, b.position], [{ epoch: 'one', offset: 15 }, { epoch: 'one', offset: 15 }]);
  peer.cut();
  const later = await server.accept();
  const asked = await later.next('subscribe');
  assert.deepEqual({ ...asked, id: 0 }, { type: 'subscribe', channels: ['a', 'b/**'], since: { epoch: 'one', offset: 15 }, id: 0 });
  later.send(
    confirmation(asked, 'a', { epoch: 'one', offset: 20, recovered: true, replayed: 1 }),
    confirmation(asked, 'b/**', { epoch: 'one', offset: 20, recovered: true, replayed: 2 }),
  );
  later.message('b/c', 16);
  later.message('b/c', 16);
  later.message('a', 17);
  later.message('b/d', 18);
  await settled(client, later);
  assert.deepEqual([got1, got2], [[11, 17], [15, 16, 18]]);
  assert.deepEqual(recovered, [{ recovered: true, replayed: 1 }]);
  assert.deepEqual([a.position.offset, b.position.offset], [18, 18]);
});

test('a cut in the midst of a replay loses nothing', async (t) => {
  const { server, client, peer } = await connected(t);
  const [one, got1] = collector();
  const [two, got2] = collector();
  client.subscribe('a', one);
  await peer.subscribe({ epoch: 'one', offset: 100 });
  peer.message('a', 101);
  client.subscribe('**', { since: { epoch: 'one', offset: 40 } }, two);
  assert.deepEqual((await peer.subscribe({ epoch: 'one', offset: 101, recovered: true, replayed: 50 })).since, { epoch: 'one', offset: 40 });
  peer.message('b', 41);
  peer.message('a', 42); // a has had it, before it subscribed
  await settled(client, peer);
  peer.cut();
  const later = await server.accept();
  const asked = await later.next('subscribe');
  assert.deepEqual(asked.since, { epoch: 'one', offset: 42 });
  for (const channel of ['a', '**']) later.send(confirmation(asked, channel, { epoch: 'one', offset: 103, recovered: true, replayed: 3 }));
  for (const [channel, offset] of [['a', 43], ['b', 44], ['a', 101], ['a', 102]]) later.message(channel, offset);
  await settled(client, later);
  assert.deepEqual([got1, got2], [[101, 102], [41, 42, 43, 44, 101, 102]]);
});

test('what is trimmed of a replay is told only to whom it is missing', async (t) => {
  const { server, client, peer } = await connected(t);
  const log = [];
  const whole = client.subscribe('a', () => {});
  await peer.subscribe({ epoch: 'one', offset: 100 });
  const behind = client.subscribe('*', { since: { epoch: 'one', offset: 40 } }, () => {});
  await peer.subscribe({ epoch: 'one', offset: 100, recovered: true, replayed: 50 });
  peer.message('b', 41);
  await settled(client, peer);
  whole.on('gap', ({ reason }) => log.push(['whole', reason]));
  behind.on('gap', ({ reason }) => log.push(['behind', reason]));
  peer.cut();
  const later = await server.accept();
  const asked = await later.next('subscribe');
  for (const channel of ['a', '*']) later.send(confirmation(asked, channel, { epoch: 'one', offset: 100, recovered: true, replayed: 20 }));
  later.send({ type: 'gap', channel: 'a', before: 60, dropped: null, reason: 'history_trimmed', recoverable: false });
  await settled(client, later);
  assert.deepEqual(log, [['behind', 'history_trimmed']]);
});

test('what cannot be recovered is told', async (t) => {
  const { server, client, peer } = await connected(t);
  const subscription = client.subscribe('a');
  const plain = client.subscribe('plain', () => {});
  const gaps = [];
  client.on('gap', ({ channel, reason }, sub) => gaps.push([channel, reason, sub?.channel]));
  await peer.subscribe({ epoch: 'one', offset: 5 });
  await peer.subscribe();
  peer.message('a', 6);
  assert.equal((await subscription[Symbol.asyncIterator]().next()).value.offset, 6);
  assert.equal(plain.position, undefined);
  peer.cut();

  const later = await server.accept();
  const asked = await later.next('subscribe');
  later.send(
    confirmation(asked, 'a', { epoch: 'one', offset: 9, recovered: false, replayed: 1 }),
    confirmation(asked, 'plain', { recovered: false, replayed: 0 }),
    { type: 'gap', channel: 'a', before: 9, dropped: null, reason: 'history_trimmed', recoverable: false },
  );
  later.message('a', 9);
  const { value } = await subscription[Symbol.asyncIterator]().next();
  assert.deepEqual([value.offset, value.gap.reason], [9, 'history_trimmed']);
  assert.deepEqual(gaps, [['a', 'not_recovered', 'a'], ['plain', 'connection', 'plain'], ['a', 'history_trimmed', 'a']]);
});

test('a new epoch is told, and all that its hub keeps is news', async (t) => {
  const { server, client, peer } = await connected(t);
  const [callback, got] = collector();
  const a = client.subscribe('a', callback);
  const gaps = [];
  a.on('gap', ({ reason }) => gaps.push(reason));
  await peer.subscribe({ epoch: 'one', offset: 50 });
  peer.message('a', 51);
  await settled(client, peer);
  server.state.welcome = { epoch: 'two', offset: 3 };
  peer.cut();
  const later = await server.accept();
  assert.deepEqual((await later.subscribe({ epoch: 'two', offset: 3, recovered: true, replayed: 2 })).since, { epoch: 'two', offset: 0 });
  later.message('a', 1);
  later.message('a', 3);
  await settled(client, later);
  assert.deepEqual([gaps, got, a.position], [['epoch_changed'], [51, 1, 3], { epoch: 'two', offset: 3 }]);

  const old = client.subscribe('b', { since: { epoch: 'one', offset: 7 } }, () => {});
  const told = event(old, 'gap');
  assert.deepEqual((await later.subscribe({ epoch: 'two', offset: 3, recovered: true, replayed: 0 })).since, { epoch: 'two', offset: 0 });
  assert.equal((await told)[0].reason, 'epoch_changed');
  const ahead = client.subscribe('c', { since: { epoch: 'two', offset: 1000 } }, callback);
  await later.subscribe({ epoch: 'two', offset: 3, recovered: false, replayed: 0 });
  await ahead.ready;
  later.message('c', 4);
  await settled(client, later);
  assert.deepEqual([got.at(-1), ahead.position.offset], [4, 4], 'a place that the hub has never been at');
});

test('what a new epoch may have lost is not told as recovered', async (t) => {
  const { server, client, peer } = await connected(t);
  const a = client.subscribe('a', () => {});
  const log = [];
  a.on('gap', ({ reason }) => log.push(reason));
  a.on('recovered', ({ recovered }) => log.push(recovered));
  await peer.subscribe({ epoch: 'one', offset: 50 });
  await a.ready;
  server.state.welcome = { epoch: 'two', offset: 3 };
  peer.cut();
  (await server.accept()).cut(); // before it is confirmed
  const third = await server.accept();
  await third.subscribe({ epoch: 'two', offset: 3, recovered: true, replayed: 0 });
  await settled(client, third);
  assert.deepEqual(log, ['epoch_changed', false]);
  third.cut();
  const fourth = await server.accept();
  await fourth.subscribe({ epoch: 'two', offset: 3, recovered: true, replayed: 0 });
  await settled(client, fourth);
  assert.deepEqual(log, ['epoch_changed', false, true]);
});

test('a refusal that nobody listens for is an error of the client', async (t) => {
  const { client, peer } = await connected(t);
  const refuse = async () => {
    const { id, channels: [channel] } = await peer.next('subscribe');
    peer.send({ type: 'error', code: 'FORBIDDEN', message: 'no', id, channel });
  };
  const errors = [];
  client.on('error', ({ code, channel }) => errors.push([code, channel]));
  client.subscribe('deaf', () => {});
  const heard = client.subscribe('heard', () => {});
  const listened = event(heard, 'error');
  const awaited = client.subscribe('awaited', () => {}).ready;
  const iterated = client.subscribe('iterated')[Symbol.asyncIterator]().next();
  for (let i = 0; i < 4; i++) await refuse();
  await listened;
  await assert.rejects(awaited, { code: 'FORBIDDEN' });
  await assert.rejects(iterated, { code: 'FORBIDDEN' });
  peer.send({ type: 'error', code: 'FORBIDDEN', message: 'no', channel: 'unknown' });
  await settled(client, peer);
  assert.deepEqual(errors, [['FORBIDDEN', 'deaf'], ['FORBIDDEN', 'unknown']]);
});

test('a server that takes only short messages is asked in more parts', async (t) => {
  const { server, client, peer } = await connected(t, {}, { max_message_bytes: 1024 });
  const names = Array.from({ length: 10 }, (_, n) => 'n'.repeat(200) + n);
  const ready = names.map((name) => client.subscribe(name, { presence: true }, () => {}).ready);
  for (const _ of names) await peer.subscribe({ epoch: 'one', offset: 0 });
  await Promise.all(ready);
  const large = client.subscribe('n'.repeat(2000), () => {});
  await assert.rejects(large.ready, { code: 'TOO_LARGE' });
  await assert.rejects(client.query('q', { x: 'x'.repeat(2000) }).started, { code: 'TOO_LARGE' });
  peer.cut();
  const later = await server.accept();
  const back = [];
  while (back.length < 20) back.push(...(await later.subscribe({ epoch: 'one', offset: 0, recovered: true, replayed: 0 })).channels);
  assert.deepEqual([...new Set(back)].sort(), names);
  assert.ok(later.frames.every((frame) => frame.length <= 1024));
});

test('a place of an epoch that ended before it was confirmed is not taken for one of the new', async (t) => {
  const { server, client, peer } = await connected(t);
  const a = client.subscribe('a', { since: { epoch: 'one', offset: 40 } }, () => {});
  const gaps = [];
  a.on('gap', ({ reason }) => {
    gaps.push(reason);
    client.subscribe('later', () => {}); // who is told may do what he likes
  });
  await peer.next('subscribe');
  server.state.welcome = { epoch: 'two', offset: 3 };
  peer.cut();
  const next = await server.accept();
  const asked = [await next.next('subscribe'), await next.next('subscribe')];
  assert.deepEqual(asked.map(({ channels, since }) => [channels[0], since?.offset]), [['later', undefined], ['a', 0]]);
  await settled(client, next);
  assert.deepEqual([gaps, next.unread], [['epoch_changed'], []]);
});

test('history is asked for again only where nothing of it came', async (t) => {
  const { server, client, peer } = await connected(t);
  const [callback, got] = collector();
  const a = client.subscribe('a', { history: 2 }, callback);
  const gaps = [];
  a.on('gap', ({ reason }) => gaps.push(reason));
  assert.equal((await peer.subscribe({ epoch: 'one', offset: 10 })).history, 2);
  await a.ready;
  peer.cut();
  const second = await server.accept();
  const asked = await second.subscribe({ epoch: 'one', offset: 30 });
  assert.deepEqual([asked.history, asked.since], [2, undefined]);
  second.message('a', 25);
  await settled(client, second);
  assert.deepEqual([gaps, got], [['not_recovered'], [25]], 'more than two may have been published meanwhile');
  second.cut();
  const third = await server.accept();
  assert.deepEqual((await third.subscribe({ epoch: 'one', offset: 30, recovered: true, replayed: 0 })).since, { epoch: 'one', offset: 25 });
});

test('many subscriptions are resumed in parts, each by what its own ones have', async (t) => {
  const { server, client, peer } = await connected(t);
  const names = Array.from({ length: 300 }, (_, n) => `c${n}`);
  const got = [];
  for (const name of names) client.subscribe(name, ({ channel, offset }) => got.push(`${channel} ${offset}`));
  for (let i = 0; i < 300; i++) await peer.subscribe({ epoch: 'one', offset: 0 });
  peer.message('c0', 7);
  await settled(client, peer);
  peer.cut();

  let later = await server.accept();
  let parts = [await later.next('subscribe'), await later.next('subscribe'), await later.next('subscribe')];
  assert.deepEqual(parts.map(({ channels }) => channels.length), [128, 128, 44]);
  assert.deepEqual(parts.flatMap(({ channels }) => channels), names);
  assert.ok(parts.every(({ since }) => since.offset === 7));
  // The first part comes back as a whole, the second with half its replay, the third not at all.
  for (const channel of parts[0].channels) later.send(confirmation(parts[0], channel, { epoch: 'one', offset: 9, recovered: true, replayed: 0 }));
  for (const channel of parts[1].channels) {
    later.send(confirmation(parts[1], channel, { epoch: 'one', offset: 9, recovered: true, replayed: channel === 'c128' ? 2 : 0 }));
  }
  later.message('c128', 8);
  await settled(client, later);
  later.cut();

  later = await server.accept();
  parts = [await later.next('subscribe'), await later.next('subscribe'), await later.next('subscribe')];
  assert.deepEqual(parts.map(({ since }) => since.offset), [9, 8, 7]);
  for (const part of parts) {
    for (const channel of part.channels) later.send(confirmation(part, channel, { epoch: 'one', offset: 9, recovered: true, replayed: 0 }));
  }
  later.message('c128', 8); // in the part of another
  later.message('c128', 9);
  later.message('c299', 10);
  await settled(client, later);
  assert.deepEqual(got, ['c0 7', 'c128 8', 'c299 10'], 'c128 was said to have all up to 9');
});

test('subscriptions to the same channel share a place at the server', async (t) => {
  const { client, peer } = await connected(t);
  const [one, got1] = collector();
  const [two, got2] = collector();
  const first = client.subscribe('a', one);
  const second = client.subscribe('a', { history: 2 }, two);
  await peer.subscribe({ epoch: 'one', offset: 10 });
  await peer.subscribe({ epoch: 'one', offset: 10 });
  for (const offset of [8, 9, 11]) peer.message('a', offset);
  await settled(client, peer);
  assert.deepEqual([got1, got2], [[11], [8, 9, 11]]);
  first.unsubscribe();
  peer.message('a', 12);
  await settled(client, peer);
  assert.deepEqual([got1, got2, peer.unread], [[11], [8, 9, 11, 12], []]);
  second.unsubscribe();
  assert.equal((await peer.next('unsubscribe')).channel, 'a');
  peer.message('a', 13);
  await settled(client, peer);
  assert.equal(got2.length, 4);
});

test('refusals come to the subscription that they are of', async (t) => {
  const { client, peer } = await connected(t);
  const [good, got] = collector();
  client.subscribe('good', good);
  const bad = client.subscribe('bad');
  const iteration = bad[Symbol.asyncIterator]().next();
  await peer.subscribe({ epoch: 'one', offset: 0 });
  const asked = await peer.next('subscribe');
  peer.send({ type: 'error', code: 'FORBIDDEN', message: 'this channel is not open to you', id: asked.id, channel: 'bad' });
  await assert.rejects(bad.ready, { code: 'FORBIDDEN', channel: 'bad' });
  await assert.rejects(iteration, { code: 'FORBIDDEN' });

  const limited = client.subscribe('limited', () => {});
  const first = await peer.next('subscribe');
  peer.send({ type: 'error', code: 'RATE_LIMITED', message: 'too many messages', id: first.id, retry_after_ms: 5 });
  await peer.subscribe({ epoch: 'one', offset: 0 });
  await limited.ready;

  const unreadable = client.subscribe('unreadable', { history: 5 }, () => {});
  const asked2 = await peer.next('subscribe');
  peer.send({ type: 'error', code: 'HISTORY_UNAVAILABLE', message: 'the history cannot be read now', id: asked2.id, retry_after_ms: 5 });
  assert.equal((await peer.subscribe({ epoch: 'one', offset: 0 })).history, 5);
  await unreadable.ready;

  const postponed = client.subscribe('postponed', { history: 5 }, () => {});
  const asked3 = await peer.next('subscribe');
  peer.send({
    type: 'error', code: 'HISTORY_UNAVAILABLE', message: 'the history cannot be read now', id: asked3.id, channel: 'postponed', retry_after_ms: 5,
  });
  assert.deepEqual((await peer.subscribe({ epoch: 'one', offset: 0 })).channels, ['postponed']);
  await postponed.ready;

  const ended = event(limited, 'error');
  peer.send({ type: 'error', code: 'FORBIDDEN', message: 'no longer', channel: 'limited' });
  peer.message('good', 1);
  assert.equal((await ended)[0].code, 'FORBIDDEN');
  await settled(client, peer);
  assert.deepEqual(got, [1]);
});

test('joins and leaves come to those who asked, and what a cut may have swallowed is told', async (t) => {
  const { server, client, peer } = await connected(t);
  const log = [];
  const room = client.subscribe('room', { presence: true }, () => {});
  client.subscribe('room', () => {}).on('join', () => log.push('not asked for'));
  room.on('join', (member, channel) => log.push(['join', member.connectionId, channel]));
  room.on('leave', (member) => log.push(['leave', member.user]));
  room.on('gap', ({ channel, reason }) => log.push([channel, reason]));
  assert.equal((await peer.subscribe({ epoch: 'one', offset: 0 })).presence, true);
  assert.equal((await peer.subscribe({ epoch: 'one', offset: 0 })).presence, true, 'the other still wants it');
  const member = { connection_id: 'x', user: 'ann', since: now() };
  peer.send({ type: 'presence_join', channel: 'room', member }, { type: 'presence_leave', channel: 'room', member });
  peer.send({ type: 'gap', channel: '$presence/room', dropped: 1, reason: 'drop_oldest', recoverable: false });
  await settled(client, peer);
  assert.deepEqual(log, [['join', 'x', 'room'], ['leave', 'ann'], ['$presence/room', 'drop_oldest']]);
  log.length = 0;
  peer.cut();

  const later = await server.accept();
  const asked = await later.subscribe({ epoch: 'one', offset: 0, recovered: true, replayed: 0 });
  assert.equal(asked.presence, undefined);
  const attended = await later.subscribe({ epoch: 'one', offset: 0 });
  assert.deepEqual([attended.presence, attended.since, attended.channels], [true, undefined, ['room']]);
  await settled(client, later);
  assert.deepEqual(log, [['$presence/room', 'connection']]);
  room.unsubscribe();
  assert.equal((await later.next('subscribe')).presence, undefined, 'nobody wants it any more');
});

test('an iteration is bounded, and tells what went', async (t) => {
  const { client, peer } = await connected(t);
  const subscription = client.subscribe('a', { buffer: 3 });
  const gaps = [];
  subscription.on('gap', ({ reason }) => gaps.push(reason));
  await peer.subscribe({ epoch: 'one', offset: 0 });
  for (let offset = 1; offset <= 10; offset++) peer.message('a', offset);
  await settled(client, peer);
  const got = [];
  for await (const message of subscription) {
    got.push([message.offset, message.gap?.dropped, message.gap?.reason]);
    if (message.offset === 10) break;
  }
  assert.deepEqual(got, [[8, 7, 'overflow'], [9, undefined, undefined], [10, undefined, undefined]]);
  assert.deepEqual(gaps, ['overflow']);
  assert.equal((await peer.next('unsubscribe')).channel, 'a', 'leaving the loop unsubscribes');
});

test('a callback that throws hinders nobody', async (t) => {
  const { client, peer } = await connected(t);
  const uncaught = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => uncaught.push(error.message));
  t.after(() => {
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  });
  const [callback, got] = collector();
  client.subscribe('a', () => {
    throw new Error('mine');
  });
  client.subscribe('a', callback);
  for (let i = 0; i < 2; i++) await peer.subscribe({ epoch: 'one', offset: 0 });
  peer.message('a', 1);
  peer.message('a', 2);
  await settled(client, peer);
  assert.deepEqual([got, uncaught], [[1, 2], ['mine', 'mine']]);
});

test('a callback may unsubscribe and close', async (t) => {
  const { client, peer } = await connected(t);
  const got = [];
  const second = client.subscribe('b', () => {});
  const first = client.subscribe('a', (message) => {
    got.push(message.offset);
    first.unsubscribe();
    second.unsubscribe();
    client.close();
  });
  for (let i = 0; i < 2; i++) await peer.subscribe({ epoch: 'one', offset: 0 });
  peer.socket.send(['a', 'a', 'b'].map((channel, i) => JSON.stringify({ type: 'channel_message', channel, data: 1, timestamp: '', offset: i + 1 })).join('\n'));
  await within(peer.closed, 'the connection ends');
  assert.deepEqual(got, [1]);
});
