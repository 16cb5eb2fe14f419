// What the protocol's codes mean, in words for people.

const errors = {
  INVALID_MESSAGE: 'The server could not read that message.',
  UNKNOWN_TYPE: 'The server does not know that kind of message.',
  INVALID_CHANNEL: 'That is not a valid channel name here.',
  UNAUTHENTICATED: 'You have to sign in for that.',
  FORBIDDEN: 'You are not allowed to do that here.',
  LIMIT_EXCEEDED: 'That is more than this server allows.',
  RATE_LIMITED: 'Too many messages in a short time.',
  QUERY_NOT_FOUND: 'The server has no query of that name.',
  INVALID_PARAMS: 'The query was given wrong parameters.',
  QUERY_FAILED: 'The database could not run the query.',
  QUERY_TIMEOUT: 'The query took longer than it may.',
  STREAM_ERROR: 'The stream broke off, or stood still for too long.',
  INVALID_STREAM_ID: 'The server does not know that stream.',
  CANCEL_FAILED: 'There was nothing left to cancel: the stream had already ended.',
  HISTORY_UNAVAILABLE: 'That channel keeps no history.',
  INTERNAL: 'Something went wrong inside the server.',
  CONNECTION_LOST: 'The connection was lost before the answer came.',
};

export function describeError({ code, message, retry_after_ms: retry }) {
  const parts = [errors[code] ?? 'The server reported an error.'];
  if (typeof message === 'string' && message !== '' && message !== code) {
    parts.push(`${message[0].toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? '' : '.'}`);
  }
  if (retry > 0) parts.push(`Try again in ${duration(retry)}.`);
  return `${parts.join(' ')} (${code ?? 'no code'})`;
}

// retry: whether a client should come back by itself. 'told' means only where a `reconnect` message said so.
const closes = {
  1000: { words: 'The server ended the conversation.', retry: true },
  1001: { words: 'The server is going away.', retry: true },
  1003: { words: 'The server refused binary data.', retry: false },
  1005: { words: 'The server closed without giving a reason.', retry: true },
  1006: { words: 'The connection broke, or could not be made.', retry: true },
  1007: { words: 'The server refused text that is not UTF-8.', retry: false },
  1008: { words: 'The server found this page in breach of its policy.', retry: false },
  1009: { words: 'A message was larger than the server accepts.', retry: false },
  1011: { words: 'The server had a fault.', retry: true },
  4000: { words: 'The server heard nothing from this page in time.', retry: true },
  4001: { words: 'This server wants a sign-in, or the sign-in expired.', retry: false },
  4003: { words: 'This page is not allowed here.', retry: false },
  4008: { words: 'This page read too slowly.', retry: true },
  4029: { words: 'Too many connections or too many bad requests.', retry: true },
  4100: { words: 'An operator disconnected this page.', retry: 'told' },
};

export function closeRule(code) {
  return closes[code] ?? { words: 'The connection was closed.', retry: code < 4000 };
}

const gapReasons = {
  drop_oldest: 'this page was too slow, so the oldest waiting ones were dropped',
  drop_newest: 'this page was too slow, so the newest ones were dropped',
  drop_all: 'this page was too slow, so all that waited were dropped',
  conflated: 'newer values took their place',
  history_trimmed: 'the history no longer holds them',
  broker: 'the broker lost them on the way',
};

export function describeGap({ channel, dropped, reason, recoverable }) {
  const what = dropped == null ? 'An unknown number of messages'
    : dropped === 1 ? '1 message' : `${number(dropped)} messages`;
  const why = gapReasons[reason] ?? reason ?? 'no reason given';
  return `${what} on ${channel} did not arrive: ${why}.${recoverable ? ' The history still has what is missing.' : ''}`;
}

const grouped = new Intl.NumberFormat('en');

export const number = (n) => grouped.format(n);

export function duration(ms) {
  if (ms == null || !Number.isFinite(ms)) return '–';
  if (ms < 1) return '<1 ms';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}
