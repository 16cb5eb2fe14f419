// As whom the page's WebSockets come.

import type { ClientOptions } from '../../../client/js/src/index.js';

/**
 * - `site`: as the site sees this browser: by its login, by a cookie, or as nobody.
 * - `token`: with a token, as any client may show one.
 * - `ticket`: as a user with roles that the operator makes up, by a single-use ticket of the API.
 */
export type Identity =
  | { kind: 'site' }
  | { kind: 'token'; token: string }
  | { kind: 'ticket'; user: string; roles: string[] };

/** The options that make a client come as identity. base is the address of the page. */
export function credentials(identity: Identity, base: string): ClientOptions {
  switch (identity.kind) {
    case 'site':
      return {};
    case 'token':
      return { token: identity.token };
    case 'ticket':
      return {
        ticket: async () => {
          const response = await fetch(new URL('api/tickets', base), {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ user: identity.user, roles: identity.roles }),
          });
          const answer = await response.json();
          if (!response.ok) throw new Error(answer.detail);
          return answer.ticket;
        },
      };
  }
}

/** The address of the hub's WebSocket below the page. */
export const socketURL = (base: string): string => new URL('ws', base).href;
