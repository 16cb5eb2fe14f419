import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Gap, Message, Subscription } from '../../../client/js/src/index.js';
import { client, describe, generation } from '../state/client.js';
import { Bounded } from '../ui/bounded.js';
import { clock, count, inline, plural } from '../ui/format.js';
import { Field, useFollowing } from '../ui/parts.js';

type Entry = { n: number; time: string } & ({ message: Message } | { gap: Gap });

const kept = 500;
const shown = 2_000; // characters of a message

/** The messages of a channel or pattern as they come. */
export function Tail({ chosen }: { chosen: string }) {
  const pattern = useSignal(chosen || '**');
  const history = useSignal(20);
  const following = useSignal<string | undefined>(undefined);
  const paused = useSignal(false);
  const told = useSignal<{ text: string; failed: boolean }>({ text: '', failed: false });
  const entries = useMemo(() => new Bounded<Entry>(kept), []);
  const subscription = useRef<Subscription | undefined>(undefined);
  const number = useRef(0);
  const madeBy = useRef(0); // the client of the subscription

  const stop = () => {
    subscription.current?.unsubscribe();
    subscription.current = undefined;
    following.value = undefined;
  };
  const start = (name: string) => {
    stop();
    entries.clear();
    entries.pause((paused.value = false));
    told.value = { text: `Subscribing to ${name}…`, failed: false };
    const add = (entry: { message: Message } | { gap: Gap }) => entries.add({ ...entry, n: number.current++, time: clock('message' in entry ? entry.message.timestamp : Date.now(), true) });
    try {
      const made = client().subscribe(name, { history: history.value }, (message) => add({ message }));
      subscription.current = made;
      madeBy.current = generation.peek();
      following.value = name;
      made.on('gap', (gap) => add({ gap }));
      made.on('error', (error) => {
        if (error.code === 'CLOSED' && error.closeCode === undefined) return; // the page comes as someone else: it goes on with the next client
        told.value = { text: describe(error), failed: true };
        if (subscription.current === made) stop();
      });
      void made.ready.then(() => { if (subscription.current === made) told.value = { text: `Following ${name}.`, failed: false }; }, () => {});
    } catch (error) {
      told.value = { text: describe(error), failed: true };
    }
  };

  useEffect(() => stop, []);
  useEffect(() => {
    if (chosen === '') return;
    pattern.value = chosen;
    start(chosen);
  }, [chosen]);
  useEffect(() => {
    if (following.value !== undefined && madeBy.current !== generation.value) start(following.value);
  }, [generation.value]);

  return (
    <section class="panel stack" aria-labelledby="tail-title">
      <header>
        <h2 id="tail-title">Live tail</h2>
        <span class="about">{plural(entries.total.value, 'message')}</span>
      </header>
      <form class="fields" onSubmit={(e) => { e.preventDefault(); start(pattern.value.trim()); }} autoComplete="off">
        <Field label="Channel or pattern">
          {(id) => <input id={id} required maxLength={255} spellcheck={false} value={pattern.value} onInput={(e) => (pattern.value = e.currentTarget.value)} data-testid="tail-pattern" />}
        </Field>
        <Field label="Replay" short>
          {(id) => <input id={id} type="number" min={0} max={1000} value={history.value} onInput={(e) => (history.value = e.currentTarget.valueAsNumber || 0)} />}
        </Field>
        <div class="buttons">
          <button type="submit" class="primary" data-testid="tail-start">Follow</button>
          <button type="button" disabled={following.value === undefined} onClick={() => { stop(); told.value = { text: 'Stopped.', failed: false }; }}>Stop</button>
          <button type="button" aria-pressed={paused.value} disabled={following.value === undefined} onClick={() => entries.pause((paused.value = !paused.value))}>Pause</button>
        </div>
      </form>
      <p class={`result${told.value.failed ? ' failed' : ''}`} role="status">{told.value.text || <>A pattern may hold <code>*</code> for one segment and <code>**</code> for any number.</>}</p>
      <Log entries={entries} />
    </section>
  );
}

function Log({ entries }: { entries: Bounded<Entry> }) {
  const items = entries.items.value;
  const box = useFollowing<HTMLOListElement>(items);
  return (
    <ol class="log" ref={box} tabIndex={0} aria-label="Messages, the newest last" data-testid="tail-log">
      {items.map((entry) => ('gap' in entry ? (
        <li key={entry.n} class="gap"><time>{entry.time}</time><span class="data">{gapText(entry.gap)}</span></li>
      ) : (
        <li key={entry.n} data-testid="message">
          <time title={entry.message.timestamp}>{entry.time}</time>
          <span class="where" title={entry.message.offset === undefined ? entry.message.channel : `${entry.message.channel} at offset ${entry.message.offset}`}>{entry.message.channel}</span>
          <span class="data">{inline(entry.message.data).slice(0, shown)}</span>
        </li>
      )))}
    </ol>
  );
}

// The client's own reasons; the server's can be read as they are.
const reasons: Record<string, string> = {
  connection: 'the connection was lost, and the channel keeps no history',
  not_recovered: 'the history does not reach back to where the connection was lost',
  epoch_changed: 'the hub began anew',
};

/** A gap in words. */
export function gapText(gap: Gap): string {
  const what = gap.dropped === null ? 'An unknown number of messages' : plural(gap.dropped, 'message');
  const place = gap.after !== undefined && gap.before !== undefined ? ` between offsets ${count(gap.after)} and ${count(gap.before)}` : '';
  return `Gap: ${what} of ${gap.channel}${place} did not come: ${reasons[gap.reason] ?? gap.reason.replaceAll('_', ' ')}.`;
}
