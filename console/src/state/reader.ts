// A reader in a worker, and what the server says of its connection.

import { batch, signal } from '@preact/signals';
import type { State } from '../../../client/js/src/index.js';
import { stopped, type Begin, type News, type Tally } from '../reader/messages.js';
import { Bounded } from '../ui/bounded.js';
import { api, type Connection } from './api.js';
import { base, identity } from './client.js';
import { Poll } from './poll.js';

/** A reader at a moment. Rates are per second, since the moment before. */
export interface Moment {
  at: number;
  waiting: number;
  read: number;
  dropped: number;
}

export interface Note { n: number; time: number; kind: 'gap' | 'bad' | 'plain'; text: string }

const remembered = 120;
const every = 500;

export class Reader {
  readonly state = signal<State>('idle');
  readonly connectionID = signal<string | undefined>(undefined);
  readonly tally = signal<Tally>({ read: 0, bytes: 0, gaps: 0, missed: 0, age: 0 });
  readonly server = signal<Connection | undefined>(undefined);
  readonly moments = signal<Moment[]>([]);
  readonly notes = new Bounded<Note>(300);
  readonly trouble = signal<string | undefined>(undefined);

  private worker = new Worker(READER, { type: 'module', name: 'reader' });
  private pace: Int32Array;
  private shared = globalThis.crossOriginIsolated && typeof SharedArrayBuffer === 'function';
  private poll: Poll<void>;
  private number = 0;
  private before?: { at: number; read: number; dropped: number; id: string };

  constructor(channel: string, delay: number, private gapText: (gap: (News & { type: 'gap' })['gap']) => string) {
    this.pace = this.shared ? new Int32Array(new SharedArrayBuffer(4)) : new Int32Array(1);
    this.pace[0] = delay;
    this.worker.onmessage = ({ data }: MessageEvent<News>) => this.hear(data);
    this.worker.postMessage({ base, identity: identity.peek(), channel, pace: this.pace } satisfies Begin);
    this.poll = new Poll((abort) => this.look(abort), every);
    this.poll.start();
  }

  /** Whether it can stop reading altogether. */
  get canStop(): boolean {
    return this.shared;
  }

  /** How long it sleeps over each message, in milliseconds. */
  sleep(delay: number): void {
    if (!this.shared) {
      this.worker.postMessage({ delay: delay === stopped ? 1000 : delay });
      return;
    }
    Atomics.store(this.pace, 0, delay);
    Atomics.notify(this.pace, 0);
  }

  close(): void {
    this.poll.stop();
    this.worker.terminate(); // and its connection with it
  }

  /** Messages that the server has given to the network and the reader has not read: in buffers of kernels and of the browser. */
  get underway(): number {
    const s = this.server.value;
    if (!s || s.id !== this.connectionID.value) return 0;
    return Math.max(0, s.messages_offered - s.messages_dropped - s.messages_conflated - s.messages_queued - this.tally.value.read);
  }

  note(kind: Note['kind'], text: string): void {
    this.notes.add({ n: this.number++, time: Date.now(), kind, text });
  }

  private hear(news: News): void {
    switch (news.type) {
      case 'state':
        this.state.value = news.state;
        if (news.trouble) this.note('bad', `The connection ended${news.code === undefined ? '' : ` with ${news.code}`}: ${news.trouble}.`);
        break;
      case 'connected':
        batch(() => {
          this.connectionID.value = news.id;
          this.server.value = undefined;
          this.trouble.value = undefined;
        });
        this.note('plain', 'Connected.');
        break;
      case 'gap':
        this.note('gap', this.gapText(news.gap));
        break;
      case 'refused':
        this.trouble.value = news.trouble;
        this.note('bad', news.trouble);
        break;
      case 'tally':
        this.tally.value = news.tally;
    }
  }

  private async look(abort: AbortSignal): Promise<void> {
    const id = this.connectionID.value;
    if (id === undefined) return;
    const server = await api.standing(id, abort);
    if (abort.aborted) return;
    this.server.value = server;
    if (!server) return; // the server has ended it, which the reader may not have noticed yet
    const at = performance.now();
    const now = { at, read: this.tally.value.read, dropped: server.messages_dropped + server.messages_conflated, id };
    const last = this.before?.id === id ? this.before : undefined;
    this.before = now;
    const seconds = last ? (at - last.at) / 1000 : 1;
    const moment: Moment = {
      at: Date.now() / 1000,
      waiting: server.messages_queued,
      read: last ? Math.max(0, now.read - last.read) / seconds : 0,
      dropped: last ? Math.max(0, now.dropped - last.dropped) / seconds : 0,
    };
    this.moments.value = [...this.moments.value.slice(-remembered + 1), moment];
  }
}
