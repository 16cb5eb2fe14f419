import { signal, type ReadonlySignal } from '@preact/signals';

/** The newest entries of what comes, shown at most once a frame however fast it comes. */
export class Bounded<T> {
  private waiting: T[] = [];
  private came = 0;
  private frame = 0;
  private paused = false;
  private readonly list = signal<readonly T[]>([]);
  private readonly count = signal(0);

  constructor(private size: number) {}

  get items(): ReadonlySignal<readonly T[]> {
    return this.list;
  }

  /** How many have come, those included that are not kept any more. */
  get total(): ReadonlySignal<number> {
    return this.count;
  }

  add(item: T): void {
    this.waiting.push(item);
    if (this.waiting.length > 2 * this.size) this.waiting = this.waiting.slice(-this.size);
    this.came++;
    this.frame ||= requestAnimationFrame(() => this.show());
  }

  /** While paused what comes waits, as far as there is room. */
  pause(paused: boolean): void {
    this.paused = paused;
    this.show();
  }

  clear(): void {
    this.waiting = [];
    this.came = 0;
    this.list.value = [];
    this.count.value = 0;
  }

  private show(): void {
    this.frame = 0;
    this.count.value = this.came;
    if (this.waiting.length === 0 || this.paused) return;
    this.list.value = [...this.list.value, ...this.waiting].slice(-this.size);
    this.waiting = [];
  }
}
