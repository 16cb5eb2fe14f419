import { fields, Wire } from './wire.js';

/** What else an error tells; see the properties of {@link NeuroQuantumError}. */
export interface ErrorDetails {
  retryAfterMs?: number;
  channel?: string;
  streamId?: string;
  closeCode?: number;
  uncertain?: boolean;
  cause?: unknown;
}

/**
 * Every error of this client but those of an aborted AbortSignal, which are the signal's reason.
 *
 * `code` is the server's (`FORBIDDEN`, `RATE_LIMITED`, …; docs/protocol.md lists them) or one of the client's own:
 *
 * - `CLOSED`: the client was closed, or the server said not to come back; `closeCode` says why.
 * - `TIMEOUT`: no answer within the time limit of a request, query or watch.
 * - `UNCERTAIN`: a publish was cut off, and sending it again could publish it twice.
 * - `OVERFLOW`: too many requests wait already (`maxPending`).
 * - `TOO_LARGE`: the message is larger than the server takes.
 * - `RESUME_FAILED`: a query was cut off and cannot be gone on with; `cause` is the server's error.
 * - `PROTOCOL_ERROR`: the server sent something that is not of the protocol; `cause` says what. The connection is made again.
 * - `CANCELLED`: the server ended a query or watch in order, as an operator may.
 * - `CONNECT_FAILED`: an attempt to connect failed. The client goes on trying; only the event `error` tells.
 */
export class NeuroQuantumError extends Error {
  /** When the server says that it is worth trying again, in milliseconds from now. */
  declare readonly retryAfterMs?: number;
  /** The channel that is meant. */
  declare readonly channel?: string;
  /** The query stream or watch that is meant. */
  declare readonly streamId?: string;
  /** The WebSocket's close code, with `CLOSED` and `CONNECT_FAILED`. */
  declare readonly closeCode?: number;
  /** True where a publish may have been carried out all the same. */
  declare readonly uncertain: boolean;

  constructor(readonly code: string, message: string, details: ErrorDetails = {}) {
    super(message, details);
    Object.assign(this, { name: 'NeuroQuantumError', uncertain: false }, details);
  }
}

/** What a message of type `error` says, or an error of another kind. */
export function fromWire(message: Wire): NeuroQuantumError {
  if (message instanceof NeuroQuantumError) return message;
  return new NeuroQuantumError(message.code ?? 'INVALID_MESSAGE', message.message, fields(message));
}
