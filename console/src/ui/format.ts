const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** A whole number, such as 12,345. */
export const count = (n: number): string => grouped.format(n);

/** A rate per second: 0.4, 37, 12,345. */
export const rate = (n: number): string => (n > 0 && n < 10 ? fine.format(n) : grouped.format(n));

/** A number for narrow places, such as 12.3K. */
export const short = (n: number): string => (Math.abs(n) < 10_000 ? (Number.isInteger(n) ? grouped.format(n) : fine.format(n)) : compact.format(n));

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(n: number): string {
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? grouped.format(n) : fine.format(n)} ${units[unit]}`;
}

export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return '–';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${fine.format(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** How long ago a time was, in whole seconds. */
export const since = (time: string): string => duration(Math.max(0, 1000 * Math.floor((Date.now() - Date.parse(time)) / 1000)) || 1000);

export const ago = (time: string): string => (Date.now() - Date.parse(time) < 1000 ? 'just now' : `${since(time)} ago`);

/** The time of day, to the millisecond where it matters. */
export function clock(time: string | number | Date, millis = false): string {
  const t = new Date(time);
  const text = t.toLocaleTimeString('en-GB');
  return millis ? `${text}.${String(t.getMilliseconds()).padStart(3, '0')}` : text;
}

export const percent = (share: number): string => `${fine.format(100 * share)} %`;

/** The beginning of an id, enough to tell it from others. */
export const brief = (id: string): string => id.slice(0, 8);

export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;

/** A value of a message or a row, on one line. */
export const inline = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value) ?? '');
