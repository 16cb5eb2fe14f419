// The hub's HTTP API, which hangs below the page.

/** Why a request of the API failed, in words for people. */
export class APIError extends Error {
  constructor(readonly status: number, readonly code: string, detail: string) {
    super(detail);
  }
}

export interface Page<T> {
  entries: T[];
  /** Gives the next page; undefined on the last. */
  cursor?: string;
}

export interface Loss { policy: string; reason: string; count: number }

export interface Stats {
  hub: string;
  server_time: string;
  epoch: string;
  offset: number;
  connections: number;
  connections_parked: number;
  connections_total: number;
  connections_refused_total: number;
  refusals: Record<string, number>;
  closes: Record<string, number>;
  subscriptions: number;
  channels: number;
  history_channels: number;
  bytes_history: number;
  messages_received_total: number;
  messages_published_total: number;
  messages_sent_total: number;
  bytes_received_total: number;
  bytes_sent_total: number;
  messages_offered_total: number;
  messages_dropped_total: number;
  messages_conflated_total: number;
  losses: Loss[] | null;
  gaps: Record<string, number>;
  messages_queued: number;
  bytes_queued: number;
  streams: { active: number; started: number; rows: number };
}

export interface Connection {
  id: string;
  user?: string;
  address: string;
  user_agent?: string;
  metadata?: Record<string, string>;
  connected_at: string;
  last_activity: string;
  subscriptions: number;
  messages_received: number;
  bytes_received: number;
  messages_sent: number;
  bytes_sent: number;
  messages_offered: number;
  messages_dropped: number;
  messages_conflated: number;
  messages_queued: number;
  bytes_queued: number;
  /** It is being closed with this code. */
  close_code?: number;
  /** Of one connection, not in lists. */
  channels?: string[];
  streams?: string[];
}

export interface Channel {
  channel: string;
  subscribers: number;
  messages_published: number;
  history_messages: number;
  history_bytes: number;
  offset?: number;
  published_at?: string;
  queue?: { messages: number; bytes: number; policy: string };
}

export interface Stream {
  stream_id: string;
  connection_id: string;
  user?: string;
  query: string;
  watch?: boolean;
  status: string;
  progress: number | null;
  rows_sent: number;
  batches_sent: number;
  bytes: number;
  started: string;
  elapsed_ms: number;
  stalled_ms: number;
}

export interface Param {
  name: string;
  type: 'text' | 'integer' | 'number' | 'boolean' | 'timestamp' | 'uuid';
  required: boolean;
  default?: string;
  enum?: string[];
  min?: string;
  max?: string;
  max_length?: number;
}

export interface Query {
  name: string;
  source: string;
  params: Param[];
  total: string;
  watch?: { key: string[]; max_rows: number };
  allow: string[];
}

type Parameters = Record<string, string | number | undefined>;

async function ask(method: string, path: string, parameters: Parameters = {}, body?: unknown, signal?: AbortSignal): Promise<any> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined && value !== '') query.set(name, String(value));
  const headers: HeadersInit = body === undefined ? {} : { 'Content-Type': 'application/json' };
  let response: Response;
  try {
    response = await fetch(`api/${path}${query.size > 0 ? `?${query}` : ''}`, {
      method, headers, signal, cache: 'no-store', body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new APIError(0, 'UNREACHABLE', 'The server cannot be reached.');
  }
  const text = await response.text();
  let value: any;
  try {
    value = text === '' ? undefined : JSON.parse(text);
  } catch {
    // Not the API's own answer: that of a login in front, or of a proxy.
  }
  if (response.ok) return value;
  throw new APIError(response.status, value?.code ?? 'HTTP', value?.detail ?? `The server answered ${response.status} ${response.statusText}.`);
}

const segment = encodeURIComponent;

export const api = {
  stats: (signal?: AbortSignal): Promise<Stats> => ask('GET', 'stats', {}, undefined, signal),
  connections: async (user: string, cursor?: string, signal?: AbortSignal): Promise<Page<Connection>> => {
    const page = await ask('GET', 'connections', { user, cursor }, undefined, signal);
    return { entries: page.connections, cursor: page.cursor };
  },
  /** How a connection stands; undefined where it has ended. */
  standing: async (id: string, signal?: AbortSignal): Promise<Connection | undefined> =>
    (await ask('GET', 'connections', { id }, undefined, signal)).connections[0],
  /** A connection with its subscriptions and streams. */
  connection: (id: string, signal?: AbortSignal): Promise<Connection> => ask('GET', `connections/${segment(id)}`, {}, undefined, signal),
  /** Closes a connection; its client is asked to come back after that many milliseconds, unless there are none. */
  disconnect: (id: string, comeBack?: number): Promise<void> => ask('DELETE', `connections/${segment(id)}`, { reconnect_after_ms: comeBack }),
  channels: async (pattern: string, cursor?: string, signal?: AbortSignal): Promise<Page<Channel>> => {
    const page = await ask('GET', 'channels', { pattern, cursor }, undefined, signal);
    return { entries: page.channels, cursor: page.cursor };
  },
  /** One channel; undefined where it has neither subscribers nor history. */
  channel: async (name: string, signal?: AbortSignal): Promise<Channel | undefined> =>
    (await ask('GET', 'channels', { pattern: name }, undefined, signal)).channels[0],
  streams: async (cursor?: string, signal?: AbortSignal): Promise<Page<Stream>> => {
    const page = await ask('GET', 'streams', { cursor }, undefined, signal);
    return { entries: page.streams, cursor: page.cursor };
  },
  cancel: (id: string): Promise<void> => ask('DELETE', `streams/${segment(id)}`),
  queries: async (signal?: AbortSignal): Promise<Query[]> => (await ask('GET', 'queries', { limit: 1000 }, undefined, signal)).queries,
  publish: (batch: { channel: string; data: unknown }[], signal?: AbortSignal): Promise<{ failed: number; results: { error?: { detail: string } }[] }> =>
    ask('POST', 'publish', {}, batch, signal),
  ticket: async (user: string, roles: string[]): Promise<string> => (await ask('POST', 'tickets', {}, { user, roles })).ticket,
};
