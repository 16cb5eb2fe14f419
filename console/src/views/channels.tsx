import { useSignal } from '@preact/signals';
import { api } from '../state/api.js';
import { usePoll } from '../state/poll.js';
import { replaceArgs, route } from '../state/route.js';
import { ago, bytes, count } from '../ui/format.js';
import { Field } from '../ui/parts.js';
import { Pager } from './connections.js';
import { Publish } from './publish.js';
import { Tail } from './tail.js';

export function Channels() {
  const pattern = useSignal('');
  const cursors = useSignal<string[]>([]);
  const cursor = cursors.value.at(-1);
  const list = usePoll((signal) => api.channels(pattern.value.trim(), cursor, signal), 2_000, [pattern.value, cursor]);
  const tailed = route.value.args.get('tail') ?? '';
  const page = list.data.value;
  return (
    <div class="view">
      <section class="panel" aria-labelledby="channels-title">
        <header>
          <h2 id="channels-title">Channels</h2>
          <Field label="Only of pattern" beside>
            {(id) => <input id={id} type="search" placeholder="sensors/**" value={pattern.value} spellcheck={false} onInput={(e) => { pattern.value = e.currentTarget.value; cursors.value = []; }} />}
          </Field>
        </header>
        {list.error.value && <p class="notice bad" role="alert">{list.error.value}</p>}
        {page && page.entries.length === 0 && <p class="empty">No channel has subscribers by its name, or history.</p>}
        {page && page.entries.length > 0 && (
          <div class="scroll tall channels">
            <table data-testid="channels">
              <thead>
                <tr>
                  <th scope="col">Channel</th><th scope="col" class="numeric">Subscribers</th><th scope="col" class="numeric">Published</th>
                  <th scope="col" class="numeric">History</th><th scope="col" class="numeric">Bytes</th><th scope="col">Last</th>
                </tr>
              </thead>
              <tbody>
                {page.entries.map((c) => (
                  <tr key={c.channel} class={c.channel === tailed ? 'chosen' : ''}>
                    <td><button type="button" class="link" onClick={() => replaceArgs({ tail: c.channel })} aria-label={`Tail ${c.channel}`}>{c.channel}</button></td>
                    <td class="numeric">{count(c.subscribers)}</td>
                    <td class="numeric">{count(c.messages_published)}</td>
                    <td class="numeric">{count(c.history_messages)}</td>
                    <td class="numeric">{bytes(c.history_bytes)}</td>
                    <td>{c.published_at ? ago(c.published_at) : '–'}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        <p class="help">Subscribers are those by just this name; those by a pattern that matches are not counted.</p>
        <Pager cursors={cursors} next={page?.cursor} />
      </section>
      <div class="split">
        <Tail chosen={tailed} />
        <Publish chosen={tailed} />
      </div>
    </div>
  );
}
