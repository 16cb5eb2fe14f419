import { latest, remembered, samples, stats, type Sample } from '../state/stats.js';
import { Chart, type Line } from '../ui/chart.js';
import { bytes, count, rate, short } from '../ui/format.js';

const per = (value: number) => `${rate(value)}`;

const messages: Line<Sample>[] = [
  { label: 'out', mark: 1, value: (s) => s.messagesOut, fill: true },
  { label: 'in', mark: 2, value: (s) => s.messagesIn },
];
const traffic: Line<Sample>[] = [
  { label: 'out', mark: 1, value: (s) => s.bytesOut, fill: true },
  { label: 'in', mark: 2, value: (s) => s.bytesIn },
];
const losses: Line<Sample>[] = [
  { label: 'dropped', mark: 3, value: (s) => s.dropped, fill: true },
  { label: 'conflated', mark: 4, value: (s) => s.conflated },
];
const queue: Line<Sample>[] = [{ label: 'waiting', mark: 4, value: (s) => s.queuedBytes, fill: true }];
const connections: Line<Sample>[] = [{ label: 'open', mark: 2, value: (s) => s.connections, fill: true }];
const streams: Line<Sample>[] = [
  { label: 'rows', mark: 1, value: (s) => s.rows, fill: true },
  { label: 'running', mark: 3, value: (s) => s.streams },
];

export function Overview() {
  const now = latest.value;
  const chart = { samples, span: remembered, sync: 'overview' };
  return (
    <div class="view">
      <dl class="tiles">
        <Tile name="Connections" value={now && count(now.connections)} id="connections" />
        <Tile name="Messages out" value={now && short(now.messagesOut)} unit="/s" id="out" />
        <Tile name="Messages in" value={now && short(now.messagesIn)} unit="/s" id="in" />
        <Tile name="Dropped" value={now && short(now.dropped)} unit="/s" alarm={!!now && now.dropped > 0} id="dropped" />
        <Tile name="Waiting in queues" value={now && bytes(now.queuedBytes)} id="queued" />
        <Tile name="Streams" value={now && count(now.streams)} id="streams" />
      </dl>
      <div class="charts">
        <Chart title="Messages per second" lines={messages} format={per} {...chart} />
        <Chart title="Connections" lines={connections} format={count} {...chart} />
        <Chart title="Losses per second" lines={losses} format={per} {...chart} />
        <Chart title="Waiting in queues" lines={queue} format={bytes} of="bytes" {...chart} />
        <Chart title="Bytes per second" lines={traffic} format={bytes} of="bytes" {...chart} />
        <Chart title="Query rows per second" lines={streams} format={short} {...chart} />
      </div>
      <Totals />
    </div>
  );
}

function Tile({ name, value, unit = '', alarm = false, id }: { name: string; value?: string; unit?: string; alarm?: boolean; id: string }) {
  return (
    <div class={`tile${alarm ? ' alarm' : ''}`}>
      <dt>{name}</dt>
      <dd data-testid={`tile-${id}`}>{value ?? '–'}{value !== undefined && unit && <small> {unit}</small>}</dd>
    </div>
  );
}

/** What has been counted since the hub began. */
function Totals() {
  const now = stats.value;
  if (!now) return null;
  return (
    <div class="split">
      <section class="panel" aria-labelledby="since-title">
        <header><h2 id="since-title">Since the hub began</h2></header>
        <dl class="facts">
          <Fact name="Connections accepted" value={count(now.connections_total)} />
          <Fact name="Refused" value={count(now.connections_refused_total)} />
          <Fact name="Published" value={count(now.messages_published_total)} />
          <Fact name="Deliveries due" value={count(now.messages_offered_total)} />
          <Fact name="Dropped" value={count(now.messages_dropped_total)} />
          <Fact name="Conflated" value={count(now.messages_conflated_total)} />
          <Fact name="Bytes out" value={bytes(now.bytes_sent_total)} />
          <Fact name="Bytes in" value={bytes(now.bytes_received_total)} />
          <Fact name="Subscriptions" value={count(now.subscriptions)} />
          <Fact name="Channels with subscribers" value={count(now.channels)} />
          <Fact name="Channels with history" value={count(now.history_channels)} />
          <Fact name="History" value={bytes(now.bytes_history)} />
          <Fact name="Streams started" value={count(now.streams.started)} />
          <Fact name="Rows sent" value={count(now.streams.rows)} />
          <div class="wide"><dt>Epoch</dt><dd><code>{now.epoch}</code> at offset {count(now.offset)}</dd></div>
        </dl>
      </section>
      <Reasons closes={now.closes} refusals={now.refusals} gaps={now.gaps} />
    </div>
  );
}

const Fact = ({ name, value }: { name: string; value: string }) => <div><dt>{name}</dt><dd>{value}</dd></div>;

/** Why connections ended or were refused, and what clients were told is missing; only what has happened. */
function Reasons({ closes, refusals, gaps }: { closes: Record<string, number>; refusals: Record<string, number>; gaps: Record<string, number> }) {
  const rows = [
    ...Object.entries(closes).map(([code, n]) => ['Closed', code, n] as const),
    ...Object.entries(refusals).map(([why, n]) => ['Refused', why.replaceAll('_', ' '), n] as const),
    ...Object.entries(gaps).map(([why, n]) => ['Gap told', why.replaceAll('_', ' '), n] as const),
  ].filter(([, , n]) => n > 0);
  return (
    <section class="panel" aria-labelledby="reasons-title">
      <header><h2 id="reasons-title">Endings and gaps</h2></header>
      {rows.length === 0 ? <p class="empty">Nothing yet.</p> : (
        <div class="scroll tall">
          <table>
            <thead><tr><th scope="col">What</th><th scope="col">Why</th><th scope="col" class="numeric">Times</th></tr></thead>
            <tbody>{rows.map(([what, why, n]) => <tr key={what + why}><td>{what}</td><td>{why}</td><td class="numeric">{count(n)}</td></tr>)}</tbody>
          </table>
        </div>
      )}
    </section>
  );
}
