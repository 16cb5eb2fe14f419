// A live query: the rows as the server keeps them true.

import { signal } from '@preact/signals';
import type { Watch } from '../../../client/js/src/index.js';
import { client, describe } from './client.js';
import type { Row } from '../ui/rows.js';

export interface Event { n: number; time: number; op: 'insert' | 'update' | 'delete' | 'reset'; key: string }

const keptEvents = 200;
const flash = 2_000; // ms that a row is told to be new

export class Watching {
  readonly columns = signal<readonly string[]>([]);
  readonly rows = signal<readonly Row[]>([]);
  readonly live = signal(false);
  readonly changes = signal(0);
  readonly events = signal<readonly Event[]>([]);
  readonly trouble = signal<string | undefined>(undefined);
  readonly ended = signal(false);

  private watch: Watch;
  private touched = new Map<unknown, { change: 'insert' | 'update'; at: number }>();
  private frame = 0;
  private number = 0;
  private closing = false;

  constructor(readonly name: string, params: object, key: string[]) {
    this.watch = client().watch(name, params, { key });
    this.watch.on('ready', (started) => {
      this.columns.value = started.columns.map((c) => c.name);
      this.live.value = true;
      this.trouble.value = undefined;
      this.draw();
    });
    this.watch.on('change', (change) => {
      this.changes.value++;
      const of = Array.isArray(change.key) ? JSON.stringify(change.key) : change.key;
      if (change.op !== 'delete') this.touched.set(of, { change: change.op, at: performance.now() });
      this.note(change.op, String(of));
      this.draw();
    });
    this.watch.on('reset', () => {
      this.touched.clear();
      this.note('reset', '');
      this.draw();
    });
    this.watch.on('stale', () => (this.live.value = false));
    this.watch.on('error', (error) => {
      this.trouble.value = describe(error);
      if (error.retryAfterMs === undefined) this.ended.value = true;
    });
    this.watch.ready.catch((error) => {
      if (this.closing) return;
      this.trouble.value ??= describe(error);
      this.ended.value = true;
    });
  }

  close(): void {
    this.closing = true;
    this.ended.value = true;
    this.live.value = false;
    this.watch.close();
  }

  private note(op: Event['op'], key: string): void {
    this.events.value = [...this.events.value, { n: this.number++, time: Date.now(), op, key }].slice(-keptEvents);
  }

  private draw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const now = performance.now();
      const columns = this.columns.value;
      this.rows.value = [...this.watch.rows].map(([key, row]) => {
        const touched = this.touched.get(key);
        const recent = touched && now - touched.at < flash;
        if (touched && !recent) this.touched.delete(key);
        return { key: `${key}${recent ? `@${touched.at}` : ''}`, values: columns.map((name) => row[name]), change: recent ? touched.change : undefined };
      });
    });
  }
}
