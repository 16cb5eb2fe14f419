import { Position, RequestOptions } from './options.js';

/** Throws where an argument cannot be meant, at the call and in words: later it would be an error far from its cause. */
export function check(good: unknown, words: string, Kind: new (message: string) => Error = TypeError): asserts good {
  if (!good) throw new Kind(words);
}

export function text(value: unknown, name: string): void {
  check(typeof value === 'string' && value, name + ' must be a string that is not empty');
}

export function callable(value: unknown, name: string): void {
  check(value === undefined || typeof value === 'function', name + ' must be a function');
}

export function object(value: unknown, name: string): void {
  check(value && typeof value === 'object' && !Array.isArray(value), name + ' must be an object');
}

/** Refuses what is not a whole number of at least `least`; Infinity is one. */
export function whole(value: unknown, name: string, least = 1): void {
  const good = value === undefined || (value as number) >= least && (value === Infinity || Number.isInteger(value));
  check(good, `${name} must be a whole number of at least ${least}`, RangeError);
}

/** Refuses what is not a duration in milliseconds. One of less than a millisecond would be a busy loop somewhere. */
export function duration(value: unknown, name: string): void {
  check(value === undefined || (typeof value === 'number' && value >= 1), name + ' must be at least 1 (ms)', RangeError);
}

export function position(since: Position | null | undefined): void {
  if (since == null) return;
  object(since, 'since');
  text(since.epoch, 'since.epoch');
  check(Number.isInteger(since.offset) && since.offset >= 0, 'since.offset must be a whole number');
}

export function limits(options: RequestOptions): void {
  const { timeout, signal } = options;
  duration(timeout, 'timeout');
  check(!signal || typeof signal.addEventListener === 'function', 'signal must be an AbortSignal');
}
