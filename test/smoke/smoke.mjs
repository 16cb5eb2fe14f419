// Starts a built Caddy with the demo site and tries it as a newcomer would: over a WebSocket and in a browser.
// Usage: node smoke.mjs path/to/caddy
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { chromium } from 'playwright-core';
import { browser as installed, patience, root, withCaddy } from './server.mjs';

const site = 'http://localhost:8080';

async function main() {
  await withCaddy({ config: 'xcaddy.Caddyfile', port: 8080 }, async () => {
    await overWebSocket();
    await inBrowser();
  });
  console.log('smoke: ok');
}

class Client {
  #waiting = [];
  #messages = [];

  static async connect() {
    const client = new Client();
    client.socket = new WebSocket('ws://localhost:8080/ws', 'neuroquantum.v1');
    client.socket.on('message', (data) => client.#take(JSON.parse(data)));
    await once(client.socket, 'open');
    return client;
  }

  #take(message) {
    this.#messages.push(message);
    this.#waiting = this.#waiting.filter((tryNow) => !tryNow());
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  // next takes the first message that test holds for, now or when it comes.
  next(test, what) {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`no ${what} came`)), patience);
      const tryNow = () => {
        const i = this.#messages.findIndex(test);
        if (i < 0) return false;
        clearTimeout(timer);
        done(this.#messages.splice(i, 1)[0]);
        return true;
      };
      if (!tryNow()) this.#waiting.push(tryNow);
    });
  }

  type(type) {
    return this.next((m) => m.type === type, type);
  }
}

async function overWebSocket() {
  const client = await Client.connect();
  const welcome = await client.type('welcome');
  assert.match(welcome.connection_id, /^[0-9a-f-]{36}$/);
  client.send({ type: 'subscribe', channel: 'sensors/*/temp_max', id: 1 });
  assert.equal((await client.type('subscription_confirmed')).id, 1);
  const reading = await client.type('channel_message');
  assert.match(reading.channel, /^sensors\/(seattle|new-york)\/temp_max$/);
  assert.equal(typeof reading.data.value, 'number');

  client.send({ type: 'stream_query', query: 'all_readings', batch_size: 1000, id: 2 });
  const started = await client.type('query_started');
  let rows = 0;
  for (let number = 0; ; number++) {
    const batch = await client.next((m) => m.type === 'query_batch' && m.batch_number === number, `batch ${number}`);
    rows += batch.rows.length;
    if (!batch.has_more) break;
  }
  const completed = await client.type('query_completed');
  assert.equal(rows, 11688);
  assert.equal(completed.total_rows, started.estimated_rows);

  client.send({ type: 'stream_query', query: 'all_readings', batch_size: 1, credits: 1, id: 3 });
  const second = await client.type('query_started');
  client.send({ type: 'cancel_query', stream_id: second.stream_id });
  assert.equal((await client.type('query_cancelled')).stream_id, second.stream_id);
  client.socket.close();
  await once(client.socket, 'close');
}

async function inBrowser() {
  const browser = await chromium.launch(installed);
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1400 } });
    page.setDefaultTimeout(patience);
    const wrong = [];
    page.on('pageerror', (error) => wrong.push(error));
    page.on('console', (line) => line.type() === 'error' && wrong.push(line.text()));
    await page.goto(site);
    const at = (id) => page.locator(`#${id}`);
    await page.waitForSelector('#status[data-state=open]');
    await page.waitForSelector('[data-testid=card][data-channel="sensors/seattle/temp_max"]');

    await at('subscribe-input').fill('chat/**');
    await at('subscribe-button').click();
    await page.waitForSelector('[data-testid=subscription][data-channel="chat/**"]');
    await at('publish-data').fill('good <b>morning</b>');
    await at('publish-button').click();
    await page.waitForSelector('[data-testid=message][data-channel="chat/lobby"] >> text=good <b>morning</b>');

    await at('query-name').selectOption('all_readings');
    await at('query-pace').selectOption('0');
    await at('query-run').click();
    await page.waitForSelector('#query-ending[data-ending=completed]');
    assert.match((await at('query-rows').textContent()).replace(/\D/g, ''), /11688/);

    await at('query-pace').selectOption('1');
    await at('query-run').click();
    await page.waitForFunction(() => Number(document.querySelector('#query-progress').getAttribute('aria-valuenow')) < 100);
    await at('query-cancel').click();
    await page.waitForSelector('#query-ending[data-ending=cancelled]');

    mkdirSync(join(root, 'build'), { recursive: true });
    await page.screenshot({ path: join(root, 'build', 'demo.png') });
    assert.deepEqual(wrong, [], 'the page reports no errors');
  } finally {
    await browser.close();
  }
}

await main();
