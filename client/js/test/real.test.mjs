// The client against a real Caddy.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import * as undici from 'undici';
import { WebSocket } from 'ws';
import { caddy, changeOrders, client, folder, root, token, until } from './caddy.mjs';
import { event, within } from './fake.mjs';

const open = `
	allow subscribe anyone
	allow publish anyone
	allow history anyone
	allow presence anyone`;

const demo = `
neuroquantum_ws /ws {
	hub main
	channel plain/** {
		allow subscribe anyone
		allow publish anyone
		allow history anyone
	}
	channel secret/** {
		allow subscribe user:ann
	}
	channel ** {
		history 1000 1h
		presence
		${open}
	}
	source demo sqlite ${join(root, 'demo', 'demo.db')}
	query readings {
		source demo
		sql \`select id, sensor, value from readings where sensor = @sensor order by id\`
		param sensor text
		total exact
		allow anyone
	}
}
@api path /rt/*
neuroquantum_ws_api @api main`;

for (const [name, implementation] of [['ws', WebSocket], ['undici', undici.WebSocket]]) {
  test(`all verbs, over the WebSocket of ${name}`, async (t) => {
    const site = await caddy(t, demo);
    const ann = client(t, site.url, { WebSocket: implementation });
    const bob = client(t, site.url, { WebSocket: implementation, ndjson: false });
    const heard = ann.subscribe('chat/*', { presence: true });
    await heard.ready;
    const joined = event(heard, 'join');
    await bob.subscribe('chat/lobby', () => {}).ready;
    assert.equal((await joined)[0].connectionId, bob.welcome.connectionId);

    const { offset, epoch } = await bob.publish('chat/lobby', { text: 'hello' }, { key: 'k' });
    assert.deepEqual(await bob.publish('chat/lobby', { text: 'hello' }, { key: 'k' }), { channel: 'chat/lobby', offset, epoch, duplicate: true });
    const messages = heard[Symbol.asyncIterator]();
    const { value } = await messages.next();
    assert.deepEqual([value.channel, value.data, value.offset, value.gap], ['chat/lobby', { text: 'hello' }, offset, undefined]);
    assert.deepEqual(heard.position, { epoch, offset });

    const { messages: kept, hasMore } = await bob.history('chat/lobby', { limit: 1 });
    assert.deepEqual([kept[0].data, hasMore], [{ text: 'hello' }, false]);
    const { members, count } = await ann.presence('chat/lobby');
    assert.equal(count, 2);
    assert.ok(members.every(({ connectionId, since }) => connectionId && Date.parse(since)));
    assert.ok(Math.abs(Date.parse(await ann.ping()) - Date.now()) < 60_000);

    const replayed = bob.subscribe('chat/*', { history: 5 });
    assert.equal((await replayed[Symbol.asyncIterator]().next()).value.offset, offset);
    const since = bob.subscribe('**', { since: { epoch, offset: offset - 1 } });
    assert.equal((await since[Symbol.asyncIterator]().next()).value.offset, offset);

    const left = event(heard, 'leave');
    bob.close();
    assert.ok((await left)[0].since);
  });
}

test('queries give all rows, whatever the batches and credits', async (t) => {
  const site = await caddy(t, demo);
  const nq = client(t, site.url);
  const params = { sensor: 'seattle/wind' };
  const whole = [];
  for await (const row of nq.query('readings', params)) whole.push(row.id);
  assert.equal(whole.length, 1461);
  for (const [batchSize, credits] of [[1000, 1], [100, 2], [7, 4], [1, 50]]) {
    const query = nq.query('readings', params, { batchSize, credits, format: 'arrays' });
    const ids = [];
    for await (const batch of query.batches()) {
      assert.ok(batch.length <= batchSize);
      ids.push(...batch.map(([id]) => id));
    }
    assert.deepEqual(ids, whole);
    assert.equal(query.summary.totalRows, 1461);
    assert.deepEqual((await query.started).columns.map(({ name }) => name), ['id', 'sensor', 'value']);
  }

  const slow = nq.query('readings', params, { batchSize: 1, credits: 2 });
  const { streamId } = await slow.started;
  await slow.batches().next();
  assert.equal((await nq.queryStatus(streamId)).status, 'paused');
  slow.cancel();
  await until(async () => (await nq.queryStatus(streamId)).status === 'cancelled');

  for await (const row of nq.query('readings', params, { batchSize: 1, credits: 1 })) if (row.id) break;
  await assert.rejects(nq.query('readings', { sensor: 5 }).batches().next(), { code: 'INVALID_PARAMS' });
  await assert.rejects(nq.query('select 1').batches().next(), { code: 'QUERY_NOT_FOUND' });
});

test('refusals have codes', async (t) => {
  const site = await caddy(t, demo);
  const nq = client(t, site.url);
  await assert.rejects(nq.subscribe('secret/x').ready, { code: 'FORBIDDEN', channel: 'secret/x' });
  await assert.rejects(nq.subscribe('temp*').ready, { code: 'INVALID_CHANNEL', channel: 'temp*' });
  await assert.rejects(nq.subscribe('plain/x', { history: 1 }).ready, { code: 'HISTORY_UNAVAILABLE', channel: 'plain/x' });
  await assert.rejects(nq.subscribe('plain/x', { presence: true }).ready, { code: 'FORBIDDEN', channel: 'plain/x' });
  await assert.rejects(nq.publish('secret/x', 1), { code: 'FORBIDDEN', channel: 'secret/x' });
  await assert.rejects(nq.history('plain/x'), { code: 'HISTORY_UNAVAILABLE' });
  await assert.rejects(nq.authenticate('x.y.z'), { code: 'UNAUTHENTICATED' });
  await assert.rejects(nq.publish('x', 'x'.repeat(70_000)), { code: 'TOO_LARGE' });
  await assert.rejects(nq.watch('readings', { sensor: 'x' }).ready, { code: 'INVALID_PARAMS' });
  assert.equal(nq.state, 'open');
});

test('far more than the server allows at once succeeds, over one connection', async (t) => {
  const site = await caddy(t, demo);
  const nq = client(t, site.url);
  await nq.connect();
  const states = [];
  nq.on('state', (state, { error }) => states.push([state, error?.closeCode]));
  const got = [];
  const all = nq.subscribe('many', (message) => got.push(message.data));
  await all.ready;
  const published = await Promise.all(Array.from({ length: 900 }, (_, n) => nq.publish('many', n)));
  assert.equal(new Set(published.map(({ offset }) => offset)).size, 900);
  await within(until(() => got.length === 900), 'all has come');
  assert.deepEqual(got.sort((a, b) => a - b), Array.from({ length: 900 }, (_, n) => n));
  const subscriptions = Array.from({ length: 100 }, (_, n) => nq.subscribe(`many/${n}`, () => {}));
  await Promise.all(subscriptions.map(({ ready }) => ready));
  subscriptions.forEach((subscription) => subscription.unsubscribe());
  for (let n = 0; n < 100; n++) nq.publish('many', -1, { ack: false });
  await nq.ping();
  assert.deepEqual(states, []);
});

test('an operator disconnects, and calls back', async (t) => {
  const site = await caddy(t, demo);
  const nq = client(t, site.url);
  await nq.connect();
  const disconnect = async (query) => {
    const answer = await fetch(`${site.http}/rt/connections/${nq.welcome.connectionId}${query}`, { method: 'DELETE' });
    assert.ok(answer.ok, `${answer.status}`);
  };
  const back = event(nq, 'welcome');
  await disconnect('?reconnect_after_ms=10');
  await back;
  await nq.connect();
  const gone = event(nq, 'state', (state) => state === 'closed');
  await disconnect('');
  assert.equal((await gone)[1].error.closeCode, 4100);
});

test('a server that restarts is come back to; what was lost is told', async (t) => {
  const site = await caddy(t, demo);
  const nq = client(t, site.url);
  const got = [];
  const subscription = nq.subscribe('a', ({ data }) => got.push(data));
  await nq.publish('a', 1);
  await until(() => got.length === 1);
  const gap = event(subscription, 'gap');
  const waiting = event(nq, 'state', (state) => state === 'waiting');
  const rows = nq.query('readings', { sensor: 'seattle/wind' }, { batchSize: 1, credits: 1 })[Symbol.asyncIterator]();
  await rows.next();
  await site.stop();
  const [, { delay, error }] = await waiting;
  assert.ok(delay > 400, 'as the server asked');
  assert.equal(error.closeCode, 1001);
  const held = nq.publish('a', 2);
  await site.start();
  assert.equal((await gap)[0].reason, 'epoch_changed');
  await held;
  await until(() => got.length === 2);
  await assert.rejects(async () => {
    for (;;) if ((await rows.next()).done) return;
  }, { code: 'RESUME_FAILED' });
});

test('tokens are shown, renewed, and got anew', async (t) => {
  const secret = 'a secret of at least 32 characters';
  const site = await caddy(t, `
neuroquantum_ws /ws {
	hub main
	jwt {
		key {env.JWT_KEY}
		algorithms HS256
		leeway 1s
		required
	}
	channel ** {
		${open}
	}
}
@api path /rt/*
neuroquantum_ws_api @api main`, { environment: { JWT_KEY: secret } });
  const tokens = [token('ann', -60, secret), token('ann', 2, secret)];
  let given = 0;
  const nq = client(t, site.url, { token: async () => tokens[given++] ?? token('ann', 600, secret) });
  const failed = event(nq, 'error');
  await nq.connect();
  assert.equal((await failed)[0].code, 'CONNECT_FAILED');
  assert.equal(nq.welcome.user, 'ann');
  await within(until(() => given === 3), 'the token is renewed');
  const { user, expiresAt } = await nq.authenticate(token('ann', 900, secret));
  assert.equal(user, 'ann');
  assert.ok(Date.parse(expiresAt) > Date.now() + 800_000);
  await assert.rejects(nq.authenticate(token('bob', 900, secret)), { code: 'UNAUTHENTICATED' });

  const ticket = async () => {
    const answer = await fetch(`${site.http}/rt/tickets`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ user: 'tina' }),
    });
    return (await answer.json()).ticket;
  };
  const tina = client(t, site.url, { ticket });
  for (let i = 0; i < 2; i++) {
    await tina.connect();
    assert.equal(tina.welcome.user, 'tina');
    const waiting = event(tina, 'state', (state) => state === 'waiting');
    await fetch(`${site.http}/rt/connections/${tina.welcome.connectionId}?reconnect_after_ms=1`, { method: 'DELETE' });
    await waiting;
  }
  await tina.connect();
});

test('a watch follows a database that others change', async (t) => {
  const file = join(await folder(t), 'orders.db');
  await changeOrders(file, 50, '1ms');
  const site = await caddy(t, `
neuroquantum_ws /ws {
	hub main
	source shop sqlite ${file}
	query orders {
		source shop
		sql \`select id, customer, item, total, status from orders order by id\`
		allow anyone
		watch {
			key id
			on table orders
			debounce 5ms
		}
	}
}`);
  const nq = client(t, site.url);
  const watch = nq.watch('orders', {}, { batchSize: 3 });
  await watch.ready;
  // A copy that is made of the changes alone, beside the client's own.
  const copy = new Map(watch.rows);
  watch.on('change', ({ op, key, row }) => (op === 'delete' ? copy.delete(key) : copy.set(key, row)));
  await changeOrders(file, 300, '2ms');
  const truth = [];
  for await (const row of nq.query('orders')) truth.push(row);
  const sorted = (map) => [...map.values()].sort((a, b) => a.id - b.id);
  await within(until(() => JSON.stringify(sorted(watch.rows)) === JSON.stringify(truth)), 'the copy is the truth');
  assert.deepEqual(sorted(copy), truth);
});
