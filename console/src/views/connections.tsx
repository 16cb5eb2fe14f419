import { useSignal, type Signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { api, type Connection } from '../state/api.js';
import { welcome } from '../state/client.js';
import { usePoll } from '../state/poll.js';
import { href, replaceArgs, route } from '../state/route.js';
import { Dialog } from '../ui/dialog.js';
import { ago, brief, bytes, clock, count, percent, since } from '../ui/format.js';
import { Field, Pill } from '../ui/parts.js';

const every = 2_000;

export function Connections() {
  const user = useSignal('');
  const cursors = useSignal<string[]>([]); // of the pages behind the first, up to the one that is shown
  const cursor = cursors.value.at(-1);
  const list = usePoll((signal) => api.connections(user.value, cursor, signal), every, [user.value, cursor]);
  const chosen = route.value.args.get('id') ?? undefined;
  const page = list.data.value;
  return (
    <div class="view">
      {chosen && <Detail id={chosen} key={chosen} />}
      <section class="panel" aria-labelledby="list-title">
        <header>
          <h2 id="list-title">Open connections</h2>
          <Field label="Only of user" beside>
            {(id) => <input id={id} type="search" value={user.value} onInput={(e) => { user.value = e.currentTarget.value; cursors.value = []; }} />}
          </Field>
        </header>
        {list.error.value && <p class="notice bad" role="alert">{list.error.value}</p>}
        {page && (page.entries.length === 0 ? <p class="empty">Nobody is here.</p> : <Table connections={page.entries} chosen={chosen} refresh={list.refresh} />)}
        <Pager cursors={cursors} next={page?.cursor} />
      </section>
    </div>
  );
}

export function Pager({ cursors, next }: { cursors: Signal<string[]>; next: string | undefined }) {
  if (cursors.value.length === 0 && next === undefined) return null;
  return (
    <div class="pager">
      <button type="button" class="small" disabled={cursors.value.length === 0} onClick={() => (cursors.value = cursors.value.slice(0, -1))}>Back</button>
      <span>Page {cursors.value.length + 1}</span>
      <button type="button" class="small" disabled={next === undefined} onClick={() => (cursors.value = [...cursors.value, next!])}>Next</button>
    </div>
  );
}

function Table({ connections, chosen, refresh }: { connections: Connection[]; chosen: string | undefined; refresh: () => void }) {
  return (
    <div class="scroll">
      <table data-testid="connections">
        <thead>
          <tr>
            <th scope="col">Connection</th><th scope="col">User</th><th scope="col">Address</th><th scope="col">For</th>
            <th scope="col" class="numeric">Subscriptions</th><th scope="col" class="numeric">Sent</th><th scope="col" class="numeric">Dropped</th>
            <th scope="col" class="numeric">Waiting</th><th scope="col" class="act"><span class="visually-hidden">Actions</span></th>
          </tr>
        </thead>
        <tbody>
          {connections.map((c) => (
            <tr key={c.id} class={c.id === chosen ? 'chosen' : ''} data-testid="connection" data-id={c.id}>
              <td>
                <button type="button" class="link" onClick={() => replaceArgs(c.id === chosen ? {} : { id: c.id })} aria-expanded={c.id === chosen}
                  aria-label={`Details of connection ${brief(c.id)}`}>{brief(c.id)}</button>
                {c.id === welcome.value?.connectionId && <> <Pill tone="accent">this page</Pill></>}
              </td>
              <td class="narrow">{c.user ?? <span class="about">anonymous</span>}</td>
              <td><code>{c.address}</code></td>
              <td>{since(c.connected_at)}{c.close_code !== undefined && <> <Pill tone="bad">closing, {c.close_code}</Pill></>}</td>
              <td class="numeric">{count(c.subscriptions)}</td>
              <td class="numeric">{count(c.messages_sent)}</td>
              <td class="numeric">{c.messages_dropped > 0 ? <Pill tone="warn">{count(c.messages_dropped)} · {percent(c.messages_dropped / c.messages_offered)}</Pill> : '0'}</td>
              <td class="numeric">{c.messages_queued > 0 ? `${count(c.messages_queued)} · ${bytes(c.bytes_queued)}` : '0'}</td>
              <td class="act"><Disconnect connection={c} done={refresh} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Asks before it closes a connection. */
export function Disconnect({ connection, done }: { connection: Connection; done: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const back = useSignal(false);
  const failed = useSignal<string | undefined>(undefined);
  const close = async () => {
    try {
      await api.disconnect(connection.id, back.value ? 1000 : undefined);
      dialog.current?.close();
      done();
    } catch (error) {
      failed.value = (error as Error).message;
    }
  };
  return (
    <>
      <button type="button" class="small danger" onClick={() => { failed.value = undefined; dialog.current?.showModal(); }} data-testid="disconnect"
        aria-label={`Disconnect ${brief(connection.id)}`}>Disconnect</button>
      <Dialog title={`Disconnect ${brief(connection.id)}?`} dialog={dialog}>
        <p>{connection.user ? <>The connection of <b>{connection.user}</b></> : 'This anonymous connection'} from <code>{connection.address}</code> is closed with 4100. What waits for it is dropped.</p>
        <label class="check"><input type="checkbox" checked={back.value} onChange={(e) => (back.value = e.currentTarget.checked)} /> Ask its client to come back after a second</label>
        {failed.value && <p class="notice bad" role="alert">{failed.value}</p>}
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>Keep it</button>
          <button type="button" class="danger" onClick={() => void close()} data-testid="disconnect-confirm">Disconnect</button>
        </div>
      </Dialog>
    </>
  );
}

function Detail({ id }: { id: string }) {
  const poll = usePoll((signal) => api.connection(id, signal), 1_000, [id]);
  const c = poll.data.value;
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    box.current!.scrollIntoView({ block: 'nearest' });
    box.current!.focus({ preventScroll: true });
  }, []);
  return (
    <section class="panel stack" aria-labelledby="detail-title" data-testid="connection-detail" ref={box} tabIndex={-1}>
      <header>
        <h2 id="detail-title">Connection <code>{brief(id)}</code></h2>
        <button type="button" class="small" onClick={() => replaceArgs({})}>Close</button>
      </header>
      {poll.error.value && <p class="notice warn" role="status">{poll.gone ? 'This connection has ended.' : poll.error.value}</p>}
      {c && (
        <div class="pair">
          <dl class="facts">
            <div class="wide"><dt>Id</dt><dd><code>{c.id}</code></dd></div>
            <div><dt>User</dt><dd>{c.user ?? 'anonymous'}</dd></div>
            <div><dt>Address</dt><dd>{c.address}</dd></div>
            <div><dt>Since</dt><dd>{clock(c.connected_at)}</dd></div>
            <div><dt>Last heard</dt><dd>{ago(c.last_activity)}</dd></div>
            <div><dt>Sent</dt><dd>{count(c.messages_sent)} · {bytes(c.bytes_sent)}</dd></div>
            <div><dt>Received</dt><dd>{count(c.messages_received)} · {bytes(c.bytes_received)}</dd></div>
            <div><dt>Due</dt><dd>{count(c.messages_offered)}</dd></div>
            <div><dt>Dropped</dt><dd>{count(c.messages_dropped)}</dd></div>
            <div><dt>Conflated</dt><dd>{count(c.messages_conflated)}</dd></div>
            <div><dt>Waiting</dt><dd>{count(c.messages_queued)} · {bytes(c.bytes_queued)}</dd></div>
            <div class="wide"><dt>User agent</dt><dd>{c.user_agent ?? '–'}</dd></div>
            {Object.entries(c.metadata ?? {}).filter(([, value]) => value !== '').map(([name, value]) => (
              <div key={name} class="wide"><dt>{name}</dt><dd>{value}</dd></div>
            ))}
          </dl>
          <div class="stack">
            <h3>Subscriptions</h3>
            {c.channels?.length ? (
              <ul class="stack">{c.channels.map((name) => <li key={name}><a href={href('channels', { tail: name })}><code>{name}</code></a></li>)}</ul>
            ) : <p class="about">None.</p>}
            <h3>Streams and watches</h3>
            {c.streams?.length ? <ul class="stack">{c.streams.map((s) => <li key={s}><a href={href('streams')}><code>{s}</code></a></li>)}</ul> : <p class="about">None.</p>}
          </div>
        </div>
      )}
    </section>
  );
}
