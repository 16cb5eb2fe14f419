// A backend with sessions. POST /login begins one; GET /session answers Caddy, whose user it is.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

const passwords = new Map([['ann', 'wonderland']]); // yours: a database of hashes
const sessions = new Map(); // user by session; yours: with an end

function userOf(request) {
  const [, session] = /(?:^|; )session=([^;]+)/.exec(request.headers.cookie ?? '') ?? [];
  return sessions.get(session);
}

const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/login') {
    const [user, password] = Buffer.from((request.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString().split(':');
    if (!passwords.has(user) || passwords.get(user) !== password) return response.writeHead(401).end();
    const session = randomBytes(32).toString('base64url');
    sessions.set(session, user);
    // Add "Secure" where the site has TLS.
    return response.writeHead(204, { 'Set-Cookie': `session=${session}; Path=/; HttpOnly; SameSite=Lax` }).end();
  }
  if (request.method === 'GET' && request.url === '/session') {
    const user = userOf(request);
    return user ? response.writeHead(204, { 'X-User': user }).end() : response.writeHead(401).end();
  }
  response.writeHead(404).end();
});

server.listen(Number(process.env.PORT ?? 8081), '127.0.0.1', () => console.log(`listening on port ${server.address().port}`));
