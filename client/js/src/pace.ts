import { after, Timer } from './timer.js';

/**
 * How fast messages may be sent. There is no limit until the server refuses a message. From then on, messages go at the interval that the
 * refusal named, which is the server's own, with few to make up for at once.
 */
export class Pace {
  private _interval = 0; // ms between two messages; 0: no limit
  private _burst = 32; // how many messages may be made up for
  private _due = 0; // performance.now() from which the next message may go
  private _timer: Timer;

  constructor(private _go: () => void) {}

  /** Reports whether a message may go now. If not, `go` is called when it may. */
  _allows(): boolean {
    const early = this._interval && this._due - performance.now();
    if (early > 0) {
      this._timer ??= after(early, () => {
        this._timer = undefined;
        this._go();
      });
      return false;
    }
    this._due += Math.max(this._interval, -early - this._interval * this._burst);
    return true;
  }

  /** The server refused a message that came at the pace at hand. It takes the next one after so many milliseconds. */
  _slow(wait = 1000): void {
    this._interval = Math.max(1, wait, this._interval * 1.25);
    this._burst >>= 1;
    this._due = performance.now() + this._interval;
  }

  /** Ends the waiting. */
  _stop(): void {
    clearTimeout(this._timer);
  }
}
