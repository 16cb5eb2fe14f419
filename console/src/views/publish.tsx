import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { client, describe } from '../state/client.js';
import { count } from '../ui/format.js';
import { Field } from '../ui/parts.js';

/** Publishes as a client does, under the hub's rules. */
export function Publish({ chosen }: { chosen: string }) {
  const channel = useSignal('chat/lobby');
  const text = useSignal('{\n  "text": "hello"\n}');
  const told = useSignal({ text: '', failed: false });
  const busy = useSignal(false);
  useEffect(() => {
    if (chosen !== '' && !chosen.includes('*')) channel.value = chosen;
  }, [chosen]);

  const submit = async (event: Event) => {
    event.preventDefault();
    let data: unknown;
    try {
      data = JSON.parse(text.value);
    } catch (error) {
      told.value = { text: `That is not JSON: ${(error as Error).message}. Text stands in quotes.`, failed: true };
      return;
    }
    busy.value = true;
    try {
      const published = await client().publish(channel.value.trim(), data);
      const at = published?.offset === undefined ? '; the channel keeps no history' : ` at offset ${count(published.offset)}`;
      told.value = { text: `Published to ${channel.value.trim()}${at}.`, failed: false };
    } catch (error) {
      told.value = { text: describe(error), failed: true };
    } finally {
      busy.value = false;
    }
  };
  return (
    <section class="panel stack" aria-labelledby="publish-title">
      <header><h2 id="publish-title">Publish</h2></header>
      <form class="stack" onSubmit={(e) => void submit(e)} autoComplete="off">
        <Field label="Channel">
          {(id) => <input id={id} required maxLength={255} spellcheck={false} value={channel.value} onInput={(e) => (channel.value = e.currentTarget.value)} data-testid="publish-channel" />}
        </Field>
        <Field label="Data, as JSON">
          {(id) => <textarea id={id} rows={6} required spellcheck={false} value={text.value} onInput={(e) => (text.value = e.currentTarget.value)} data-testid="publish-data" />}
        </Field>
        <div class="buttons"><button type="submit" class="primary" disabled={busy.value} data-testid="publish">Publish</button></div>
        <p class={`result${told.value.failed ? ' failed' : ''}`} role="status" data-testid="publish-result">{told.value.text}</p>
      </form>
    </section>
  );
}
