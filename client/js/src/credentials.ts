import { ClientOptions } from './options.js';

/** A token that ends within so many milliseconds is not shown any more. */
const tooOld = 5_000;

/** What the client shows of itself: a token or a ticket. */
export class Credentials {
  private _token?: string | null;

  constructor(private _options: ClientOptions) {
    if (_options.token !== undefined && _options.ticket) throw new TypeError('give a token or a ticket, not both');
  }

  /** Whether the token has expired, and no other can be had. */
  get _expired(): boolean {
    return !this._renewable && this._expiry() <= Date.now();
  }

  /** Whether another one can be had. */
  get _renewable(): boolean {
    return typeof this._options.token === 'function' || !!this._options.ticket;
  }

  /** What the next connection is to show. */
  async _current(): Promise<{ token?: string | null; ticket?: string }> {
    if (this._options.ticket) return { ticket: text(await this._options.ticket()) };
    if (this._expiry() < Date.now() + tooOld) this._invalidate();
    this._token ??= await this._fetch();
    return { token: this._token };
  }

  /** A new token; undefined where there is none to be had. */
  async _fetch(): Promise<string | null | undefined> {
    const { token } = this._options;
    return typeof token === 'function' ? text((await token()) ?? '') : token;
  }

  _use(token: string): void {
    this._token = token;
    if (typeof this._options.token !== 'function') this._options.token = token;
  }

  /** The token was refused or may have been: the next connection shows a new one. */
  _invalidate(): void {
    if (typeof this._options.token === 'function') this._token = undefined;
  }

  /** When the token ends by what it says itself, in milliseconds since 1970; NaN where it does not say. */
  _expiry(): number {
    try {
      const payload = this._token!.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
      return JSON.parse(atob(payload)).exp * 1000;
    } catch {
      return NaN; // no token, or none that can be read
    }
  }
}

function text(value: string): string {
  if (typeof value != 'string') throw new TypeError('it must be a string');
  return value;
}
