import { Welcome } from './connection.js';
import { Credentials } from './credentials.js';
import { fromWire, NeuroQuantumError } from './errors.js';
import { Requests } from './requests.js';
import { longest, Timer } from './timer.js';

/** Shows the server a new token before the one that it has expires. */
export class Renewal {
  private _skew = 0; // how far the server's clock is ahead of this one's
  private _timer: Timer;

  constructor(
    private _credentials: Credentials,
    private _requests: Requests,
    private _client: { _failed(error: NeuroQuantumError): void },
  ) {}

  _opened(welcome: Welcome): void {
    this._skew = Date.parse(welcome.serverTime) - Date.now();
    this._plan(this._credentials._expiry());
  }

  _stop(): void {
    clearTimeout(this._timer);
    this._timer = undefined;
  }

  /** Renews a minute before the end, or where less than ten are left when a tenth of that is. */
  _plan(end: number): void {
    this._stop();
    if (isNaN(end) || !this._credentials._renewable) return;
    const left = end - this._skew - Date.now();
    this._schedule(Math.max(1000, left - Math.min(60_000, left / 10)), end);
  }

  private _schedule(delay: number, end: number): void {
    this._timer = setTimeout(() => (delay > longest ? this._plan(end) : this._renew(end)), Math.min(delay, longest));
  }

  private async _renew(end: number): Promise<void> {
    const { _timer: timer } = this;
    let token: string | null | undefined;
    try {
      token = await this._credentials._fetch();
    } catch (cause) {
      this._client._failed(new NeuroQuantumError('UNAUTHENTICATED', 'no new token', { cause }));
    }
    if (timer !== this._timer) return; // another connection, or none
    if (!token) {
      this._schedule(5000, end);
      return;
    }
    const shown = token;
    this._requests._command(
      { type: 'authenticate', token },
      {
        _answer: (m) => {
          this._credentials._use(shown);
          this._plan(Date.parse(m.expires_at));
        },
        _error: (m) => {
          this._client._failed(fromWire(m));
          this._schedule(Math.max(1000, m.retry_after_ms ?? 5000), end);
        },
      },
    );
  }
}
