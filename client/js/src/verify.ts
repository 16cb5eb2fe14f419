type Test = (value: any) => unknown;

const number = (least: number): Test => (v) => v >= least && typeof v == 'number';

/** The tests of arguments, options and fields of messages, by names. */
const tests: [string, Test][] = [
  ['type code channel stream_id epoch query', (v) => typeof v == 'string'],
  ['id offset after_ms retry_after_ms replayed batch_number revision', number(0)],
  [
    // A duration of less than a millisecond would be a busy loop.
    'heartbeat_interval_ms max_message_bytes timeout connectTimeout interval min max maxPending credits buffer',
    number(1),
  ],
  ['server_time', (v) => Date.parse(v)],
  ['member params options since signal', (v) => typeof v == 'object'],
  ['members messages columns rows', (v) => Array.isArray(v) && !v.includes(null)],
  ['token', (v) => !v || /^[sf]/.test(typeof v)], // a string or a function
  ['callback listener ticket WebSocket', (v) => typeof v == 'function'],
];

/**
 * Throws, in words, where a value cannot be meant, or one of the `required` is missing. At the call of a method it is an error near its
 * cause; in a message of the server, nothing that handles the message need look again.
 */
export function verify(values: Record<string, any>, required = ''): void {
  for (const [names, good] of [...tests, [required, () => true] as [string, Test]]) {
    for (const name of names.split(' ')) {
      const value = values[name];
      if (value === undefined ? names === required && name : !good(value)) {
        throw new (typeof value == 'number' ? RangeError : TypeError)(`${name} cannot be ${value}`);
      }
    }
  }
}
