// The page's own connection, which is held to the hub's rules like any client's. It is made when a view first needs it.

import { signal } from '@preact/signals';
import { Client, NeuroQuantumError, type State, type Welcome } from '../../../client/js/src/index.js';
import { credentials, socketURL, type Identity } from './identity.js';

export const base = new URL('.', location.href).href;

export const identity = signal<Identity>({ kind: 'site' });
export const state = signal<State>('idle');
export const welcome = signal<Welcome | undefined>(undefined);
/** Why there is no connection, as far as that is known. */
export const trouble = signal<string | undefined>(undefined);
/** Counts up with each client: what hangs on the one before has ended. */
export const generation = signal(0);

let current: Client | undefined;

/** The client; one that was closed is replaced. */
export function client(): Client {
  if (!current || current.state === 'closed') {
    const made = new Client(socketURL(base), credentials(identity.peek(), base));
    current = made;
    made.on('state', (now, { error }) => {
      if (made !== current) return;
      state.value = now;
      if (now === 'open') trouble.value = undefined;
      else if (error) trouble.value = describe(error);
    });
    made.on('welcome', (w) => {
      if (made === current) welcome.value = w;
    });
    generation.value++;
  }
  return current;
}

/** Comes anew, as someone else. */
export function connectAs(who: Identity): void {
  const before = current;
  current = undefined;
  before?.close();
  identity.value = who;
  trouble.value = undefined;
  void client().connect().catch(() => {}); // the state tells
}

const closes: Record<number, string> = {
  1006: 'The connection broke, or cannot be made. Where the site requires a token, choose “Connect as…”.',
  4000: 'The server heard nothing from this page in time.',
  4001: 'The site requires a token, or the token has expired.',
  4003: 'This page is not allowed here.',
  4008: 'This client read too slowly.',
  4029: 'Too many connections or too many bad requests.',
  4100: 'An operator disconnected this client.',
};

/** An error in words for people. */
export function describe(error: unknown): string {
  if (!(error instanceof NeuroQuantumError)) return (error as Error).message;
  const close = error.closeCode === undefined ? undefined : closes[error.closeCode];
  if (close) return `${close} (${error.closeCode})`;
  const text = error.message;
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'} (${error.code})`;
}
