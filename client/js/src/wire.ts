import { verify } from './verify.js';

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

/** The text of a message, or of a part of one. It throws where no message can hold it. */
export function json(value: unknown): string {
  const text = JSON.stringify(value);
  // A surrogate that stands alone is escaped; \\\\ escapes a backslash.
  if (text.replaceAll('\\\\', '').includes('\\ud')) throw new TypeError('not Unicode');
  return text;
}

/** The messages of the server, and the fields that each has at least. */
const required: Record<string, string> = {
  __proto__: null as any, // so that no other name is in it
  welcome: 'epoch offset heartbeat_interval_ms max_message_bytes server_time',
  reconnect: 'after_ms',
  pong: 'timestamp',
  authenticated: '',
  error: 'code',
  subscription_confirmed: 'channel',
  unsubscription_confirmed: 'channel',
  published: '',
  channel_message: 'channel timestamp',
  gap: 'channel',
  history: 'messages',
  presence: 'members',
  presence_join: 'channel member',
  presence_leave: 'channel member',
  query_started: 'stream_id columns',
  query_batch: 'stream_id batch_number rows',
  query_progress: 'stream_id',
  query_completed: 'stream_id',
  query_cancelled: 'stream_id',
  query_status: 'stream_id',
  query_ready: 'stream_id revision',
  query_change: 'stream_id revision key',
  query_reset: 'stream_id',
};

/** Reports whether messages of this type are of the protocol, and not such as the site's own code sends. */
export function known(type: string): boolean {
  return type in required;
}

/** Reads a message of the server. It throws where that is none of the protocol. */
export function parse(line: string): Wire {
  const message = JSON.parse(line);
  const { type } = message;
  verify({ type }, 'type');
  // The site's own messages may use names as they like.
  if (known(type)) verify(message, required[type]);
  return message;
}
