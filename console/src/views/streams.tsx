import { useSignal } from '@preact/signals';
import { api, type Stream } from '../state/api.js';
import { usePoll } from '../state/poll.js';
import { href } from '../state/route.js';
import { brief, bytes, count, duration } from '../ui/format.js';
import { Bar, Pill, type Tone } from '../ui/parts.js';
import { Pager } from './connections.js';

const tones: Record<string, Tone> = { streaming: 'good', paused: 'warn', initializing: '' };

/** The running query streams and live queries of all clients. */
export function Streams() {
  const cursors = useSignal<string[]>([]);
  const cursor = cursors.value.at(-1);
  const told = useSignal({ text: '', failed: false });
  const list = usePoll((signal) => api.streams(cursor, signal), 1_000, [cursor]);
  const page = list.data.value;
  const cancel = async (stream: Stream) => {
    try {
      await api.cancel(stream.stream_id);
      told.value = { text: `Cancelled ${stream.query}.`, failed: false };
    } catch (error) {
      told.value = { text: (error as Error).message, failed: true };
    }
    list.refresh();
  };
  return (
    <div class="view">
      <section class="panel stack" aria-labelledby="streams-title">
        <header><h2 id="streams-title">Running queries and watches</h2></header>
        {list.error.value && <p class="notice bad" role="alert">{list.error.value}</p>}
        {page && page.entries.length === 0 && <p class="empty">Nothing runs. <a href={href('query')}>Run a query</a>, or <a href={href('live')}>watch one</a>.</p>}
        {page && page.entries.length > 0 && (
          <div class="scroll">
            <table data-testid="streams">
              <thead>
                <tr>
                  <th scope="col">Query</th><th scope="col">Kind</th><th scope="col">Client</th><th scope="col">State</th>
                  <th scope="col">Progress</th><th scope="col" class="numeric">Rows</th><th scope="col" class="numeric">Bytes</th>
                  <th scope="col" class="numeric">For</th><th scope="col" class="numeric"><abbr title="How much of that it waited for its client">Waited</abbr></th><th scope="col" class="act"><span class="visually-hidden">Actions</span></th>
                </tr>
              </thead>
              <tbody>
                {page.entries.map((s) => (
                  <tr key={s.stream_id} data-testid="stream">
                    <td class="narrow"><code>{s.query}</code></td>
                    <td>{s.watch ? <Pill tone="accent">live query</Pill> : <Pill>stream</Pill>}</td>
                    <td class="narrow"><a href={href('connections', { id: s.connection_id })}><code>{brief(s.connection_id)}</code></a> {s.user}</td>
                    <td><Pill tone={tones[s.status] ?? ''}>{s.status}</Pill></td>
                    <td>{s.progress === null || s.watch ? '–' : <Bar fill={s.progress / 100} label={`Progress of ${s.query}`} />}</td>
                    <td class="numeric">{count(s.rows_sent)}</td>
                    <td class="numeric">{bytes(s.bytes)}</td>
                    <td class="numeric">{duration(s.elapsed_ms)}</td>
                    <td class="numeric">{duration(s.stalled_ms)}</td>
                    <td class="act"><button type="button" class="small danger" onClick={() => void cancel(s)} data-testid="stream-cancel" aria-label={`Cancel ${s.query} of ${brief(s.connection_id)}`}>Cancel</button></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        <p class={`result${told.value.failed ? ' failed' : ''}`} role="status">{told.value.text}</p>
        <Pager cursors={cursors} next={page?.cursor} />
      </section>
    </div>
  );
}
