/** A message of the server; its fields are those of docs/protocol.md. */
export type Wire = Record<string, any>;

/** The fields of a message but `type` and `id`, under names in camel case. What is inside them stays as it is. */
export function fields<T>(message: Wire): T {
  const out: Wire = {};
  for (const name in message) {
    if (name !== 'type' && name !== 'id') out[name.replace(/_(.)/g, (_, c) => c.toUpperCase())] = message[name];
  }
  return out as T;
}
