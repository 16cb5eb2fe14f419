// How the hub stands, second by second.

import { computed, signal } from '@preact/signals';
import { api, type Stats } from './api.js';
import { Poll } from './poll.js';

/** The hub at a moment. Rates are per second, since the moment before. */
export interface Sample {
  at: number; // seconds since 1970
  connections: number;
  messagesIn: number;
  messagesOut: number;
  bytesIn: number;
  bytesOut: number;
  published: number;
  dropped: number;
  conflated: number;
  queued: number;
  queuedBytes: number;
  streams: number;
  rows: number;
}

/** How much is remembered. */
export const remembered = 300;

const every = 1_000;

export const samples = signal<Sample[]>([]);
export const stats = signal<Stats | undefined>(undefined);
export const latest = computed(() => samples.value.at(-1));

let before: { at: number; stats: Stats } | undefined;

/** Takes in how the hub stands at a time, in milliseconds of performance.now(). */
export function take(now: Stats, at = performance.now()): void {
  const last = before;
  before = { at, stats: now };
  stats.value = now;
  // Totals that begin anew are those of another hub.
  if (!last || last.stats.epoch !== now.epoch) return;
  const seconds = (at - last.at) / 1000;
  if (seconds <= 0) return;
  const rate = (total: (s: Stats) => number) => Math.max(0, (total(now) - total(last.stats)) / seconds);
  const sample: Sample = {
    at: Date.now() / 1000,
    connections: now.connections,
    messagesIn: rate((s) => s.messages_received_total),
    messagesOut: rate((s) => s.messages_sent_total),
    bytesIn: rate((s) => s.bytes_received_total),
    bytesOut: rate((s) => s.bytes_sent_total),
    published: rate((s) => s.messages_published_total),
    dropped: rate((s) => s.messages_dropped_total),
    conflated: rate((s) => s.messages_conflated_total),
    queued: now.messages_queued,
    queuedBytes: now.bytes_queued,
    streams: now.streams.active,
    rows: rate((s) => s.streams.rows),
  };
  samples.value = [...samples.value.slice(-remembered + 1), sample];
}

export const poll = new Poll(async (signal) => {
  const now = await api.stats(signal);
  take(now);
  return now;
}, every);
