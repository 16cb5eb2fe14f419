import { after, Timer } from './timer.js';

/** After so many milliseconds without a message the server's allowance is whole again. */
const idle = 10_000;

/**
 * How fast messages may be sent. There is no limit until the server refuses one. From then on it is the rate at which the server takes
 * them: the interval that the refusal names.
 */
export class Pace {
  private _interval = 0; // ms between two messages; 0: no limit
  private _burst = 32; // what may be made up for at once
  private _due = 0; // performance.now() from which the next message may go
  private _sent = 0; // messages
  private _slowedAt = 0; // the value of _sent
  private _timer: Timer;

  constructor(private _go: () => void) {}

  /** Reports whether a message may go now. If not, `go` is called when it may. */
  _allows(): boolean {
    const now = performance.now();
    if (now > this._due + idle) this._interval = 0;
    if (this._interval && now < this._due) {
      this._timer ??= after(this._due - now, () => {
        this._timer = undefined;
        this._go();
      });
      return false;
    }
    this._due = Math.max(this._due, now - this._interval * this._burst) + this._interval;
    return true;
  }

  /** Counts a message, and returns its number. */
  _next(): number {
    return ++this._sent;
  }

  /** The server refused the message of this number, and takes the next one after so many milliseconds. */
  _refused(number: number, wait = 1000): void {
    if (number <= this._slowedAt) return; // it was sent before the refusal of another was known
    this._slowedAt = this._sent;
    this._interval = Math.max(1, wait, this._interval * 1.25);
    this._burst >>= 1;
    this._due = performance.now() + this._interval;
  }

  /** Begins as for a new connection. */
  _reset(): void {
    clearTimeout(this._timer);
    this._timer = undefined;
    this._interval = this._sent = this._slowedAt = 0;
    this._burst = 32;
  }
}
