// What the page and a reader's worker say to each other.

import type { Gap, State } from '../../../client/js/src/index.js';
import type { Identity } from '../state/identity.js';

/** The page's first message to the worker. */
export interface Begin {
  base: string; // the address of the page
  identity: Identity;
  channel: string;
  /** One cell: how long to sleep over each message, in milliseconds; `stopped` to read no more. Shared where the page may share. */
  pace: Int32Array;
}

/** Later ones, where `pace` is not shared. */
export interface Pace { delay: number }

/** The delay of a reader that has stopped reading. */
export const stopped = -1;

/** What a reader has read on its connection. */
export interface Tally {
  read: number;
  bytes: number; // of their data
  gaps: number;
  missed: number; // messages that gaps told of
  age: number; // of the newest message that it has read, in milliseconds
}

export type News =
  | { type: 'state'; state: State; trouble?: string; code?: number }
  | { type: 'connected'; id: string }
  | { type: 'gap'; gap: Gap }
  | { type: 'refused'; trouble: string }
  | { type: 'tally'; tally: Tally };
