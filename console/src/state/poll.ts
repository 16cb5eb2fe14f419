import { signal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { APIError } from './api.js';

/** Asks again and again, one request at a time, and not while nobody sees the page. */
export class Poll<T> {
  readonly data = signal<T | undefined>(undefined);
  readonly error = signal<string | undefined>(undefined);
  /** What was asked for is not there, or no more; it is not asked for again. */
  gone = false;
  private controller?: AbortController;
  private timer?: ReturnType<typeof setTimeout>;

  constructor(private fetch: (signal: AbortSignal) => Promise<T>, private every: number) {}

  start(): void {
    document.addEventListener('visibilitychange', this.seen);
    void this.ask();
  }

  stop(): void {
    document.removeEventListener('visibilitychange', this.seen);
    this.pause();
  }

  /** Asks at once; what was asked before no longer counts. */
  refresh = (): void => {
    this.pause();
    void this.ask();
  };

  private seen = (): void => {
    if (document.hidden) this.pause();
    else if (!this.gone) this.refresh();
  };

  private pause(): void {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.controller = undefined;
  }

  private async ask(): Promise<void> {
    const controller = new AbortController();
    this.controller = controller;
    try {
      const data = await this.fetch(controller.signal);
      if (controller.signal.aborted) return;
      this.data.value = data;
      this.error.value = undefined;
    } catch (error) {
      if (controller.signal.aborted) return;
      this.gone = error instanceof APIError && error.status === 404;
      this.error.value = (error as Error).message;
      if (this.gone) return;
    }
    if (!document.hidden) this.timer = setTimeout(() => void this.ask(), this.every);
  }
}

/** A Poll that lives as long as the component; when what it depends on changes a new one begins. */
export function usePoll<T>(fetch: (signal: AbortSignal) => Promise<T>, every: number, depends: unknown[] = []): Poll<T> {
  const poll = useMemo(() => new Poll(fetch, every), depends);
  useEffect(() => {
    poll.start();
    return () => poll.stop();
  }, [poll]);
  return poll;
}
