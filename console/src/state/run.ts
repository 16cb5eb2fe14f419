// One run of a query: its rows come as fast as they are taken, and stop coming while it is paused.

import { batch, signal } from '@preact/signals';
import { NeuroQuantumError, type Progress, type Query, type Started } from '../../../client/js/src/index.js';
import { client, describe } from './client.js';
import type { Row } from '../ui/rows.js';

/** How many rows are kept; the oldest go. */
export const keptRows = 20_000;

export type Ending = { kind: 'completed' | 'cancelled' | 'failed'; text: string };

export class Run {
  readonly started = signal<Started | undefined>(undefined);
  readonly progress = signal<Progress | undefined>(undefined);
  readonly rows = signal<readonly Row[]>([]);
  /** Of all that came, also of those that are not kept. */
  readonly received = signal(0);
  readonly batches = signal(0);
  readonly paused = signal(false);
  readonly ending = signal<Ending | undefined>(undefined);

  /** A pause behind each batch, in milliseconds. */
  delay: number;

  private query: Query<unknown[]>;
  private resume?: () => void;
  private waiting: Row[] = [];
  private frame = 0;
  private count = 0;

  constructor(readonly name: string, params: object, options: { batchSize: number; credits: number; pause: number }) {
    this.query = client().query<unknown[]>(name, params, { batchSize: options.batchSize, credits: options.credits, format: 'arrays' });
    this.query.on('progress', (progress) => (this.progress.value = progress));
    this.query.started.then((started) => (this.started.value = started), () => {});
    this.delay = options.pause;
    void this.take();
  }

  pause(paused: boolean): void {
    this.paused.value = paused;
    if (!paused) this.resume?.();
  }

  cancel(): void {
    if (this.ending.value) return;
    this.query.cancel();
    this.resume?.();
    this.end({ kind: 'cancelled', text: 'Cancelled.' });
  }

  /** Takes batch by batch. */
  private async take(): Promise<void> {
    try {
      for await (const rows of this.query.batches()) {
        for (const values of rows) this.waiting.push({ key: this.count++, values });
        if (this.waiting.length > keptRows) this.waiting = this.waiting.slice(-keptRows);
        this.batches.value++;
        this.frame ||= requestAnimationFrame(() => this.show());
        if (this.delay > 0) await new Promise((done) => setTimeout(done, this.delay));
        if (this.paused.value && !this.ending.value) await new Promise<void>((done) => (this.resume = done));
      }
      const { summary } = this.query;
      if (summary) this.end({ kind: 'completed', text: `All ${summary.totalRows.toLocaleString('en')} rows in ${summary.executionTimeMs.toLocaleString('en')} ms.` });
    } catch (error) {
      const cancelled = error instanceof NeuroQuantumError && error.code === 'CANCELLED';
      this.end({ kind: cancelled ? 'cancelled' : 'failed', text: describe(error) });
    }
  }

  private end(ending: Ending): void {
    this.show();
    this.ending.value ??= ending;
  }

  private show(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (this.waiting.length === 0) return;
    batch(() => {
      this.rows.value = [...this.rows.value, ...this.waiting].slice(-keptRows);
      this.received.value = this.count;
    });
    this.waiting = [];
  }
}
