import assert from 'node:assert/strict';
import { test } from 'node:test';
import { event, fake } from './fake.mjs';

async function connected(t, options) {
  const server = await fake(t);
  const client = server.client(options);
  await client.connect();
  return { server, client, peer: await server.accept() };
}

const started = (asked, more = {}) => ({
  type: 'query_started', stream_id: 's1', query: asked.query, id: asked.id, columns: [{ name: 'id', type: 'integer' }],
  estimated_rows: 4, total_kind: 'exact', ...more,
});
const batch = (number, rows, more = true) => ({ type: 'query_batch', stream_id: 's1', batch_number: number, rows, has_more: more });
const completed = { type: 'query_completed', stream_id: 's1', total_rows: 4, execution_time_ms: 7, batches: 2 };

/** take reads so many items. */
async function take(iterator, n) {
  const items = [];
  while (items.length < n) items.push((await iterator.next()).value);
  return items;
}

test('a query gives its rows, what is known of it, and how it ended', async (t) => {
  const { client, peer } = await connected(t);
  const query = client.query('q', { a: 1 }, { batchSize: 2, format: 'arrays', source: 'main' });
  const progress = event(query, 'progress');
  const asked = await peer.next('stream_query');
  assert.deepEqual({ ...asked, id: 0 }, { type: 'stream_query', query: 'q', params: { a: 1 }, batch_size: 2, format: 'arrays', source: 'main', credits: 4, id: 0 });
  peer.send(started(asked), batch(0, [[1], [2]]));
  peer.send({ type: 'query_progress', stream_id: 's1', rows_processed: 3, percentage: 50, eta_ms: null, stalled_ms: 1, state: 'streaming' });
  peer.send(batch(1, [[3], [4]], false), completed);
  const rows = [];
  for await (const row of query) rows.push(row);
  assert.deepEqual(rows, [[1], [2], [3], [4]]);
  const { columns, estimatedRows, totalKind, streamId } = await query.started;
  assert.deepEqual([columns, estimatedRows, totalKind, streamId], [[{ name: 'id', type: 'integer' }], 4, 'exact', 's1']);
  const [{ rowsProcessed, etaMs, stalledMs }] = await progress;
  assert.deepEqual([rowsProcessed, etaMs, stalledMs], [3, null, 1]);
  assert.deepEqual([query.summary.totalRows, query.summary.executionTimeMs, query.summary.batches], [4, 7, 2]);
  assert.deepEqual(peer.unread, [], 'nothing to cancel');
});

test('credit is granted as batches are consumed', async (t) => {
  const { client, peer } = await connected(t);
  const query = client.query('q', {}, { credits: 4 });
  peer.send(started(await peer.next('stream_query')), ...[0, 1, 2, 3].map((n) => batch(n, [n])));
  const batches = query.batches();
  assert.deepEqual(await take(batches, 2), [[0], [1]]);
  assert.deepEqual(peer.unread, [], 'one is consumed, which is less than half');
  await take(batches, 1);
  assert.equal((await peer.next('credit')).batches, 2);
  await take(batches, 1);
  const next = batches.next();
  assert.equal((await peer.next('credit')).batches, 2);
  peer.send({ type: 'error', code: 'QUERY_TIMEOUT', message: 'too long', stream_id: 's1' });
  await assert.rejects(next, { code: 'QUERY_TIMEOUT', streamId: 's1' });
  assert.throws(() => client.query('q', {}, { credits: 0 }), RangeError);
});

test('credit that is refused is granted again', async (t) => {
  const { client, peer } = await connected(t);
  const batches = client.query('q', {}, { credits: 1 }).batches();
  peer.send(started(await peer.next('stream_query')), batch(0, [0]));
  await batches.next();
  const next = batches.next();
  const { id } = await peer.next('credit');
  peer.send({ type: 'error', code: 'RATE_LIMITED', message: 'too many messages', id, stream_id: 's1', retry_after_ms: 5 });
  assert.deepEqual(await peer.next('credit'), { type: 'credit', stream_id: 's1', batches: 1, id });
  peer.send(batch(1, [1]));
  assert.deepEqual((await next).value, [1]);
});

test('a long query takes no place among the requests that wait', async (t) => {
  const { client, peer } = await connected(t, { maxPending: 100 });
  const batches = client.query('q', {}, { credits: 1 }).batches();
  peer.send(started(await peer.next('stream_query')));
  for (let n = 0; n < 150; n++) {
    peer.send(batch(n, [n]));
    await batches.next();
    if (n) await peer.next('credit'); // which has no answer
  }
  const ping = client.ping();
  peer.send({ type: 'pong', timestamp: 'then', id: (await peer.next('ping')).id });
  assert.equal(await ping, 'then');
});

test('a query is iterated over once', async (t) => {
  const { client, peer } = await connected(t);
  const query = client.query('q');
  const batches = query.batches();
  assert.throws(() => query.batches(), TypeError);
  assert.throws(() => query[Symbol.asyncIterator](), /once/);
  peer.send(started(await peer.next('stream_query')), batch(0, [1]), completed);
  assert.deepEqual(await take(batches, 1), [[1]]);
  await assert.rejects(async () => {
    for await (const row of query) assert.fail(row);
  }, TypeError);
});

test('a query or watch that is not answered in time ends, and is cancelled at the server', async (t) => {
  const { server, client, peer } = await connected(t, { timeout: 20 });
  const query = client.query('q');
  const watch = client.watch('w');
  await assert.rejects(query.started, { code: 'TIMEOUT' });
  await assert.rejects(query.batches().next(), { code: 'TIMEOUT' });
  await assert.rejects(watch.ready, { code: 'TIMEOUT' });
  peer.send(started(await peer.next('stream_query')), started(await peer.next('watch'), { stream_id: 's2' }));
  assert.equal((await peer.next('cancel_query')).stream_id, 's1');
  assert.equal((await peer.next('unwatch')).stream_id, 's2');

  const slow = client.query('q', {}, { timeout: Infinity });
  const asked = await peer.next('stream_query');
  await client.ping({ timeout: 50 }).catch(() => {});
  peer.send(started(asked));
  await slow.started;
  await client.ping({ timeout: 50 }).catch(() => {});
  assert.equal(slow._ended, undefined, 'once answered there is no limit');
  peer.cut();
  const later = await server.accept();
  await later.next('stream_query');
  slow.cancel();
});

test('what a query is asked with is what it was at the call', async (t) => {
  const server = await fake(t);
  const client = server.client();
  const params = { list: [1] };
  client.query('q', params);
  params.list.push(2);
  assert.throws(() => client.query('q', { big: 1n }), TypeError);
  const peer = await server.accept();
  assert.deepEqual((await peer.next('stream_query')).params, { list: [1] });
});

test('batches beyond the credit end a query', async (t) => {
  const { client, peer } = await connected(t);
  const batches = client.query('q', {}, { credits: 2 }).batches();
  peer.send(started(await peer.next('stream_query')), batch(0, [0]), batch(1, [1]), batch(2, [2]));
  await peer.next('cancel_query');
  assert.deepEqual(await take(batches, 2), [[0], [1]]);
  await assert.rejects(batches.next(), { code: 'STREAM_ERROR' });
});

test('leaving the loop, cancel and a signal cancel', async (t) => {
  const { client, peer } = await connected(t);
  const begin = async (options) => {
    const query = client.query('q', {}, options);
    peer.send(started(await peer.next('stream_query')), batch(0, [1, 2]));
    return query;
  };
  for await (const row of await begin()) {
    assert.equal(row, 1);
    break;
  }
  await peer.next('cancel_query', (m) => m.stream_id === 's1');

  const query = await begin();
  const rows = query[Symbol.asyncIterator]();
  await rows.next();
  query.cancel();
  await peer.next('cancel_query');
  assert.deepEqual(await take(rows, 1), [2], 'of the batch at hand');
  assert.equal((await rows.next()).done, true);

  const control = new AbortController();
  const aborted = await begin({ signal: control.signal });
  const progress = event(aborted, 'progress');
  peer.send(batch(1, [3]), { type: 'query_progress', stream_id: 's1' });
  const batches = aborted.batches();
  await batches.next();
  await progress; // the second batch waits
  control.abort(new Error('enough'));
  await peer.next('cancel_query');
  await assert.rejects(batches.next(), /enough/);
  await assert.rejects(client.query('q', {}, { signal: control.signal }).batches().next(), /enough/);

  const early = client.query('q');
  const asked = await peer.next('stream_query');
  early.cancel();
  peer.send(started(asked, { stream_id: 's9' }));
  await peer.next('cancel_query', (m) => m.stream_id === 's9');
  await assert.rejects(early.started, { code: 'CANCELLED' });
});

test('what refuses or ends a query is thrown', async (t) => {
  const { client, peer } = await connected(t);
  const refused = client.query('q');
  const asked = await peer.next('stream_query');
  peer.send({ type: 'error', code: 'QUERY_NOT_FOUND', message: 'no such query', id: asked.id });
  await assert.rejects(refused.batches().next(), { code: 'QUERY_NOT_FOUND' });
  await assert.rejects(refused.started, { code: 'QUERY_NOT_FOUND' });

  const limited = client.query('q');
  const first = await peer.next('stream_query');
  peer.send({ type: 'error', code: 'RATE_LIMITED', message: 'too many messages', id: first.id, retry_after_ms: 5 });
  const second = await peer.next('stream_query');
  peer.send(started(second), batch(0, [1]), { type: 'query_cancelled', stream_id: 's1', reason: 'operator', rows_sent: 1 });
  const batches = limited.batches();
  assert.deepEqual(await take(batches, 1), [[1]]);
  await assert.rejects(batches.next(), { code: 'CANCELLED' });
});

test('after a reconnect a query goes on behind the last batch that came', async (t) => {
  const { server, client, peer } = await connected(t);
  const query = client.query('q', {}, { credits: 4 });
  peer.send(started(await peer.next('stream_query')), batch(0, [0]), batch(1, [1]));
  const batches = query.batches();
  assert.deepEqual(await take(batches, 1), [[0]]);
  const resumed = event(query, 'resumed');
  peer.send({ type: 'reconnect', after_ms: 1, reason: '' }, { type: 'query_cancelled', stream_id: 's1', reason: 'leaving', rows_sent: 2 });
  peer.socket.close(1001);
  const later = await server.accept();
  const asked = await later.next('stream_query');
  assert.deepEqual([asked.resume, asked.query, asked.credits], [{ stream_id: 's1', batch_number: 1 }, undefined, 2]);
  later.send(started(asked, { resumed: true }), batch(2, [2], false), completed);
  await resumed;
  assert.deepEqual(await take(batches, 2), [[1], [2]]);
  assert.equal((await batches.next()).done, true);
});

test('a query that cannot be gone on with says so; one that has given nothing begins anew', async (t) => {
  const { server, client, peer } = await connected(t);
  const query = client.query('q', { a: 1 });
  const fresh = client.query('p', { a: 1 });
  peer.send(started(await peer.next('stream_query')), batch(0, [0]));
  peer.send(started(await peer.next('stream_query'), { stream_id: 's2' }));
  const batches = query.batches();
  await batches.next();
  await fresh.started;
  peer.cut();
  const later = await server.accept();
  for (const [id, code] of [['s1', 'STREAM_ERROR'], ['s2', 'INVALID_STREAM_ID']]) {
    const asked = await later.next('stream_query', (m) => m.resume?.stream_id === id);
    later.send({ type: 'error', code, message: 'start the query again', id: asked.id, stream_id: id });
  }
  await assert.rejects(batches.next(), (error) => error.code === 'RESUME_FAILED' && error.cause.code === 'STREAM_ERROR');
  const anew = await later.next('stream_query', (m) => !m.resume);
  assert.deepEqual([anew.query, anew.params], ['p', { a: 1 }]);
  later.send(started(anew, { stream_id: 's3' }), { ...completed, stream_id: 's3' });
  assert.equal((await fresh.batches().next()).done, true);
});

test('a batch that is missing is not passed over', async (t) => {
  const { client, peer } = await connected(t);
  const batches = client.query('q').batches();
  const first = batches.next();
  peer.send(started(await peer.next('stream_query')), batch(0, [0]), batch(2, [2]));
  await first;
  await assert.rejects(batches.next(), { code: 'STREAM_ERROR' });
  await peer.next('cancel_query');
});

const ready = (revision) => ({ type: 'query_ready', stream_id: 's1', revision });
const change = (revision, op, key, row) => ({ type: 'query_change', stream_id: 's1', revision, op, key, row });
const row = (id, v = 0) => ({ id, v });

test('a watch keeps a copy', async (t) => {
  const { client, peer } = await connected(t);
  const watch = client.watch('w', { a: 1 }, { batchSize: 2 });
  const changes = watch[Symbol.asyncIterator]();
  const asked = await peer.next('watch');
  assert.deepEqual({ ...asked, id: 0 }, { type: 'watch', query: 'w', params: { a: 1 }, batch_size: 2, credits: 8, id: 0 });
  peer.send(started(asked), batch(0, [row(1), row(2)]), batch(1, [row(3)], false));
  await new Promise((done) => setImmediate(done));
  assert.equal(watch.rows.size, 0, 'nothing is shown before it is complete');
  peer.send(ready(10));
  await watch.ready;
  assert.deepEqual([...watch.rows], [[1, row(1)], [2, row(2)], [3, row(3)]]);
  assert.equal(watch.live, true);
  const last = event(watch, 'change', ({ op }) => op === 'insert');
  peer.send(change(12, 'update', 2, row(2, 5)), change(14, 'delete', 1), change(16, 'insert', 4, row(4)));
  await last;
  assert.deepEqual([...watch.rows.values()], [row(2, 5), row(3), row(4)]);
  assert.deepEqual(await take(changes, 4), [
    { op: 'reset' },
    { op: 'update', key: 2, row: row(2, 5), old: row(2) },
    { op: 'delete', key: 1, old: row(1) },
    { op: 'insert', key: 4, row: row(4), old: undefined },
  ]);
  await changes.return();
  assert.equal((await peer.next('unwatch')).stream_id, 's1');
  assert.equal(watch.live, false);
});

test('batches of a watch are paid for, and a reset replaces the rows as a whole', async (t) => {
  const { client, peer } = await connected(t);
  const watch = client.watch('w');
  peer.send(started(await peer.next('watch')), ...Array.from({ length: 8 }, (_, n) => batch(n, [row(n)])), ready(2));
  assert.deepEqual([(await peer.next('credit')).batches, (await peer.next('credit')).batches], [4, 4]);
  await watch.ready;
  const stale = event(watch, 'stale');
  peer.send({ type: 'query_reset', stream_id: 's1' }, batch(0, [row(9)]));
  await stale;
  assert.equal(watch.rows.size, 8);
  const again = event(watch, 'ready');
  peer.send(ready(4));
  await again;
  assert.deepEqual([...watch.rows.keys()], [9]);
});

test('a watch goes on by its revision, or begins anew', async (t) => {
  const { server, client, peer } = await connected(t);
  const watch = client.watch('w', { a: 1 });
  peer.send(started(await peer.next('watch')), batch(0, [row(1), row(2)]), ready(10));
  await watch.ready;
  const changed = event(watch, 'change');
  peer.send(change(12, 'update', 1, row(1, 7)));
  await changed;
  const stale = event(watch, 'stale');
  peer.cut();
  await stale;

  const second = await server.accept();
  let asked = await second.next('watch');
  assert.deepEqual([asked.resume, asked.query, asked.params], [{ stream_id: 's1', revision: 12 }, 'w', { a: 1 }]);
  const live = event(watch, 'ready');
  const deleted = event(watch, 'change');
  second.send(started(asked, { resumed: true }), change(14, 'delete', 2));
  await live;
  await deleted;
  assert.deepEqual([...watch.rows.values()], [row(1, 7)]);
  second.cut();

  const third = await server.accept();
  asked = await third.next('watch');
  third.send(started(asked, { stream_id: 's5' }), { type: 'query_reset', stream_id: 's5' }, { ...batch(0, [row(3)]), stream_id: 's5' });
  await event(client, 'message', (m) => m.marker, third.send({ type: 'marker', marker: 1 }));
  third.cut(); // in the midst of a new result

  const fourth = await server.accept();
  asked = await fourth.next('watch');
  assert.deepEqual(asked.resume, { stream_id: 's5', revision: -1 });
  const anew = event(watch, 'ready');
  fourth.send(started(asked, { stream_id: 's5' }), { ...batch(0, [row(4)]), stream_id: 's5' }, { ...ready(2), stream_id: 's5' });
  await anew;
  assert.deepEqual([...watch.rows.keys()], [4], 'what came of the other result is dropped');
});

test('an error with a time leaves a watch alive, one without ends it', async (t) => {
  const { client, peer } = await connected(t);
  const watch = client.watch('w');
  const errors = [];
  watch.on('error', (error) => errors.push([error.code, error.retryAfterMs]));
  const changes = watch[Symbol.asyncIterator]();
  const failed = { type: 'error', code: 'QUERY_FAILED', message: 'failed', stream_id: 's1' };
  peer.send(started(await peer.next('watch')), ready(2), { ...failed, retry_after_ms: 1000 }, change(4, 'insert', 1, row(1)), failed);
  await take(changes, 2);
  await assert.rejects(changes.next(), { code: 'QUERY_FAILED' });
  assert.deepEqual(errors, [['QUERY_FAILED', 1000], ['QUERY_FAILED', undefined]]);
});

test('an iteration over changes is bounded: it is told to look at all rows', async (t) => {
  const { client, peer } = await connected(t);
  const watch = client.watch('w', {}, { buffer: 3 });
  const changes = watch[Symbol.asyncIterator]();
  peer.send(started(await peer.next('watch')), ready(0));
  const last = event(watch, 'change', ({ key }) => key === 5);
  peer.send(...[1, 2, 3, 4, 5].map((n) => change(2 * n, 'insert', n, row(n))));
  await last;
  assert.deepEqual((await take(changes, 3)).map(({ op, key }) => [op, key]), [['reset', undefined], ['insert', 4], ['insert', 5]].slice(0, 3));
  assert.equal(watch.rows.size, 5);
});

test('keys may have several columns, and must be there', async (t) => {
  const { client, peer } = await connected(t);
  const watch = client.watch('w', {}, { key: ['a', 'b'] });
  peer.send(started(await peer.next('watch')), batch(0, [{ a: 1, b: 'x', v: 0 }, { a: 1, b: 'y', v: 0 }]), ready(2));
  await watch.ready;
  const changed = event(watch, 'change');
  peer.send(change(4, 'update', [1, 'x'], { a: 1, b: 'x', v: 9 }));
  assert.deepEqual((await changed)[0].key, [1, 'x']);
  assert.deepEqual([...watch.rows], [['[1,"x"]', { a: 1, b: 'x', v: 9 }], ['[1,"y"]', { a: 1, b: 'y', v: 0 }]]);
  watch.close();
  await peer.next('unwatch');

  const wrong = client.watch('w', {}, { key: 'nope' });
  peer.send(started(await peer.next('watch')), batch(0, [row(1)]));
  await assert.rejects(wrong.ready, { code: 'INVALID_PARAMS' });
  await peer.next('unwatch');
});

test('keys that are not unique end a watch', async (t) => {
  const { client, peer } = await connected(t);
  const told = event(client, 'error');
  const watch = client.watch('w', {}, { key: 'v' });
  peer.send(started(await peer.next('watch')), batch(0, [row(1), row(2)]), ready(2));
  await peer.next('unwatch');
  assert.match((await told)[0].message, /no unique v/, 'nobody listened to the watch');
  await assert.rejects(watch.ready, { code: 'INVALID_PARAMS' });
  assert.equal(watch.rows.size, 0);
});
