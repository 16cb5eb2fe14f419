// Wrong use is told at the call, and in words.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Client } from '../dist/neuroquantum-ws.js';
import { fake } from './fake.mjs';

const url = 'ws://127.0.0.1:1/';

/** An error that names what is wrong, and is not the platform's about a value that it cannot use. */
const names = (word) => (error) => {
  assert.ok(error instanceof TypeError || error instanceof RangeError, `${error}`);
  assert.ok(error.message.includes(word), error.message);
  assert.ok(!/not a function|undefined \(|of undefined|of null/.test(error.message), error.message);
  return true;
};

test('options of a client', () => {
  for (const [word, options] of [
    ['min', { backoff: { min: 0 } }], ['min', { backoff: { min: NaN } }], ['max', { backoff: { max: 0 } }], ['min', { backoff: { min: '1' } }],
    ['timeout', { timeout: 0 }], ['timeout', { timeout: -1 }], ['timeout', { timeout: NaN }], ['timeout', { heartbeat: { timeout: 0 } }],
    ['interval', { heartbeat: { interval: 0 } }], ['connectTimeout', { connectTimeout: 0 }], ['maxPending', { maxPending: 0 }],
    ['WebSocket', { WebSocket: 5 }], ['ticket', { ticket: 'x' }], ['token', { token: 5 }],
    ['token or a ticket', { token: 'x', ticket: () => 'y' }],
  ]) {
    assert.throws(() => new Client(url, { WebSocket, ...options }), names(word), word);
  }
  for (const options of [{}, { timeout: Infinity }, { heartbeat: { interval: Infinity } }, { token: null }, { token: () => null }]) {
    new Client(url, { WebSocket, ...options });
  }
});

test('a URL', () => {
  for (const wrong of ['nonsense', '', 'ftp://example.com/ws', undefined, 5, '/ws']) {
    assert.throws(() => new Client(wrong, { WebSocket }), /url/i, `${wrong}`);
  }
  for (const right of ['ws://a/', 'wss://a/ws', 'http://a/', 'https://a/', new URL('ws://a/b')]) new Client(right, { WebSocket });
});

test('arguments of methods', async (t) => {
  const server = await fake(t);
  const client = server.client();
  const nothing = () => {};
  for (const [word, f] of [
    ['channel', () => client.subscribe(5)], ['channel', () => client.subscribe()], ['callback', () => client.subscribe('a', {}, 5)],
    ['options', () => client.subscribe('a', 5)], ['since', () => client.subscribe('a', { since: 5 })],
    ['buffer', () => client.subscribe('a', { buffer: 0 })], ['buffer', () => client.subscribe('a', { buffer: NaN })],
    ['since or history', () => client.subscribe('a', { since: { epoch: 'e', offset: 1 }, history: 1 })],
    ['listener', () => client.on('state', 5)], ['listener', () => client.subscribe('a', nothing).on('gap')],
    ['query', () => client.query(5)], ['query', () => client.watch()], ['params', () => client.query('q', 5)],
    ['credits', () => client.query('q', {}, { credits: 0 })], ['timeout', () => client.query('q', {}, { timeout: 0 })],
    ['signal', () => client.query('q', {}, { signal: 5 })], ['buffer', () => client.watch('w', {}, { buffer: 0 })],
    ['key', () => client.watch('w', {}, { key: [] })], ['key', () => client.watch('w', {}, { key: '' })],
  ]) {
    assert.throws(f, names(word), `${word}: ${f}`);
  }
  for (const [word, f] of [
    ['channel', () => client.publish(5, 1)], ['channel', () => client.history()], ['channel', () => client.presence({})],
    ['timeout', () => client.publish('a', 1, { timeout: 0 })], ['signal', () => client.ping({ signal: 5 })],
    ['since', () => client.history('a', { since: 5 })],
    ['token', () => client.authenticate(5)], ['stream_id', () => client.queryStatus(5)],
  ]) {
    await assert.rejects(f, names(word), `${word}: ${f}`);
  }
  // What no message of JSON in UTF-8 can hold would be refused to nobody in particular.
  assert.throws(() => client.subscribe('\ud800'), names('Unicode'));
  assert.throws(() => client.query('q', { x: ['\udfff'] }), names('Unicode'));
  await assert.rejects(client.publish('a', 'x\\\ud800'), names('Unicode'));
  client.publish('fine', '\\ud800 \ud83d\ude00').catch(() => {});
  // None of it has left anything behind.
  const peer = await server.accept();
  const ping = client.ping();
  peer.send({ type: 'pong', timestamp: '', id: (await peer.next('ping')).id });
  await ping;
  assert.deepEqual(peer.unread.map(({ type, channels }) => [type, channels]), [['subscribe', ['a']], ['publish', undefined]]);
});
