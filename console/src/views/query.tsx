import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Query } from '../state/api.js';
import { describe } from '../state/client.js';
import { useQueries } from '../state/queries.js';
import { keptRows, Run } from '../state/run.js';
import { bytes, count, duration } from '../ui/format.js';
import { defaults, Params, values, type Typed } from '../ui/params.js';
import { Bar, Field, Pill, type Tone } from '../ui/parts.js';
import { Rows } from '../ui/rows.js';

export function QueryRunner() {
  const { queries, error } = useQueries();
  const run = useSignal<Run | undefined>(undefined);
  const failed = useSignal<string | undefined>(undefined);
  useEffect(() => () => run.value?.cancel(), []);
  const list = queries.value;
  return (
    <div class="view">
      {error.value && <p class="notice bad" role="alert">{error.value}</p>}
      {list?.length === 0 && <p class="panel empty">The site has no queries.</p>}
      {list && list.length > 0 && (
        <Form queries={list} start={(name, params, options) => {
          run.value?.cancel();
          failed.value = undefined;
          try {
            run.value = new Run(name, params, options);
          } catch (reason) {
            failed.value = describe(reason);
          }
        }} />
      )}
      {failed.value && <p class="notice bad" role="alert">{failed.value}</p>}
      {run.value && <Result run={run.value} />}
    </div>
  );
}

const paces = [
  { name: 'As fast as it goes', credits: 8, pause: 0 },
  { name: 'One batch at a time', credits: 1, pause: 0 },
  { name: 'A batch every 100 ms', credits: 1, pause: 100 },
  { name: 'A batch a second', credits: 1, pause: 1000 },
];

type Start = (name: string, params: object, options: { batchSize: number; credits: number; pause: number }) => void;

function Form({ queries, start }: { queries: Query[]; start: Start }) {
  const chosen = useSignal(queries[0]!);
  const typed = useSignal<Typed>(defaults(queries[0]!));
  const size = useSignal(100);
  const pace = useSignal(0);
  const query = chosen.value;
  const choose = (name: string) => {
    chosen.value = queries.find((q) => q.name === name)!;
    typed.value = defaults(chosen.value);
  };
  return (
    <form class="panel stack" autoComplete="off" onSubmit={(event) => {
      event.preventDefault();
      start(query.name, values(query, typed.value), { batchSize: size.value, ...paces[pace.value]! });
    }}>
      <div class="fields">
        <Field label="Query">
          {(id) => <select id={id} value={query.name} onChange={(e) => choose(e.currentTarget.value)} data-testid="query-name">{queries.map((q) => <option key={q.name}>{q.name}</option>)}</select>}
        </Field>
        <Params query={query} typed={typed.value} change={(t) => (typed.value = t)} />
        <Field label="Batch size" short>
          {(id) => <input id={id} type="number" required min={1} max={10000} value={size.value} onInput={(e) => (size.value = e.currentTarget.valueAsNumber || 1)} data-testid="query-batch" />}
        </Field>
        <Field label="Pace">
          {(id) => <select id={id} value={String(pace.value)} onChange={(e) => (pace.value = Number(e.currentTarget.value))} data-testid="query-pace">{paces.map((p, i) => <option key={p.name} value={String(i)}>{p.name}</option>)}</select>}
        </Field>
        <button type="submit" class="primary" data-testid="query-run">Run</button>
      </div>
      <p class="help">
        On source <code>{query.source}</code>, for {query.allow.length > 0 ? query.allow.join(', ') : 'nobody'}. The database is read only as fast as this page takes batches.
      </p>
    </form>
  );
}

const tones: Record<string, Tone> = { streaming: 'good', throttled: 'warn', paused: 'warn', completed: 'good', cancelled: '', failed: 'bad' };

function Result({ run }: { run: Run }) {
  const progress = run.progress.value;
  const ending = run.ending.value;
  const started = run.started.value;
  const total = started?.estimatedRows ?? null;
  const fill = ending?.kind === 'completed' ? 1 : total ? run.received.value / total : progress?.percentage != null ? progress.percentage / 100 : ending ? 0 : undefined;
  const state = ending?.kind ?? progress?.state ?? 'streaming';
  const rows = run.rows.value;
  return (
    <section class="panel stack" aria-labelledby="result-title">
      <header>
        <h2 id="result-title">Result of <code>{run.name}</code></h2>
        <span role="status" data-testid="query-state" data-state={state}><Pill tone={tones[state] ?? ''}>{state}</Pill></span>
        <div class="buttons">
          <button type="button" aria-pressed={run.paused.value} disabled={!!ending} onClick={() => run.pause(!run.paused.value)} data-testid="query-pause">{run.paused.value ? 'Go on' : 'Pause'}</button>
          <button type="button" class="danger" disabled={!!ending} onClick={() => run.cancel()} data-testid="query-cancel">Cancel</button>
        </div>
      </header>
      <Bar fill={fill} label="Progress of the query" tone={ending?.kind === 'failed' ? 'bad' : ''} />
      <dl class="facts">
        <div><dt>Rows</dt><dd data-testid="query-rows">{count(run.received.value)}{total !== null && ` of ${started?.totalKind === 'estimate' ? 'about ' : ''}${count(total)}`}</dd></div>
        <div><dt>Batches</dt><dd>{count(run.batches.value)}</dd></div>
        <div><dt>Rows per second</dt><dd>{progress ? count(progress.throughput) : '–'}</dd></div>
        <div><dt>Time left</dt><dd data-testid="query-eta">{ending ? '–' : duration(progress?.etaMs)}</dd></div>
        <div><dt>Elapsed</dt><dd>{duration(progress?.elapsedMs)}</dd></div>
        <div><dt>Waited for this page</dt><dd>{duration(progress?.stalledMs)}</dd></div>
        <div><dt>Size</dt><dd>{progress ? bytes(progress.bytes) : '–'}</dd></div>
      </dl>
      {ending && <p class={`notice ${ending.kind === 'failed' ? 'bad' : ending.kind === 'completed' ? 'good' : ''}`} role="status" data-testid="query-ending" data-ending={ending.kind}>{ending.text}</p>}
      {started && rows.length > 0 && <Rows columns={started.columns.map((c) => c.name)} rows={rows} first={run.received.value - rows.length + 1} label={`Rows of ${run.name}`} />}
      {run.received.value > keptRows && <p class="help">The newest {count(keptRows)} rows are kept.</p>}
    </section>
  );
}
