// A client that reads as slowly as it is told. It sleeps over each message, with its thread and all: the browser cannot hand over what
// comes next, its buffers fill, and at last the server's socket takes nothing more. That is what a slow client does.

import { Client } from '../../../client/js/src/index.js';
import { credentials, socketURL } from '../state/identity.js';
import { stopped, type Begin, type News, type Pace, type Tally } from './messages.js';

const tellEvery = 200; // ms

const post = (news: News) => postMessage(news);

let pace: Int32Array = new Int32Array(1);
let tally: Tally = nothing();
let told = 0;

function nothing(): Tally {
  return { read: 0, bytes: 0, gaps: 0, missed: 0, age: 0 };
}

function tell(now = performance.now()): void {
  told = now;
  post({ type: 'tally', tally });
}

/** Sleeps as long as the pace says; a change of the pace wakes it. */
function sleep(): void {
  const shared = typeof SharedArrayBuffer === 'function' && pace.buffer instanceof SharedArrayBuffer;
  const until = performance.now();
  for (;;) {
    const delay = pace[0]!;
    if (delay === 0) return;
    const left = delay === stopped ? Infinity : until + delay - performance.now();
    if (left <= 0) return;
    if (shared) Atomics.wait(pace, 0, delay, left);
    else if (delay === stopped) return; // it could not be woken
    else while (performance.now() < until + delay); // no other way to stop reading
  }
}

function begin({ base, identity, channel, pace: given }: Begin): void {
  pace = given;
  const client = new Client(socketURL(base), { ...credentials(identity, base), ndjson: false });
  client.on('state', (state, { error }) => post({ type: 'state', state, trouble: error?.message, code: error?.closeCode }));
  client.on('welcome', (welcome) => {
    tally = nothing();
    post({ type: 'connected', id: welcome.connectionId });
  });
  const subscription = client.subscribe<{ at?: number; pad?: string }>(channel, ({ data }) => {
    tally.read++;
    tally.bytes += data?.pad?.length ?? 0;
    if (typeof data?.at === 'number') tally.age = Math.max(0, Date.now() - data.at);
    const now = performance.now();
    if (now - told >= tellEvery) tell(now);
    sleep();
  });
  subscription.on('gap', (gap) => {
    tally.gaps++;
    tally.missed += gap.dropped ?? 0;
    post({ type: 'gap', gap });
  });
  subscription.on('error', (error) => post({ type: 'refused', trouble: `${error.message} (${error.code})` }));
  setInterval(tell, tellEvery);
}

onmessage = ({ data }: MessageEvent<Begin | Pace>) => {
  if ('delay' in data) pace[0] = data.delay;
  else begin(data);
};
