// A real Caddy of this repository, and a network between it and the client that a test can break.
import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import { Client } from '../dist/neuroquantum-ws.js';
import { within } from './fake.mjs';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** A port that nobody listens on. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** A folder that is gone after the test. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'neuroquantum-ws-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** The Caddyfile of a site that holds directives. */
const site = (port, admin, directives) => `{
	admin 127.0.0.1:${admin}
	grace_period 2s
	skip_install_trust
	default_bind 127.0.0.1
}
http://localhost:${port}, http://127.0.0.1:${port} {
${directives}
}
`;

/** caddy serves directives until the test's end; environment is the process's. */
export async function caddy(t, directives, { environment = {} } = {}) {
  const dir = await folder(t);
  const [port, admin] = [await freePort(), await freePort()];
  const config = join(dir, 'Caddyfile');
  await writeFile(config, site(port, admin, directives));
  return serve(t, config, port, { XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir, ...environment });
}

/** example serves one of the examples, as its Caddyfile says but for the ports. */
export async function example(t, name, environment = {}) {
  const dir = await folder(t);
  const [port, admin] = [await freePort(), await freePort()];
  const config = join(root, 'examples', name, 'Caddyfile');
  return serve(t, config, port, { XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir, PORT: `${port}`, ADMIN_PORT: `${admin}`, ...environment });
}

async function serve(t, config, port, environment) {
  let running;
  const start = async () => {
    const args = ['run', '--config', config, '--adapter', 'caddyfile'];
    const env = { ...process.env, ...environment };
    running = spawn(join(root, 'build', 'caddy'), args, { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    await within(new Promise((done, fail) => {
      running.stderr.on('data', (data) => {
        log += data;
        if (log.includes('serving initial configuration')) done();
      });
      running.on('error', fail);
      running.on('exit', (code) => fail(new Error(`Caddy exits with ${code}:\n${log}`)));
    }), 'Caddy serves');
  };
  const stop = async () => {
    if (running.exitCode !== null || running.signalCode !== null) return;
    const ended = once(running, 'exit');
    running.kill('SIGTERM');
    await ended;
  };
  t.after(stop);
  await start();
  return { port, start, stop, http: `http://localhost:${port}`, url: `ws://localhost:${port}/ws` };
}

/** client makes a client that is closed at the test's end. */
export function client(t, url, options = {}) {
  const made = new Client(url, { WebSocket, backoff: { min: 5, max: 50 }, ...options });
  t.after(() => made.close());
  return made;
}

/** A TCP proxy that can break what goes through it. */
export async function network(t, port) {
  const pairs = new Set();
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    const pair = { near, far, silent: false, left: Infinity };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    const pass = (from, to) => {
      from.on('error', end);
      from.on('close', end);
      from.on('data', (data) => {
        if (pair.silent) return;
        if (data.length <= pair.left) {
          pair.left -= data.length;
          to.write(data);
        } else if (pair.left) {
          to.end(data.subarray(0, pair.left), end); // in the midst of what was said
          pair.left = 0;
        }
      });
    };
    pass(near, far);
    pass(far, near);
    pair.end = end;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const pair of pairs) pair.end();
    server.close();
  });
  return {
    url: `ws://127.0.0.1:${server.address().port}/ws`,
    /** How many connections work. */
    get connections() {
      return [...pairs].filter(({ silent }) => !silent).length;
    },
    /** Ends all connections, at once or behind so many bytes more. */
    cut(bytes = 0) {
      for (const pair of [...pairs]) {
        if (bytes) pair.left = Math.min(pair.left, bytes);
        else pair.end();
      }
    },
    /** Lets nothing through any more, without a word to either side; new connections work. */
    swallow() {
      for (const pair of pairs) pair.silent = true;
    },
  };
}

/** Breaks the network so many times, each while there is a connection. */
export async function havoc(net, times, pause = 60) {
  for (let n = 0; n < times; n++) {
    await sleep(Math.random() * pause);
    await within(until(() => net.connections > 0), 'the client comes back');
    net.cut(Math.random() < 0.5 ? 0 : 1 + Math.floor(Math.random() * 3000));
  }
}

/** until waits for a condition. */
export async function until(holds) {
  while (!(await holds())) await sleep(5);
}

/** A token of a user, good for so many seconds. */
export function token(user, seconds, secret) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds })}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

let built;

/** changeOrders changes a database of orders so many times; see examples/live-table. */
export async function changeOrders(file, changes, every = '5ms', rows = 12) {
  const binary = join(root, 'build', 'orders');
  const env = { ...process.env, CGO_ENABLED: '0' };
  built ??= promisify(execFile)('go', ['build', '-o', binary, './examples/live-table/orders'], { cwd: root, env });
  await built;
  await promisify(execFile)(binary, ['-file', file, '-changes', `${changes}`, '-every', every, '-rows', `${rows}`]);
}
