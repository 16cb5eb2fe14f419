import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { describe } from '../state/client.js';
import { useQueries } from '../state/queries.js';
import { Run } from '../state/run.js';
import { count, duration } from '../ui/format.js';
import { Bar, Field, Pill } from '../ui/parts.js';

const credits = 4;
const batchSize = 50;

/** A query stream that is read slowly: credit holds it back to the database, and nothing is lost. */
export function Credit() {
  const { queries } = useQueries((query) => query.params.every((p) => !p.required));
  const name = useSignal('');
  const pause = useSignal(400);
  const run = useSignal<Run | undefined>(undefined);
  const failed = useSignal<string | undefined>(undefined);
  useEffect(() => () => run.value?.cancel(), []);
  const list = queries.value;
  if (!list || list.length === 0) return null;
  const query = name.value || list[0]!.name;
  const now = run.value;
  const running = now !== undefined && now.ending.value === undefined;
  const start = () => {
    now?.cancel();
    failed.value = undefined;
    try {
      run.value = new Run(query, {}, { batchSize, credits, pause: pause.value });
    } catch (error) {
      failed.value = describe(error);
    }
  };
  return (
    <section class="panel stack" aria-labelledby="credit-title" data-testid="credit">
      <header>
        <h2 id="credit-title">A query held back by credit</h2>
        {running
          ? <button type="button" class="danger" onClick={() => now.cancel()}>Cancel</button>
          : <button type="button" class="primary" onClick={start} data-testid="credit-start">Start</button>}
      </header>
      <p class="about">
        A query’s rows are never dropped. This page grants the server credit for {credits} batches of {batchSize} rows, and another for each that it has taken; without
        credit the server asks the database for no more.
      </p>
      <div class="fields">
        <Field label="Query">
          {(id) => <select id={id} value={query} disabled={running} onChange={(e) => (name.value = e.currentTarget.value)}>{list.map((q) => <option key={q.name}>{q.name}</option>)}</select>}
        </Field>
        <Field label="Time over each batch" value={duration(pause.value)}>
          {(id) => <input id={id} type="range" min={0} max={2000} step={50} value={pause.value} aria-valuetext={duration(pause.value)} onInput={(e) => {
            pause.value = e.currentTarget.valueAsNumber;
            if (now) now.delay = pause.value;
          }} />}
        </Field>
      </div>
      {failed.value && <p class="notice bad" role="alert">{failed.value}</p>}
      {now && <Stages run={now} />}
    </section>
  );
}

function Stages({ run }: { run: Run }) {
  const progress = run.progress.value;
  const ending = run.ending.value;
  const state = ending?.kind ?? progress?.state ?? 'streaming';
  const from = Math.max(progress?.rowsProcessed ?? 0, run.received.value);
  const ahead = Math.max(0, from - run.received.value);
  return (
    <ol class="stages three">
      <li class="stage">
        <h3>Read from the database</h3>
        <b>{count(from)}</b>
        <span><Pill tone={state === 'failed' ? 'bad' : state === 'paused' || state === 'throttled' ? 'warn' : 'good'}>{state}</Pill></span>
      </li>
      <li class="stage">
        <h3>Covered by credit</h3>
        <b>{count(ahead)}</b>
        <Bar fill={ahead / (credits * batchSize)} label="Rows on their way" />
        <span>rows on their way, at most {count(credits * batchSize)}</span>
      </li>
      <li class="stage">
        <h3>Taken by this page</h3>
        <b>{count(run.received.value)}</b>
        <span>the server has waited {duration(progress?.stalledMs ?? 0)} for it</span>
      </li>
    </ol>
  );
}
