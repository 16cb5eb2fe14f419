// The parts of the page that need no browser; the page itself is tried in test/smoke/console.mjs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from 'esbuild';

const { outputFiles } = await build({
  stdin: {
    contents: `export { take, samples, remembered } from './src/state/stats.ts';
      export { Bounded } from './src/ui/bounded.ts';
      export { values, defaults } from './src/ui/params.tsx';
      export * as format from './src/ui/format.ts';`,
    resolveDir: new URL('..', import.meta.url).pathname,
  },
  bundle: true, write: false, format: 'esm', target: 'es2022', jsx: 'automatic', jsxImportSource: 'preact',
});
const { take, samples, remembered, Bounded, values, defaults, format } =
  await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`);

const hub = (epoch, total, more = {}) => ({
  epoch, connections: 3, messages_received_total: 0, messages_sent_total: total, bytes_received_total: 0, bytes_sent_total: 0,
  messages_published_total: 0, messages_dropped_total: 0, messages_conflated_total: 0, messages_queued: 0, bytes_queued: 0,
  streams: { active: 1, rows: 0 }, ...more,
});

test('rates are those of the time between two looks', () => {
  take(hub('a', 100), 0);
  assert.equal(samples.value.length, 0, 'one look gives no rate');
  take(hub('a', 200, { messages_dropped_total: 5 }), 2000);
  assert.equal(samples.value.at(-1).messagesOut, 50);
  assert.equal(samples.value.at(-1).dropped, 2.5);
  assert.equal(samples.value.at(-1).connections, 3);
  take(hub('b', 7), 3000);
  assert.equal(samples.value.length, 1, 'another hub counts from its own beginning');
  take(hub('b', 8), 4000);
  assert.equal(samples.value.at(-1).messagesOut, 1);
  for (let i = 0; i < 2 * remembered; i++) take(hub('b', 8), 5000 + i);
  assert.equal(samples.value.length, remembered, 'only so much is remembered');
});

test('a list keeps the newest, and is redrawn once a frame', () => {
  const frames = [];
  globalThis.requestAnimationFrame = (f) => frames.push(f);
  const list = new Bounded(10);
  for (let i = 0; i < 1000; i++) list.add(i);
  assert.equal(frames.length, 1);
  assert.deepEqual(list.items.value, []);
  frames.pop()();
  assert.deepEqual(list.items.value, [990, 991, 992, 993, 994, 995, 996, 997, 998, 999]);
  assert.equal(list.total.value, 1000);
  list.pause(true);
  list.add('more');
  frames.pop()();
  assert.equal(list.items.value.at(-1), 999, 'nothing moves while it is paused');
  assert.equal(list.total.value, 1001);
  list.pause(false);
  assert.equal(list.items.value.at(-1), 'more');
});

test('parameters are what the server takes', () => {
  const query = { params: [
    { name: 'sensor', type: 'text', required: true },
    { name: 'after', type: 'integer', required: false, default: '5' },
    { name: 'wet', type: 'boolean', required: true },
    { name: 'kind', type: 'text', required: true, enum: ['a', 'b'] },
  ] };
  const typed = defaults(query);
  assert.deepEqual(typed, { sensor: '', after: '5', wet: 'false', kind: 'a' });
  assert.deepEqual(values(query, { ...typed, sensor: '7', after: '' }), { sensor: '7', wet: false, kind: 'a' });
  assert.deepEqual(values(query, { ...typed, after: '-3', wet: 'true' }), { sensor: '', after: -3, wet: true, kind: 'a' });
});

test('figures can be read', () => {
  for (const [got, want] of [
    [format.bytes(0), '0 B'], [format.bytes(1023), '1,023 B'], [format.bytes(1536), '1.5 KiB'], [format.bytes(2 ** 40 * 5000), '5,000 TiB'],
    [format.duration(null), '–'], [format.duration(999), '999 ms'], [format.duration(61_000), '1 min 1 s'], [format.duration(3 * 86_400_000), '3 days'],
    [format.rate(0.44), '0.4'], [format.rate(1234.5), '1,235'], [format.plural(1, 'gap'), '1 gap'], [format.plural(2000, 'gap'), '2,000 gaps'],
    [format.inline({ a: [1] }), '{"a":[1]}'], [format.inline('x'), 'x'], [format.inline(undefined), ''],
  ]) assert.equal(got, want);
});
