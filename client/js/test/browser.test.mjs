// The client in Chromium, as a module in a page.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { browser } from './browser.mjs';
import { caddy, client, havoc, network, root, sleep, until } from './caddy.mjs';
import { within } from './fake.mjs';

/** A page that has imported the module as Client. */
async function page(t) {
  const module = await readFile(join(root, 'client', 'js', 'dist', 'neuroquantum-ws.js'));
  const server = createServer((request, response) => {
    const script = request.url === '/neuroquantum-ws.js';
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    response.end(script ? module : '<!doctype html><link rel="icon" href="data:,"><script type="module">globalThis.nq = await import("./neuroquantum-ws.js")</script>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const open = await browser(t);
  const made = await open(`http://127.0.0.1:${server.address().port}/`);
  await made.waitForFunction(() => globalThis.nq);
  return made;
}

test('a page receives all, once and in order, on a network that is cut', async (t) => {
  const site = await caddy(t, `
neuroquantum_ws /ws {
	hub main
	origins *
	rate_limit 100000 100000
	channel ** {
		history 100000 1h
		presence
		allow subscribe anyone
		allow publish anyone
		allow presence anyone
	}
	source demo sqlite ${join(root, 'demo', 'demo.db')}
	query readings {
		source demo
		sql \`select id, sensor, value from readings where id <= 5000 order by id\`
		allow anyone
	}
}`);
  const net = await network(t, site.port);
  const tab = await page(t);
  await tab.evaluate(async (url) => {
    const client = new nq.Client(url, { backoff: { min: 5, max: 50 }, heartbeat: { interval: 200, timeout: 200 } });
    Object.assign(globalThis, { client, got: [], gaps: [], sent: [], rows: 0, opened: 0 });
    client.on('welcome', () => opened++);
    client.on('gap', (gap) => gaps.push(gap));
    await client.subscribe('**', ({ channel, data, offset }) => got.push([channel, data, offset])).ready;
    globalThis.publishing = (async () => {
      for (let n = 0; !globalThis.stopped; n++) {
        sent.push((await client.publish('from/page', n)).offset);
        await new Promise((done) => setTimeout(done, 5));
      }
    })();
    globalThis.querying = (async () => {
      for await (const { id } of client.query('readings', {}, { batchSize: 50 })) {
        if (id !== ++rows) throw new Error(`row ${id} in the place of ${rows}`);
        if (rows % 50 === 0) await new Promise((done) => setTimeout(done, 10));
      }
    })();
  }, net.url);
  const sender = client(t, site.url);
  let count = 0;
  let stopped = false;
  const sending = (async () => {
    while (!stopped) {
      await sender.publish(`from/node/${count % 3}`, count++);
      await sleep(2);
    }
  })();
  await havoc(net, 40, 100);
  net.swallow();
  stopped = true;
  await sending;
  await tab.evaluate(() => {
    globalThis.stopped = true;
    return Promise.all([publishing, querying]);
  });
  const look = () => tab.evaluate(() => ({ got, gaps, sent, rows, opened }));
  await within(until(async () => (await look()).got.filter(([channel]) => channel !== 'from/page').length >= count), 'all has come');
  const { got, gaps, sent, rows, opened } = await look();
  assert.deepEqual(gaps, []);
  assert.equal(rows, 5000);
  assert.ok(opened > 20, `${opened} connections`);
  const offsets = got.map(([, , offset]) => offset);
  assert.deepEqual(offsets, [...new Set(offsets)].sort((a, b) => a - b), 'in order, once');
  const of = (page) => got.filter(([channel]) => (channel === 'from/page') === page);
  assert.deepEqual(of(false).map(([, data]) => data), Array.from({ length: count }, (_, n) => n));
  assert.deepEqual(of(true).map(([, data]) => data), sent.map((_, n) => n));
  assert.deepEqual(of(true).map(([, , offset]) => offset), sent);
  await tab.evaluate(() => client.close());
  await within(until(() => net.connections === 0), 'the connection ends');
  assert.deepEqual(tab.errors, []);
});

test('a page that goes offline and comes back does not wait', async (t) => {
  const site = await caddy(t, `
neuroquantum_ws /ws {
	hub main
	origins *
}`);
  const net = await network(t, site.port);
  const tab = await page(t);
  await tab.evaluate(async (url) => {
    globalThis.client = new nq.Client(url, { backoff: { min: 1e9, max: 1e9 } });
    await client.connect();
  }, net.url);
  net.cut();
  await tab.waitForFunction(() => client.state === 'waiting');
  await tab.context().setOffline(true);
  await tab.context().setOffline(false);
  await tab.waitForFunction(() => client.state === 'open');
});
