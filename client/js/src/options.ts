/** What the client needs of a WebSocket: browsers', Node's own, and that of `ws` have it. */
export interface WebSocketLike {
  readonly protocol: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  terminate?(): void;
}

/** A value, or a function that gives one, now or later. */
export type Supplied<T> = T | (() => T | Promise<T>);

/** Options of a {@link Client}. Durations are in milliseconds. */
export interface ClientOptions {
  /**
   * A token (JWT) or a function that gets one. A function is asked before the first connection, before the token expires, and after the
   * server refused one; while it gives `null` or an empty string the client is anonymous. A string that has expired closes the client once
   * an attempt to connect fails.
   */
  token?: Supplied<string | null | undefined>;
  /** A function that gets a single-use ticket for each connection, in place of a token. */
  ticket?: () => string | Promise<string>;
  /** The WebSocket to use, such as that of `ws` where the platform has none. Default: the global one. */
  WebSocket?: new (url: string, protocols: string[]) => any;
  /** Offer the subprotocol that takes several messages into one frame. Default: true. */
  ndjson?: boolean;
  /** Waiting before attempt n to connect: random between 0 and min(max, min · 2ⁿ). Default: 500 and 30,000. */
  backoff?: { min?: number; max?: number };
  /** The time that a connection may take to be made. Default: 15,000. */
  connectTimeout?: number;
  /**
   * How long nothing may be heard of the server before it is asked for a sign of life (default: as the server says, 30,000), and how
   * long that may take (default: 10,000) before the connection counts as lost.
   */
  heartbeat?: { interval?: number; timeout?: number };
  /**
   * The time limit of requests that name none, from the call to the answer, reconnects and waiting for the server's pace included; of queries
   * and watches, until they start. Infinity, and more than 2^31-1, is no limit. Default: 30,000.
   */
  timeout?: number;
  /** How many requests may wait for their answers; more are refused with `OVERFLOW`. Default: 1,000. */
  maxPending?: number;
}

/** A place in the order of a hub's messages. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Limits of one request. */
export interface RequestOptions {
  /** In milliseconds, from the call to the answer, reconnects included. Default: the client's. */
  timeout?: number;
  signal?: AbortSignal;
}
