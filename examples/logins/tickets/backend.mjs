// A backend that issues tickets. POST /ticket answers a user of its own with one.
import { createServer } from 'node:http';

const api = process.env.API ?? 'http://localhost:8080/rt';
const authorization = `Basic ${Buffer.from(`backend:${process.env.BACKEND_PASSWORD}`).toString('base64')}`;
const keys = new Map([['key-of-ann', { user: 'ann', roles: ['editor'] }]]); // yours: the session of a request

async function ticketFor(grant) {
  const response = await fetch(`${api}/tickets`, {
    method: 'POST',
    headers: { Authorization: authorization, 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...grant, ttl_ms: 30_000 }),
    signal: AbortSignal.timeout(10_000),
  });
  if (!response.ok) throw new Error(`no ticket: ${response.status} ${await response.text()}`);
  return response.json(); // { ticket, expires_at }
}

const server = createServer(async (request, response) => {
  const grant = keys.get(request.headers['x-key']);
  if (request.method !== 'POST' || request.url !== '/ticket') return response.writeHead(404).end();
  if (!grant) return response.writeHead(401).end();
  try {
    const { ticket } = await ticketFor(grant);
    response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(JSON.stringify({ ticket }));
  } catch (error) {
    console.error(error);
    response.writeHead(502).end();
  }
});

server.listen(Number(process.env.PORT ?? 8081), '127.0.0.1', () => console.log(`listening on port ${server.address().port}`));
