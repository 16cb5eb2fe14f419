import type { Channel } from '../state/api.js';
import type { Reader } from '../state/reader.js';
import { bytes, count, duration, percent, rate } from '../ui/format.js';
import { Bar, Pill, type Tone } from '../ui/parts.js';

const steady = 50; // messages under way below which buffers are as good as empty

/** How a reader fares, in a word. */
function condition(reader: Reader): { text: string; tone: Tone } {
  const { server, state, trouble, connectionID } = reader;
  if (trouble.value) return { text: trouble.value, tone: 'bad' };
  if (state.value === 'waiting' || state.value === 'closed') return { text: 'Disconnected', tone: 'bad' };
  if (!server.value) return connectionID.value === undefined ? { text: 'Connecting…', tone: '' } : { text: 'The server has let go of it', tone: 'bad' };
  if (server.value.close_code !== undefined) return { text: `Disconnected with ${server.value.close_code}; it reads what is left`, tone: 'bad' };
  const moments = reader.moments.value.slice(-4);
  if (moments.some((m) => m.dropped > 0)) return { text: 'Losing messages', tone: 'bad' };
  if (server.value.messages_queued > 1) return { text: 'Its queue fills', tone: 'warn' };
  if (reader.underway > steady) return { text: 'The network’s buffers fill', tone: 'warn' };
  return { text: 'Keeps up', tone: 'good' };
}

/** The way of the messages to one reader: the server's queue, the network, the reader. */
export function Lane({ name, reader, queue, note, testid }: { name: string; reader: Reader; queue: Channel['queue']; note?: string; testid: string }) {
  const server = reader.server.value;
  const tally = reader.tally.value;
  const { text, tone } = condition(reader);
  const waiting = server?.messages_queued ?? 0;
  const fill = server && queue ? Math.max(waiting / queue.messages, server.bytes_queued / queue.bytes) : 0;
  const lost = (server?.messages_dropped ?? 0) / Math.max(1, server?.messages_offered ?? 0);
  const moment = reader.moments.value.at(-1);
  return (
    <div class="lane" data-testid={`lane-${testid}`}>
      <header><h3>{name}</h3><span role="status"><Pill tone={tone}>{text}</Pill></span>{note && <span class="about">{note}</span>}</header>
      <ol class="stages">
        <li class="stage">
          <h3>Queue in the server</h3>
          <b data-testid={`${testid}-queued`}>{count(waiting)}</b>
          <Bar fill={fill} label={`Queue of the ${name.toLowerCase()}`} tone={fill > 0.9 ? 'bad' : fill > 0.7 ? 'warn' : ''} />
          <span>{queue && `of ${count(queue.messages)} · `}{bytes(server?.bytes_queued ?? 0)}{queue && ` of ${bytes(queue.bytes)}`}</span>
        </li>
        <li class="stage">
          <h3>Network and browser</h3>
          <b>{count(reader.underway)}</b>
          <span>sent and not yet read</span>
        </li>
        <li class="stage">
          <h3>Reader</h3>
          <b>{rate(moment?.read ?? 0)}/s</b>
          <span>{count(tally.read)} read · {tally.read > 0 ? `${duration(tally.age)} old` : 'none yet'}</span>
        </li>
        <li class={`stage ${server && server.messages_dropped > 0 ? 'alarm' : ''}`}>
          <h3>Lost</h3>
          <b data-testid={`${testid}-dropped`}>{count(server?.messages_dropped ?? 0)}</b>
          <span>{percent(lost)} of what it was due{server && server.messages_conflated > 0 ? ` · ${count(server.messages_conflated)} replaced` : ''}</span>
        </li>
      </ol>
    </div>
  );
}
