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

/**
 * The messages of the server: their fields, and a letter of `kinds` for the values that each may have. A `?` marks a field that may be
 * absent. Those that are for people only are not listed.
 */
const shapes: Record<string, string> = {
  welcome: 'connection_id:s epoch:s offset:n heartbeat_interval_ms:p max_message_bytes:p server_time:t',
  reconnect: 'after_ms:n',
  pong: 'timestamp:s',
  authenticated: 'user:s expires_at:t?',
  error: 'code:s message:s channel:s? stream_id:s? retry_after_ms:n?',
  subscription_confirmed: 'channel:s epoch:s? offset:n? recovered:b? replayed:n?',
  unsubscription_confirmed: 'channel:s',
  published: 'epoch:s? offset:n?',
  channel_message: 'channel:s timestamp:s offset:n?',
  gap: 'channel:s reason:s after:n? before:n? dropped:u recoverable:b',
  history: 'messages:l epoch:s has_more:b',
  presence: 'members:l count:n',
  presence_join: 'channel:s member:o',
  presence_leave: 'channel:s member:o',
  query_started: 'stream_id:s columns:l estimated_rows:u resumed:b?',
  query_batch: 'stream_id:s batch_number:n rows:l',
  query_progress: 'stream_id:s',
  query_completed: 'stream_id:s total_rows:n execution_time_ms:n batches:n',
  query_cancelled: 'stream_id:s',
  query_status: 'status:s progress:u rows_sent:n batches_sent:n elapsed_ms:n',
  query_ready: 'stream_id:s revision:n',
  query_change: 'stream_id:s revision:n op:c row:o?',
  query_reset: 'stream_id:s',
};

const kinds: Record<string, (value: any) => boolean> = {
  s: (v) => typeof v === 'string',
  n: (v) => Number.isFinite(v) && v >= 0,
  p: (v) => kinds.n(v) && v >= 1,
  u: (v) => v === null || kinds.n(v), // unknown, perhaps
  b: (v) => typeof v === 'boolean',
  t: (v) => kinds.s(v) && !isNaN(Date.parse(v)),
  o: (v) => !!v && typeof v === 'object',
  l: (v) => Array.isArray(v) && v.every(kinds.o), // of rows, members, messages or columns
  c: (v) => v === 'insert' || v === 'update' || v === 'delete',
};

const fieldsOf = new Map(
  Object.entries(shapes).map(([type, list]) => [type, `id:n? ${list}`.split(' ').map((field) => field.split(':'))]),
);

/** Reports whether messages of this type are of the protocol, and not such as the site's own code sends. */
export function known(type: string): boolean {
  return fieldsOf.has(type);
}

/** Reads a message of the server. It throws where that is none of the protocol: nothing behind it need look again. */
export function parse(line: string): Wire {
  const message = JSON.parse(line);
  if (!kinds.o(message) || !kinds.s(message.type)) throw new TypeError('no message');
  for (const [name, kind] of fieldsOf.get(message.type) ?? []) {
    const value = message[name];
    if (!(value === undefined ? kind[1] : kinds[kind[0]](value))) throw new TypeError(`${message.type}: bad ${name}`);
  }
  return message;
}
