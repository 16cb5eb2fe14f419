import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { stopped } from '../reader/messages.js';
import { api, type Channel } from '../state/api.js';
import { usePoll } from '../state/poll.js';
import { Publisher } from '../state/publisher.js';
import { Reader, type Moment } from '../state/reader.js';
import { Chart, type Line } from '../ui/chart.js';
import { bytes, clock, count, plural, rate } from '../ui/format.js';
import { Field, useFollowing } from '../ui/parts.js';
import { Credit } from './credit.js';
import { Lane } from './lane.js';
import { gapText } from './tail.js';

/** The channels of the demo, each under a block with the policy that it is named after. */
const suggestions = ['drop_oldest', 'drop_newest', 'drop_all', 'block', 'conflate', 'disconnect'].map((policy) => `playground/${policy}`);

// The sliders' places, and what they stand for.
const rates = [0, 10, 20, 50, 100, 200, 400, 800];
const sizes = [100, 1024, 4096, 16384];
const speeds = [0, 1, 5, 10, 20, 50, 75, 100, 200, 400, Infinity]; // messages per second

const delayOf = (speed: number) => (speed === 0 ? stopped : speed === Infinity ? 0 : 1000 / speed);
const speedText = (speed: number) => (speed === 0 ? 'not at all' : speed === Infinity ? 'as it can' : `${speed}/s`);

interface Playing { channel: string; publisher: Publisher; fast: Reader; slow: Reader }

export function FlowControl() {
  const channel = useSignal(suggestions[0]!);
  const publishing = useSignal(4);
  const size = useSignal(3);
  const speed = useSignal(5);
  const playing = useSignal<Playing | undefined>(undefined);

  const stop = () => {
    const now = playing.value;
    playing.value = undefined;
    now?.publisher.stop();
    now?.fast.close();
    now?.slow.close();
  };
  const start = () => {
    stop();
    const name = channel.value.trim();
    playing.value = {
      channel: name,
      publisher: new Publisher(name, rates[publishing.value]!, sizes[size.value]!),
      fast: new Reader(name, 0, gapText),
      slow: new Reader(name, delayOf(speeds[speed.value]!), gapText),
    };
  };
  useEffect(() => stop, []);
  const now = playing.value;
  return (
    <div class="view">
      <section class="panel stack" aria-labelledby="flow-title">
        <header>
          <h2 id="flow-title">A slow reader beside a fast one</h2>
          {now
            ? <button type="button" class="danger" onClick={stop} data-testid="flow-stop">Stop</button>
            : <button type="submit" form="flow-form" class="primary" data-testid="flow-start">Start</button>}
        </header>
        <p class="about">
          This page publishes to a channel and reads it over two connections of its own. One really is slow: its thread sleeps over each
          message, so the buffers between it and the server fill, and then its queue in the server.
        </p>
        <form id="flow-form" class="fields" autoComplete="off" onSubmit={(e) => { e.preventDefault(); start(); }}>
          <Field label="Channel">
            {(id) => (
              <>
                <input id={id} required maxLength={255} spellcheck={false} list="flow-channels" disabled={!!now} value={channel.value} onInput={(e) => (channel.value = e.currentTarget.value)} data-testid="flow-channel" />
                <datalist id="flow-channels">{suggestions.map((name) => <option key={name} value={name} />)}</datalist>
              </>
            )}
          </Field>
          <Slider label="Publishing" places={rates} at={publishing.value} text={(r) => `${r}/s`} testid="flow-rate" set={(i, value) => {
            publishing.value = i;
            if (now) now.publisher.rate = value;
          }} />
          <Slider label="Message size" places={sizes} at={size.value} text={bytes} testid="flow-size" set={(i, value) => {
            size.value = i;
            if (now) now.publisher.size = value;
          }} />
          <Slider label="Slow reader" places={speeds} at={speed.value} text={speedText} testid="flow-speed" set={(i, value) => {
            speed.value = i;
            now?.slow.sleep(delayOf(value));
          }} />
        </form>
        {now && !now.slow.canStop && <p class="notice warn">This page is not served by HTTPS, so a reader keeps a processor busy in place of sleeping, and cannot stop.</p>}
      </section>
      {now && <Picture playing={now} speed={speeds[speed.value]!} />}
      <Credit />
    </div>
  );
}

function Slider({ label, places, at, text, set, testid }: {
  label: string; places: number[]; at: number; text: (value: number) => string; set: (place: number, value: number) => void; testid: string;
}) {
  const value = text(places[at]!);
  return (
    <Field label={label} value={value}>
      {(id) => <input id={id} type="range" min={0} max={places.length - 1} step={1} value={at} aria-valuetext={value} data-testid={testid}
        onInput={(e) => { const i = e.currentTarget.valueAsNumber; set(i, places[i]!); }} />}
    </Field>
  );
}

const lines: Line<Moment>[] = [
  { label: 'waiting', mark: 4, value: (m) => m.waiting, fill: true },
  { label: 'read/s', mark: 2, value: (m) => m.read },
  { label: 'lost/s', mark: 3, value: (m) => m.dropped },
];

function Picture({ playing, speed }: { playing: Playing; speed: number }) {
  const { publisher, fast, slow } = playing;
  const poll = usePoll((signal) => api.channel(playing.channel, signal), 2_000, [playing]);
  const queue = poll.data.value?.queue;
  return (
    <>
      <section class="panel stack" aria-label="The way of the messages" data-testid="flow-picture">
        <div class="source">
          <div class="stage"><h3>Publisher</h3><b>{rate(publisher.actual.value)}/s</b><span>{count(publisher.published.value)} published</span></div>
          <Policy queue={queue} />
        </div>
        {publisher.trouble.value && <p class="notice bad" role="alert">{publisher.trouble.value}</p>}
        <Lane name="Fast reader" reader={fast} queue={queue} testid="fast" />
        <Lane name="Slow reader" reader={slow} queue={queue} testid="slow" note={speed === 0 ? 'It has stopped reading.' : undefined} />
      </section>
      <div class="split">
        <Chart title="The slow reader" samples={slow.moments} lines={lines} format={count} span={60} />
        <Notes reader={slow} />
      </div>
    </>
  );
}

const policies: Record<string, string> = {
  drop_oldest: 'Beyond that the oldest go, and a gap tells how many.',
  drop_newest: 'Beyond that the newest are not taken, and a gap tells how many.',
  drop_all: 'Beyond that all that waits goes, and a gap tells how many.',
  block: 'Beyond that the reader is fed from the history once it has caught up. It loses nothing that the history keeps.',
  conflate: 'Only the newest message of each channel waits; a gap tells how many it replaced.',
  disconnect: 'Beyond that the reader is disconnected with 4008.',
};

function Policy({ queue }: { queue: Channel['queue'] }) {
  return (
    <div class="policy" data-testid="flow-policy">
      {queue
        ? <><code class="pill accent">{queue.policy}</code> <span>Up to {count(queue.messages)} messages or {bytes(queue.bytes)} wait for each connection. {policies[queue.policy]} Who loses too much over time is disconnected, whatever the policy.</span></>
        : <span>The queue is shown once a reader is there.</span>}
    </div>
  );
}

function Notes({ reader }: { reader: Reader }) {
  const items = reader.notes.items.value;
  const box = useFollowing<HTMLOListElement>(items);
  return (
    <section class="panel stack" aria-labelledby="notes-title">
      <header><h2 id="notes-title">What the slow one is told</h2><span class="about">{plural(reader.tally.value.gaps, 'gap')}</span></header>
      <ol class="log low" ref={box} tabIndex={0} aria-label="What the slow reader is told, the newest last" data-testid="flow-notes">
        {items.map((note) => <li key={note.n} class={note.kind} data-testid="flow-note"><time>{clock(note.time)}</time><span class="data">{note.text}</span></li>)}
      </ol>
      <p class="help">A gap stands in the order of the messages: it is read once those before it are.</p>
    </section>
  );
}
