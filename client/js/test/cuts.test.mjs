// The client on a network that is cut and cut again, against a real Caddy: nothing is lost unknowingly, nothing comes twice, all is in
// order.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { caddy, changeOrders, client, folder, havoc, network, root, sleep, until } from './caddy.mjs';
import { event, within } from './fake.mjs';

const channels = (history) => `
neuroquantum_ws /ws {
	hub main
	rate_limit 100000 100000
	channel ** {
		history ${history} 1h
		allow subscribe anyone
		allow publish anyone
		allow history anyone
	}
}`;

const names = ['n/a', 'n/b', 'n/c/d', 'm.e'];

/** publisher publishes numbered messages to all names until it is stopped, and then gives how many each has. */
function publisher(nq, pause = 1) {
  let stopped = false;
  const counts = Object.fromEntries(names.map((name) => [name, 0]));
  const running = (async () => {
    while (!stopped) {
      const name = names[Math.floor(Math.random() * names.length)];
      await nq.publish(name, counts[name]++);
      await sleep(Math.random() * pause);
    }
    return counts;
  })();
  return { counts, stop: () => ((stopped = true), running) };
}

/** record notes what a subscription is handed, and the gaps that it is told of, in one list. */
function record(nq, channel, options) {
  const log = [];
  const subscription = nq.subscribe(channel, options ?? {}, (message) => log.push(message));
  subscription.on('gap', (gap) => log.push({ gap }));
  subscription.on('error', (error) => log.push({ error }));
  return { log, channel, subscription, last: (name) => log.findLast((entry) => entry.channel === name)?.data };
}

/** checkWhole holds a log against what was published: all numbers of each channel from the first on, once, in order, and no gap. */
function checkWhole({ log, channel }, counts, matching, first = {}) {
  const next = Object.fromEntries(matching.map((name) => [name, first[name] ?? 0]));
  let offset = 0;
  for (const message of log) {
    assert.equal(message.gap ?? message.error, undefined, `${channel} is told of a loss`);
    assert.ok(message.offset > offset, `${channel}: offset ${message.offset} comes behind ${offset}`);
    offset = message.offset;
    assert.equal(message.data, next[message.channel]++, `${channel}: a message of ${message.channel}`);
  }
  for (const name of matching) assert.equal(next[name], counts[name], `${channel}: all of ${name}`);
}

test('100 cuts lose nothing where history reaches', async (t) => {
  const site = await caddy(t, channels(100_000));
  const net = await network(t, site.port);
  const sender = client(t, site.url);
  const receiver = client(t, net.url);
  let opened = 0;
  receiver.on('welcome', () => opened++);
  const subscribed = [
    [record(receiver, 'n/*'), ['n/a', 'n/b']],
    [record(receiver, 'n/a'), ['n/a']],
    [record(receiver, '**'), names],
    [record(receiver, 'm.e'), ['m.e']],
    [record(receiver, 'n/c/d'), ['n/c/d']],
  ];
  await Promise.all(subscribed.map(([{ subscription }]) => subscription.ready));
  const publishing = publisher(sender);
  // Others join and leave meanwhile, and have all that was published from the beginning.
  const late = [];
  for (let round = 0; round < 10; round++) {
    await havoc(net, 10);
    const since = { epoch: sender.welcome.epoch, offset: 0 };
    late.push([record(receiver, 'n/**', { since }), ['n/a', 'n/b', 'n/c/d']], [record(receiver, 'n/a', { history: 1e4 }), ['n/a']]);
    if (round === 5) late.splice(0, 4).forEach(([{ subscription }]) => subscription.unsubscribe());
  }
  const counts = await publishing.stop();
  const all = [...subscribed, ...late];
  const done = ([{ last }, matching]) => matching.every((name) => last(name) === counts[name] - 1);
  await within(until(() => all.every(done)), 'all has come');
  for (const [log, matching] of all) checkWhole(log, counts, matching);
  assert.ok(opened > 50, `${opened} connections`);
});

test('where history is too short for the cuts, each loss is told at its place', async (t) => {
  const site = await caddy(t, channels(5));
  const net = await network(t, site.port);
  const receiver = client(t, net.url, { backoff: { min: 50, max: 100 } });
  const logs = [record(receiver, 'n/*'), record(receiver, '**')];
  await Promise.all(logs.map(({ subscription }) => subscription.ready));
  const publishing = publisher(client(t, site.url));
  await havoc(net, 30, 100);
  const counts = await publishing.stop();
  await within(until(() => logs[1].last('m.e') === counts['m.e'] - 1), 'the last has come');
  let lost = 0;
  for (const { log, channel } of logs) {
    const seen = {}; // by channel: the last number, and how many gaps were told until then
    let gaps = 0;
    for (const { error, gap, channel: name, data } of log) {
      assert.equal(error, undefined);
      if (gap) {
        gaps++;
        continue;
      }
      const before = seen[name] ?? { data: -1, gaps: 0 };
      assert.ok(data > before.data, `${channel}: ${name} ${data} behind ${before.data}`);
      // A gap is told when the connection is back: behind what came before, ahead of all that comes then.
      if (data > before.data + 1) {
        assert.ok(gaps > before.gaps, `${channel}: ${name} jumps from ${before.data} to ${data}`);
        lost += data - before.data - 1;
      }
      seen[name] = { data, gaps };
    }
  }
  assert.ok(lost > 0, 'the history was too short');
});

test('what is published over a network that is cut is published once, in order', async (t) => {
  const site = await caddy(t, channels(100_000));
  const net = await network(t, site.port);
  const receiver = client(t, site.url);
  const heard = record(receiver, 'n/a');
  await heard.subscription.ready;
  const sender = client(t, net.url);
  const offsets = [];
  let sent = 0;
  let stopped = false;
  const sending = (async () => {
    while (!stopped) {
      // In twos and threes, so that several are under way.
      const some = Array.from({ length: 1 + (sent % 3) }, () => sender.publish('n/a', sent++));
      for (const { offset } of await Promise.all(some)) offsets.push(offset);
      await sleep(1);
    }
  })();
  await havoc(net, 100);
  stopped = true;
  await within(sending, 'all is acknowledged');
  await within(until(() => heard.last('n/a') === sent - 1), 'all has come');
  checkWhole(heard, { 'n/a': sent }, ['n/a']);
  assert.deepEqual(offsets, heard.log.map(({ offset }) => offset), 'each was told its place');
});

test('a connection that has gone silent is replaced', async (t) => {
  const site = await caddy(t, channels(100_000));
  const net = await network(t, site.port);
  const receiver = client(t, net.url, { heartbeat: { interval: 100, timeout: 100 }, connectTimeout: 1000 });
  const heard = record(receiver, '**');
  await heard.subscription.ready;
  const publishing = publisher(client(t, site.url), 5);
  for (let n = 0; n < 5; n++) {
    await sleep(50);
    const waiting = event(receiver, 'state', (state) => state === 'waiting');
    const open = event(receiver, 'state', (state) => state === 'open');
    net.swallow();
    assert.equal((await waiting)[1].error.message, 'the server does not answer');
    await open;
  }
  const counts = await publishing.stop();
  await within(until(() => names.every((name) => heard.last(name) === counts[name] - 1)), 'all has come');
  checkWhole(heard, counts, names);
});

const readings = `
neuroquantum_ws /ws {
	hub main
	source demo sqlite ${join(root, 'demo', 'demo.db')}
	query readings {
		source demo
		sql \`select id, sensor, value from readings order by id\`
		allow anyone
	}
}`;

test('a query gives all rows once, in order, however often it is cut', async (t) => {
  const site = await caddy(t, readings);
  const net = await network(t, site.port);
  const nq = client(t, net.url, { heartbeat: { interval: 300, timeout: 300 }, connectTimeout: 1000 });
  const query = nq.query('readings', {}, { batchSize: 100 });
  let resumed = 0;
  query.on('resumed', () => resumed++);
  // So many and no more: on a slow machine a connection may last too short for anything to come of it.
  const cuts = (async () => {
    for (let n = 0; n < 20; n++) {
      await havoc(net, 1, 150);
      if (n % 10 === 5) net.swallow();
    }
  })();
  let rows = 0;
  for await (const { id } of query) {
    assert.equal(id, ++rows);
    if (rows % 100 === 0) await sleep(20);
  }
  await cuts;
  assert.equal(rows, 11_688);
  assert.equal(query.summary.totalRows, rows);
  assert.ok(resumed > 0, `resumed ${resumed} times`);
});

test('a watch is the truth, however often it is cut', async (t) => {
  const file = join(await folder(t), 'orders.db');
  await changeOrders(file, 300, '1ms', 100);
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
  const net = await network(t, site.port);
  const watch = client(t, net.url).watch('orders', {}, { batchSize: 10 });
  await watch.ready;
  const counts = { reset: 0, ready: 0, change: 0 };
  for (const name of Object.keys(counts)) watch.on(name, () => counts[name]++);
  // A copy of somebody who iterates: what the changes say, and all rows where it is told to look at them.
  let copy = new Map(watch.rows);
  const iteration = (async () => {
    for await (const change of watch) {
      if (change.op === 'reset') copy = new Map(watch.rows);
      else if (change.op === 'delete') copy.delete(change.key);
      else copy.set(change.key, change.row);
    }
  })();
  let changing = true;
  const changed = changeOrders(file, 600, '5ms', 100).then(() => (changing = false));
  while (changing) await havoc(net, 1, 60);
  await changed;
  const truth = [];
  for await (const row of client(t, site.url).query('orders')) truth.push(row);
  const sorted = (map) => JSON.stringify([...map.values()].sort((a, b) => a.id - b.id));
  await within(until(() => watch.live && sorted(watch.rows) === JSON.stringify(truth)), 'the copy is the truth');
  assert.equal(sorted(copy), JSON.stringify(truth), 'the copy of who iterates');
  assert.ok(counts.ready > 10 && counts.change > 10, JSON.stringify(counts));
  assert.ok(counts.ready > counts.reset, 'some were gone on with by their revision');
  watch.close();
  await iteration;
});
