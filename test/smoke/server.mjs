// Starts and stops a built Caddy.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import assert from 'node:assert/strict';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const binary = resolve(process.argv[2] ?? join(root, 'build', 'caddy'));
export const patience = 120_000;

export const browser = {
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
};

// withCaddy runs use while a Caddy serves the configuration, and then has it stop in order. use is given a function for what Caddy has
// logged.
export async function withCaddy({ config, port, environment }, use) {
  await portFree(port);
  const env = { ...process.env, ...environment };
  const caddy = spawn(binary, ['run', '--config', config, '--adapter', 'caddyfile'],
    { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  caddy.stderr.on('data', (chunk) => (log += chunk));
  const ended = once(caddy, 'exit');
  try {
    await serving(caddy, () => log);
    await use(() => log);
  } finally {
    caddy.kill('SIGTERM');
    await ended;
  }
  const [code] = await ended;
  assert.equal(code, 0, 'Caddy stops in order');
}

// portFree makes sure that what answers later is what is started here: Caddy shares its port with any other Caddy.
async function portFree(port) {
  const socket = connect({ host: 'localhost', port });
  const taken = await new Promise((done) => {
    socket.on('connect', () => done(true));
    socket.on('error', () => done(false));
  });
  socket.destroy();
  assert(!taken, `something listens on port ${port} already: stop it first`);
}

// serving waits until Caddy says that it runs; what it logged is shown if it does not.
async function serving(caddy, log) {
  await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`Caddy does not start:\n${log()}`)), patience);
    caddy.stderr.on('data', () => {
      if (log().includes('serving initial configuration')) {
        clearTimeout(timer);
        done();
      }
    });
    caddy.on('exit', (code) => fail(new Error(`Caddy exits with ${code}:\n${log()}`)));
  });
}
