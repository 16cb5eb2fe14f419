/**
 * How fast messages may be sent. There is no limit until the server refuses a message. From then on, messages go at the interval that the
 * refusal named, which is the server's own, with few to make up for at once.
 */
export class Pace {
  private _interval = 0; // ms between two messages; 0: no limit
  private _burst = 32; // how many messages may be made up for
  private _due = 0; // performance.now() from which the next message may go

  /** Reports how many milliseconds too early it is for the next message. If it is not, that message is taken to go now. */
  _early(): number {
    const early = this._interval && this._due - performance.now();
    if (early <= 0) this._due += Math.max(this._interval, -early - this._interval * this._burst);
    return early;
  }

  /** The server refused a message that came at the pace at hand. It takes the next one after so many milliseconds. */
  _slow(wait = 1000): void {
    this._interval = Math.max(1, wait, this._interval * 1.25);
    this._burst >>= 1;
    this._due = performance.now() + this._interval;
  }
}
