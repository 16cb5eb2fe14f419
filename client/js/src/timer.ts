export type Timer = ReturnType<typeof setTimeout> | undefined;

/** The longest time that a timer can take: what is longer ends at once. */
export const longest = 2 ** 31 - 1;

/** Calls f after so many milliseconds; never, where that is longer than a timer can take (24 days). */
export function after(delay: number, f: () => void): Timer {
  return delay > longest ? undefined : setTimeout(f, delay);
}
