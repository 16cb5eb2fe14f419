// A backend that signs tokens. POST /token answers with one, and sets it as a cookie.
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';

const secret = process.env.JWT_SECRET; // the one of Caddy's: at least 32 random bytes
const users = new Map([['ann', { password: 'wonderland', team: 'red', roles: ['editor'] }]]); // yours: a database

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function sign(user, { team, roles }) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: 'https://api.example.com', aud: 'realtime', sub: user, team, roles, iat: now, exp: now + 300 };
  const signed = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

const server = createServer((request, response) => {
  if (request.method !== 'POST' || request.url !== '/token') return response.writeHead(404).end();
  const [name, password] = Buffer.from((request.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString().split(':');
  const user = users.get(name);
  if (!user || user.password !== password) return response.writeHead(401).end();
  const token = sign(name, user);
  response.writeHead(200, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    'Set-Cookie': `token=${token}; Path=/ws; Max-Age=300; HttpOnly; SameSite=Strict`, // add "Secure" where the site has TLS
  });
  response.end(JSON.stringify({ token }));
});

server.listen(Number(process.env.PORT ?? 8081), '127.0.0.1', () => console.log(`listening on port ${server.address().port}`));
