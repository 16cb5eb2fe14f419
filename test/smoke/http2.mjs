// Has a browser open WebSockets over HTTP/2 (RFC 8441), which Caddy offers where its environment says so.
// Usage: node http2.mjs path/to/caddy
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { binary, browser as installed, patience, root, withCaddy } from './server.mjs';

const site = 'https://localhost:8443';
const config = 'test/smoke/http2.Caddyfile';

async function main() {
  const home = mkdtempSync(join(tmpdir(), 'neuroquantum-ws-smoke-'));
  const environment = { XDG_DATA_HOME: home, XDG_CONFIG_HOME: home };
  try {
    const over2 = { ...environment, GODEBUG: 'http2xconnect=1' };
    await withCaddy({ config, port: 8443, environment: over2 }, (log) => inBrowser(log, 'CONNECT', 'HTTP/2.0', reload));
    await withCaddy({ config, port: 8443, environment }, (log) => inBrowser(log, 'GET', 'HTTP/1.1', async () => {}));
  } finally {
    rmSync(home, { recursive: true });
  }
  console.log('http2: ok');
}

// inBrowser opens two WebSockets, sends messages from one to the other, before and after what between does, and checks in Caddy's access
// log how they came.
async function inBrowser(log, method, proto, between) {
  const browser = await chromium.launch({ ...installed, args: [...installed.args, '--ignore-certificate-errors'] });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(patience);
    await page.goto(site);
    await page.evaluate(() => {
      window.open = () => new Promise((done, fail) => {
        const socket = new WebSocket(`wss://${location.host}/ws`, ['bearer.secret', 'neuroquantum.v1']);
        const client = { socket, messages: [], waiting: [] };
        client.next = (type) => new Promise((found) => {
          client.waiting.push({ type, found });
          client.look();
        });
        client.look = () => {
          client.waiting = client.waiting.filter(({ type, found }) => {
            const i = client.messages.findIndex((m) => m.type === type);
            if (i >= 0) found(client.messages.splice(i, 1)[0]);
            return i < 0;
          });
        };
        socket.onmessage = (event) => {
          client.messages.push(JSON.parse(event.data));
          client.look();
        };
        socket.onopen = () => done(client);
        socket.onerror = () => fail(new Error('the WebSocket does not open'));
      });
    });
    await page.evaluate(async () => {
      window.a = await window.open();
      window.b = await window.open();
      window.a.socket.send(JSON.stringify({ type: 'subscribe', channel: 'chat' }));
      await window.a.next('subscription_confirmed');
    });
    // One without a token: the access log has those.
    await page.evaluate(() => new Promise((done) => {
      const socket = new WebSocket(`wss://${location.host}/ws`);
      socket.onopen = () => socket.close();
      socket.onclose = done;
    }));
    const exchange = (data) => page.evaluate(async (data) => {
      window.b.socket.send(JSON.stringify({ type: 'publish', channel: 'chat', data }));
      return (await window.a.next('channel_message')).data;
    }, data);
    const long = 'long '.repeat(10_000);
    assert.equal(await exchange('hello'), 'hello');
    assert.equal(await exchange(long), long);
    await between();
    assert.equal(await exchange('still there'), 'still there');
    const closed = await page.evaluate(() => Promise.all([window.a, window.b].map(({ socket }) => new Promise((done) => {
      socket.onclose = (event) => done([event.code, event.wasClean]);
      socket.close(4321, 'bye');
    }))));
    assert.deepEqual(closed, [[4321, true], [4321, true]]);
  } finally {
    await browser.close();
  }
  const lines = await accessed(log);
  assert.deepEqual(lines.map(({ request, status }) => [request.method, request.proto, status]),
    [[method, proto, method === 'CONNECT' ? 200 : 101]]);
  assert(!log().includes('secret'), 'the token is nowhere in the log');
}

// accessed gives the access log's lines of WebSockets; one is written when it has ended.
async function accessed(log) {
  for (const end = Date.now() + patience; ;) {
    const lines = log().split('\n').filter((line) => line.includes('handled request') && line.includes('"/ws"')).map((line) =>
      JSON.parse(line.slice(line.indexOf('{'))));
    if (lines.length > 0) return lines;
    assert(Date.now() < end, `no WebSocket in the access log:\n${log()}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

// reload gives Caddy its configuration anew and waits until the old server's time for what it still has to do is over.
async function reload() {
  const args = ['reload', '--force', '--address', 'localhost:2022', '--config', config, '--adapter', 'caddyfile'];
  await promisify(execFile)(binary, args, { cwd: root });
  await new Promise((done) => setTimeout(done, 3_000));
}

await main();
