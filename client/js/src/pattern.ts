/**
 * Tells which channel names a name or pattern matches, by the server's rules: `*` is one segment, `**` zero or more; a pattern
 * matches only names with its separator, and what has one segment fits either.
 */
export function matcher(pattern: string): (name: string) => boolean {
  if (!pattern.includes('*')) return (name) => name === pattern;
  const separator = separatorOf(pattern);
  const parts = split(pattern, separator);
  return (name) => {
    const used = separatorOf(name);
    if (used && separator && used !== separator) return false;
    // The places in the pattern that the segments so far can have reached: linear in them, whatever the pattern.
    let places = rest(parts, new Set([0]));
    for (const segment of split(name, used)) {
      const next = new Set<number>();
      for (const place of places) {
        const part = parts[place];
        if (part === '**') next.add(place);
        else if (part === '*' || part === segment) next.add(place + 1);
      }
      places = rest(parts, next);
    }
    return places.has(parts.length);
  };
}

/** Adds the places that are reached by letting `**` stand for nothing. */
function rest(parts: string[], places: Set<number>): Set<number> {
  for (const place of places) if (parts[place] === '**') places.add(place + 1);
  return places;
}

function separatorOf(name: string): string {
  return name.includes('/') ? '/' : name.includes('.') ? '.' : '';
}

function split(name: string, separator: string): string[] {
  return separator ? name.split(separator) : [name];
}
