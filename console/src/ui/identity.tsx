import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { connectAs, identity, state, trouble, welcome } from '../state/client.js';
import type { Identity } from '../state/identity.js';
import { Dialog } from './dialog.js';

const states = { idle: 'not connected', connecting: 'connecting…', open: 'connected', waiting: 'reconnecting…', closed: 'disconnected' };

/** Who the page's client is and whether it is connected; opens the choice of another identity. */
export function IdentityButton() {
  const dialog = useRef<HTMLDialogElement>(null);
  const user = state.value === 'open' ? welcome.value?.user : undefined;
  const tone = state.value === 'open' ? 'good' : state.value === 'closed' ? 'bad' : '';
  return (
    <>
      <button type="button" onClick={() => dialog.current?.showModal()} data-testid="identity" title={trouble.value}>
        <span class={`pill dot ${tone}`} data-testid="client-state">{states[state.value]}</span>
        {state.value === 'open' ? user ?? 'anonymous' : 'Connect as…'}
      </button>
      <Dialog title="Connect as" dialog={dialog}><Choice done={() => dialog.current?.close()} /></Dialog>
    </>
  );
}

function Choice({ done }: { done: () => void }) {
  const kind = useSignal<Identity['kind']>(identity.value.kind);
  const token = useSignal('');
  const user = useSignal('');
  const roles = useSignal('');
  const submit = (event: Event) => {
    event.preventDefault();
    const list = roles.value.split(/[\s,]+/).filter((role) => role !== '');
    if (kind.value === 'token') connectAs({ kind: 'token', token: token.value.trim() });
    else if (kind.value === 'ticket') connectAs({ kind: 'ticket', user: user.value.trim(), roles: list });
    else connectAs({ kind: 'site' });
    token.value = '';
    done();
  };
  const option = (value: Identity['kind'], text: string) => (
    <label class="check"><input type="radio" name="identity" checked={kind.value === value} onChange={() => (kind.value = value)} /> {text}</label>
  );
  return (
    <form class="stack" onSubmit={submit} autoComplete="off">
      <p class="about">The tail, publishing, queries and flow control go over a WebSocket, under the rules of the hub. Choose whom it comes as.</p>
      <fieldset class="stack">
        <legend class="visually-hidden">Identity</legend>
        {option('site', 'As the site sees this browser')}
        {option('ticket', 'As a user of my choice, by a ticket of the API')}
        {option('token', 'With a token (JWT)')}
      </fieldset>
      {kind.value === 'token' && (
        <div class="field">
          <label for="identity-token">Token</label>
          <textarea id="identity-token" rows={3} required value={token.value} spellcheck={false} onInput={(e) => (token.value = e.currentTarget.value)} />
          <p class="help">It is kept until the page is closed, and sent to this site alone.</p>
        </div>
      )}
      {kind.value === 'ticket' && (
        <div class="fields">
          <div class="field">
            <label for="identity-user">User</label>
            <input id="identity-user" required maxLength={256} value={user.value} onInput={(e) => (user.value = e.currentTarget.value)} />
          </div>
          <div class="field">
            <label for="identity-roles">Roles</label>
            <input id="identity-roles" placeholder="analyst, operator" value={roles.value} onInput={(e) => (roles.value = e.currentTarget.value)} />
          </div>
        </div>
      )}
      {trouble.value && <p class="notice bad">{trouble.value}</p>}
      <div class="buttons">
        <button type="button" onClick={done}>Cancel</button>
        <button type="submit" class="primary" data-testid="identity-connect">Connect</button>
      </div>
    </form>
  );
}
