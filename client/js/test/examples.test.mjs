// The examples, as a reader would run them, in Chromium. With SCREENSHOTS=FOLDER it leaves pictures there.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { browser } from './browser.mjs';
import { changeOrders, client, example, folder, until } from './caddy.mjs';
import { within } from './fake.mjs';

const picture = async (page, name) => {
  const { SCREENSHOTS } = process.env;
  if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
};

test('the chat', async (t) => {
  const site = await example(t, 'chat');
  const open = await browser(t);
  const ada = await open(site.http);
  await ada.fill('#name', 'Ada');
  await ada.click('#login button');
  await ada.getByText('connected as Ada').waitFor();
  const grace = await open(`${site.http}/?name=Grace`, { colorScheme: 'dark', viewport: { width: 390, height: 700 } });
  await ada.locator('#members', { hasText: 'Grace' }).waitFor();
  await grace.locator('#members', { hasText: 'Ada' }).waitFor();

  const say = async (page, text) => {
    await page.fill('#text', text);
    await page.press('#text', 'Enter');
  };
  await say(ada, 'Is anybody here?');
  await grace.getByText('Is anybody here?').waitFor();
  await say(grace, '<b>I am</b>');
  await ada.getByText('<b>I am</b>').waitFor();

  // The server is away for a while: what is said meanwhile is sent once it is back.
  await picture(ada, 'chat');
  await site.stop();
  await ada.getByText('connection lost').waitFor();
  await say(ada, 'Still there?');
  await site.start();
  await grace.getByText('Still there?').waitFor();
  await ada.getByText('Messages may be missing here.').waitFor();
  assert.equal(await ada.getByText('Still there?').count(), 1);
  await ada.locator('#members', { hasText: 'Grace' }).waitFor();
  await picture(grace, 'chat-dark');

  await grace.close();
  await ada.waitForFunction(() => !document.getElementById('members').textContent.includes('Grace'));
  assert.deepEqual(ada.errors, []);
});

test('the live table', async (t) => {
  const file = join(await folder(t), 'orders.db');
  await changeOrders(file, 60, '1ms');
  const site = await example(t, 'live-table', { ORDERS_DB: file });
  const open = await browser(t);
  const page = await open(site.http, { viewport: { width: 900, height: 760 } });
  await page.locator('#state.live').waitFor();
  await changeOrders(file, 100, '20ms');
  await picture(page, 'live-table');
  const shown = () => page.$$eval('#rows tr', (lines) => lines.map((line) => [...line.cells].map((cell) => cell.textContent)));
  const nq = client(t, site.url);
  const truth = [];
  for await (const { id, customer, item, total, status } of nq.query('orders')) truth.unshift([`${id}`, customer, item, total.toFixed(2), status]);
  await within(until(async () => JSON.stringify(await shown()) === JSON.stringify(truth)), 'the page shows the truth');
  assert.match(await page.textContent('#sum'), new RegExp(`^${truth.length} orders`));

  await site.stop();
  await page.getByText('connection lost').waitFor();
  assert.equal((await shown()).length, truth.length, 'the rows stay');
  await changeOrders(file, 100, '1ms');
  await site.start();
  await page.locator('#state.live').waitFor();
  const other = await client(t, site.url).query('orders').batches().next();
  await within(until(async () => (await shown()).length === other.value.length), 'the page is true again');
  assert.deepEqual(page.errors, []);
});
