// Publishes at a steady rate over the HTTP API, which the rate limit of clients does not bind.

import { signal } from '@preact/signals';
import { api } from './api.js';

const tick = 100; // ms
const mostMessages = 1_000; // in a request, as the API has it
const mostBytes = 900_000;

export class Publisher {
  readonly published = signal(0);
  /** Per second, as it really is. */
  readonly actual = signal(0);
  readonly trouble = signal<string | undefined>(undefined);

  private timer = setInterval(() => void this.send(), tick);
  private controller = new AbortController();
  private due = 0;
  private last = performance.now();
  private busy = false;
  private number = 0;
  private window: { at: number; count: number }[] = [];

  constructor(private channel: string, public rate: number, public size: number) {}

  stop(): void {
    clearInterval(this.timer);
    this.controller.abort();
  }

  private async send(): Promise<void> {
    const now = performance.now();
    const most = Math.min(mostMessages, Math.max(1, Math.floor(mostBytes / (this.size + 100))));
    this.due = Math.min(most, this.due + (this.rate * (now - this.last)) / 1000);
    this.last = now;
    const n = Math.floor(this.due);
    if (this.busy || n < 1) return;
    this.due -= n;
    const pad = 'x'.repeat(this.size);
    const batch = Array.from({ length: n }, () => ({ channel: this.channel, data: { n: this.number++, at: Date.now(), pad } }));
    this.busy = true;
    try {
      const { failed, results } = await api.publish(batch, this.controller.signal);
      this.trouble.value = failed > 0 ? results.find((r) => r.error)?.error?.detail : undefined;
      this.count(n - failed);
    } catch (error) {
      if (!this.controller.signal.aborted) this.trouble.value = (error as Error).message;
    } finally {
      this.busy = false;
    }
  }

  private count(n: number): void {
    const now = performance.now();
    this.window = [...this.window.filter((w) => now - w.at < 2_000), { at: now, count: n }];
    const since = this.window[0]!.at;
    if (now - since > 300) this.actual.value = (1000 * this.window.slice(1).reduce((sum, w) => sum + w.count, 0)) / (now - since);
    this.published.value += n;
  }
}
