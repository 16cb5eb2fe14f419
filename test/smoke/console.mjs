// Tries the console of the demo in a browser, as an operator and a newcomer would.
// Usage: node console.mjs path/to/caddy [folder for screenshots]
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { chromium } from 'playwright-core';
import { browser as installed, patience, root, withCaddy } from './server.mjs';

const site = 'http://localhost:8080';
const shots = process.argv[3] ?? join(root, 'build');

async function main() {
  mkdirSync(shots, { recursive: true });
  await withCaddy({ config: 'xcaddy.Caddyfile', port: 8080 }, async () => {
    const browser = await chromium.launch(installed);
    try {
      await withPage(browser, {}, async (page) => {
        await overview(page);
        await connections(page);
        await channels(page);
        await queries(page);
        await liveQuery(page);
        await streams(page);
        await identities(page);
        await keyboard(page);
        await colours(page);
      });
      await withPage(browser, {}, flowControl);
      await withPage(browser, { viewport: { width: 390, height: 844 }, colorScheme: 'dark' }, phone);
    } finally {
      await browser.close();
    }
  });
  console.log('console: ok');
}

// withPage opens the console; whatever it reports as wrong, or asks of another site, fails.
async function withPage(browser, options, use) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(error));
  page.on('console', (line) => ['error', 'warning'].includes(line.type()) && wrong.push(line.text()));
  page.on('request', (request) => request.url().startsWith(site) || wrong.push(`asked ${request.url()}`));
  page.on('websocket', (socket) => socket.url().startsWith(site.replace('http', 'ws')) || wrong.push(`asked ${socket.url()}`));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`forbidden by the policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(`${site}/console`); // which leads to the page
  assert.equal(page.url().split('#')[0], `${site}/console/`);
  await page.waitForSelector('[data-testid=server].good');
  await use(page);
  assert.deepEqual(wrong, [], 'the page reports nothing wrong');
  await context.close();
}

const at = (page, id) => page.locator(`[data-testid="${id}"]`);
const open = (page, view) => page.click(`.nav a[href="#/${view}"]`);
const text = async (locator) => (await locator.textContent()).trim();

// until waits for what a look at the page gives.
async function until(look, what) {
  for (const end = Date.now() + patience; ; await new Promise((done) => setTimeout(done, 100))) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < end, `in vain waited until ${what}`);
  }
}

// client connects as any client does.
function client() {
  return new Promise((done, fail) => {
    const socket = new WebSocket('ws://localhost:8080/ws', 'neuroquantum.v1');
    const known = { socket, closed: new Promise((closed) => socket.on('close', closed)) };
    socket.on('error', fail);
    socket.on('message', (data) => {
      const message = JSON.parse(data);
      if (message.type === 'welcome') done({ ...known, id: message.connection_id });
    });
  });
}

async function overview(page) {
  const { socket, closed } = await client();
  socket.send(JSON.stringify({ type: 'subscribe', channel: 'sensors/**' }));
  await until(async () => Number(await text(at(page, 'tile-connections'))) >= 1, 'the connection is counted');
  await until(async () => parseFloat(await text(at(page, 'tile-out'))) > 0, 'messages are counted');
  assert.equal(await page.locator('.plot canvas').count(), 6, 'there are charts');
  await page.screenshot({ path: join(shots, 'console-overview.png') });
  socket.close();
  await closed;
}

async function connections(page) {
  const victim = await client();
  victim.socket.send(JSON.stringify({ type: 'subscribe', channel: 'chat/lobby' }));
  await open(page, 'connections');
  const row = page.locator(`[data-testid=connection][data-id="${victim.id}"]`);
  await row.locator('button.link').click();
  await page.waitForSelector('[data-testid=connection-detail] >> text=chat/lobby');
  await page.click('[data-testid=connection-detail] >> text=Close');
  await row.locator('[data-testid=disconnect]').click();
  await row.locator('[data-testid=disconnect-confirm]').click();
  assert.equal(await victim.closed, 4100);
  await row.waitFor({ state: 'detached' });
}

async function channels(page) {
  await open(page, 'channels');
  await page.waitForSelector('[data-testid=channels] >> text=sensors/seattle/wind');
  await at(page, 'tail-pattern').fill('chat/**');
  await at(page, 'tail-start').click();
  await page.waitForSelector('text=Following chat/**.');
  await at(page, 'publish-channel').fill('chat/console');
  await at(page, 'publish-data').fill('"good <b>morning</b>"');
  await at(page, 'publish').click();
  await page.waitForSelector('[data-testid=message] >> text=good <b>morning</b>');
  assert.match(await text(at(page, 'publish-result')), /^Published to chat\/console at offset \d/);
  await at(page, 'publish-data').fill('{');
  await at(page, 'publish').click();
  await page.waitForSelector('[data-testid=publish-result].failed >> text=not JSON');
  await at(page, 'publish-data').fill('1');
  await at(page, 'publish-channel').fill('sensors/mine');
  await at(page, 'publish').click();
  await page.waitForSelector('[data-testid=publish-result].failed >> text=FORBIDDEN'); // the hub's rules hold
}

async function queries(page) {
  await open(page, 'query');
  await at(page, 'query-name').selectOption('readings');
  await at(page, 'param-sensor').fill('seattle/wind');
  await at(page, 'query-run').click();
  await page.waitForSelector('[data-testid=query-ending][data-ending=completed]');
  assert.equal(await text(at(page, 'query-rows')), '1,461 of 1,461');

  await at(page, 'query-name').selectOption('all_readings');
  await at(page, 'query-run').click();
  await until(async () => (await text(at(page, 'query-rows'))) === '11,688 of 11,688', 'all rows are there');
  assert(await page.locator('[data-testid=rows] tbody tr').count() < 60, 'only rows in sight are drawn');
  await page.locator('.rows').evaluate((box) => box.scrollTo(0, box.scrollHeight));
  await page.waitForSelector('[data-testid=rows] tbody tr >> text=11688');

  await at(page, 'query-pace').selectOption({ label: 'A batch every 100 ms' });
  await at(page, 'query-run').click();
  await until(async () => / s|ms/.test(await text(at(page, 'query-eta'))), 'there is a time left');
  await at(page, 'query-pause').click();
  await page.waitForSelector('[data-testid=query-state][data-state=paused]');
  const paused = await text(at(page, 'query-rows'));
  await page.waitForTimeout(600);
  assert.equal(await text(at(page, 'query-rows')), paused, 'nothing comes while it is paused');
  await at(page, 'query-pause').click();
  await until(async () => (await text(at(page, 'query-rows'))) !== paused, 'it goes on');
  await at(page, 'query-cancel').click();
  await page.waitForSelector('[data-testid=query-ending][data-ending=cancelled]');
}

async function liveQuery(page) {
  await open(page, 'live');
  await at(page, 'watch-start').click();
  await page.waitForSelector('[data-testid=watch-state][data-state=live]');
  await page.waitForSelector('[data-testid=rows] >> text=seattle/temp_max');
  await until(async () => Number(await text(at(page, 'watch-changes'))) > 0, 'a change comes');
}

async function streams(page) {
  const { socket, closed, id } = await client();
  let cancelled = false;
  socket.on('message', (data) => (cancelled ||= JSON.parse(data).type === 'query_cancelled'));
  socket.send(JSON.stringify({ type: 'watch', query: 'day' }));
  await open(page, 'streams');
  const row = page.locator('[data-testid=stream]', { hasText: id.slice(0, 8) });
  assert.match(await text(row), /^daylive query/);
  await row.locator('[data-testid=stream-cancel]').click();
  await until(async () => cancelled, 'its client is told');
  socket.close();
  await closed;
}

async function identities(page) {
  await open(page, 'channels');
  await at(page, 'tail-pattern').fill('chat/**');
  await at(page, 'tail-start').click();
  await page.waitForSelector('text=Following chat/**.');
  await at(page, 'identity').click();
  await page.getByLabel('As a user of my choice').check();
  await page.getByLabel('User', { exact: true }).fill('ann');
  await page.getByLabel('Roles').fill('operator');
  await at(page, 'identity-connect').click();
  await until(async () => (await text(at(page, 'identity'))).endsWith('ann'), 'the page is ann');
  await at(page, 'publish-channel').fill('chat/console');
  await at(page, 'publish-data').fill('"said by ann"');
  await at(page, 'publish').click();
  await page.waitForSelector('[data-testid=message] >> text=said by ann'); // the tail goes on as ann
  await open(page, 'connections');
  await page.waitForSelector('[data-testid=connection] >> text=ann');
}

// keyboard goes through the page without a pointer.
async function keyboard(page) {
  await page.goto(`${site}/console/#/overview`);
  await page.reload();
  await page.waitForSelector('[data-testid=server].good');
  const focused = () => page.evaluate(() => {
    const element = document.activeElement;
    return { text: element.textContent.trim(), test: element.dataset.testid, main: element.id === 'main', outline: getComputedStyle(element).outlineStyle };
  });
  await page.keyboard.press('Tab');
  assert.match((await focused()).text, /^Skip/);
  await page.keyboard.press('Enter');
  assert((await focused()).main, 'the content has the focus');
  await page.reload();
  await page.waitForSelector('[data-testid=server].good');
  for (const name of ['Skip', 'Overview', 'Connections', 'Channels']) {
    await page.keyboard.press('Tab');
    const now = await focused();
    assert(now.text.startsWith(name), `${name} is next, not ${now.text}`);
    assert.notEqual(now.outline, 'none', 'one sees where the focus is');
  }
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-testid=channels]');
  assert((await focused()).main, 'the view that was opened has the focus');
  await page.waitForSelector('[data-testid=tail-start]');
  for (let tabs = 0; (await focused()).test !== 'tail-pattern'; tabs++) {
    assert(tabs < 60, 'the tail cannot be reached');
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.type('sensors/**');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-testid=message]');
}

async function colours(page) {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const becomes = (colour, what) => until(async () => (await background()) === colour, what);
  const light = await background();
  await page.emulateMedia({ colorScheme: 'dark' });
  await until(async () => (await background()) !== light, 'it follows the system');
  const dark = await background();
  await at(page, 'theme').click(); // light
  await becomes(light, 'it is light');
  await page.reload();
  await page.waitForSelector('[data-testid=server].good');
  await becomes(light, 'the choice is kept');
  await at(page, 'theme').click(); // dark
  await page.emulateMedia({ colorScheme: 'light' });
  await becomes(dark, 'it is dark');
}

// flowControl has a slow reader lose messages while the fast one beside it loses none.
async function flowControl(page) {
  await open(page, 'flow');
  await at(page, 'flow-start').click();
  await page.waitForSelector('[data-testid=flow-policy] >> text=drop_oldest');
  await until(async () => Number((await text(at(page, 'slow-queued'))).replace(/\D/g, '')) > 10, 'the queue fills');
  await until(async () => Number((await text(at(page, 'slow-dropped'))).replace(/\D/g, '')) > 0, 'messages are dropped');
  await page.screenshot({ path: join(shots, 'console-flow.png') });
  await at(page, 'flow-speed').fill('10'); // as fast as it can: what is in the buffers is read, and the gap behind it
  await page.waitForSelector('[data-testid=flow-note] >> text=drop oldest');
  assert.equal(await text(at(page, 'fast-dropped')), '0', 'nobody else loses anything');
  await at(page, 'flow-stop').click();
  await at(page, 'credit-start').click();
  await page.waitForSelector('[data-testid=credit] >> text=paused');
}

// phone goes through all views: none is wider than the screen.
async function phone(page) {
  for (const view of ['overview', 'connections', 'channels', 'streams', 'query', 'live', 'flow']) {
    await open(page, view);
    if (view === 'query') {
      await at(page, 'query-name').selectOption('all_readings');
      await at(page, 'query-run').click();
      await page.waitForSelector('[data-testid=query-ending]');
    }
    if (view === 'flow') {
      await at(page, 'flow-start').click();
      await page.waitForSelector('[data-testid=flow-picture] >> text=Keeps up');
    }
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wider, 0, `${view} is wider than the screen`);
  }
}

await main();
