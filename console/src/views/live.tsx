import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Query } from '../state/api.js';
import { describe } from '../state/client.js';
import { useQueries } from '../state/queries.js';
import { Watching } from '../state/watching.js';
import { clock, count } from '../ui/format.js';
import { defaults, Params, values, type Typed } from '../ui/params.js';
import { Field, Pill, useFollowing } from '../ui/parts.js';
import { Rows } from '../ui/rows.js';

export function LiveQuery() {
  const { queries, error } = useQueries((query) => query.watch !== undefined);
  const watching = useSignal<Watching | undefined>(undefined);
  const failed = useSignal<string | undefined>(undefined);
  useEffect(() => () => watching.value?.close(), []);
  const list = queries.value;
  return (
    <div class="view">
      {error.value && <p class="notice bad" role="alert">{error.value}</p>}
      {list?.length === 0 && (
        <p class="panel empty">No query of the site may be watched. One may be that has a <code>watch</code> block.</p>
      )}
      {list && list.length > 0 && (
        <Form queries={list} start={(query, params) => {
          watching.value?.close();
          failed.value = undefined;
          try {
            watching.value = new Watching(query.name, params, query.watch!.key);
          } catch (reason) {
            failed.value = describe(reason);
          }
        }} />
      )}
      {failed.value && <p class="notice bad" role="alert">{failed.value}</p>}
      {watching.value && <Result watching={watching.value} key={watching.value.name} />}
    </div>
  );
}

function Form({ queries, start }: { queries: Query[]; start: (query: Query, params: object) => void }) {
  const chosen = useSignal(queries[0]!);
  const typed = useSignal<Typed>(defaults(queries[0]!));
  const query = chosen.value;
  return (
    <form class="panel stack" autoComplete="off" onSubmit={(event) => { event.preventDefault(); start(query, values(query, typed.value)); }}>
      <div class="fields">
        <Field label="Query">
          {(id) => (
            <select id={id} value={query.name} data-testid="watch-name" onChange={(e) => {
              chosen.value = queries.find((q) => q.name === e.currentTarget.value)!;
              typed.value = defaults(chosen.value);
            }}>{queries.map((q) => <option key={q.name}>{q.name}</option>)}</select>
          )}
        </Field>
        <Params query={query} typed={typed.value} change={(t) => (typed.value = t)} />
        <button type="submit" class="primary" data-testid="watch-start">Watch</button>
      </div>
      <p class="help">Its rows are told apart by <code>{query.watch!.key.join(', ')}</code>. The result comes first, then every change of it.</p>
    </form>
  );
}

function Result({ watching }: { watching: Watching }) {
  const rows = watching.rows.value;
  const state = watching.ended.value ? 'ended' : watching.live.value ? 'live' : 'loading';
  return (
    <div class="split">
      <section class="panel stack" aria-labelledby="live-title">
        <header>
          <h2 id="live-title">Result of <code>{watching.name}</code></h2>
          <span role="status" data-testid="watch-state" data-state={state}><Pill tone={state === 'live' ? 'good' : state === 'ended' ? '' : 'warn'}>{state}</Pill></span>
          <button type="button" disabled={watching.ended.value} onClick={() => watching.close()} data-testid="watch-stop">Stop</button>
        </header>
        {watching.trouble.value && <p class="notice bad" role="alert">{watching.trouble.value}</p>}
        <Rows columns={watching.columns.value} rows={rows} label={`Rows of ${watching.name}`} />
      </section>
      <Changes watching={watching} />
    </div>
  );
}

const words = { insert: 'inserted', update: 'updated', delete: 'deleted', reset: 'the whole result' };

function Changes({ watching }: { watching: Watching }) {
  const events = watching.events.value;
  const box = useFollowing<HTMLOListElement>(events);
  return (
    <section class="panel stack" aria-labelledby="changes-title">
      <header><h2 id="changes-title">Changes</h2><span class="about" data-testid="watch-changes">{count(watching.changes.value)}</span></header>
      <ol class="log" ref={box} tabIndex={0} aria-label="Changes, the newest last">
        {events.map((event) => (
          <li key={event.n}><time>{clock(event.time, true)}</time><span class="data">{event.op === 'reset' ? words.reset : <>{words[event.op]} <b>{event.key}</b></>}</span></li>
        ))}
      </ol>
    </section>
  );
}
