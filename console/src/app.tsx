import { useEffect, useRef } from 'preact/hooks';
import type { ComponentChild } from 'preact';
import { state, trouble } from './state/client.js';
import { route, href } from './state/route.js';
import { poll, stats } from './state/stats.js';
import { theme, type Theme } from './state/theme.js';
import { count } from './ui/format.js';
import { icons, Logo } from './ui/icons.js';
import { IdentityButton } from './ui/identity.js';
import { Overview } from './views/overview.js';
import { Connections } from './views/connections.js';
import { Channels } from './views/channels.js';
import { Streams } from './views/streams.js';
import { QueryRunner } from './views/query.js';
import { LiveQuery } from './views/live.js';
import { FlowControl } from './views/flow.js';

interface View {
  id: string;
  name: string;
  icon: ComponentChild;
  show: () => ComponentChild;
  tally?: () => number | undefined;
}

const views: View[] = [
  { id: 'overview', name: 'Overview', icon: icons.overview, show: () => <Overview /> },
  { id: 'connections', name: 'Connections', icon: icons.connections, show: () => <Connections />, tally: () => stats.value?.connections },
  { id: 'channels', name: 'Channels', icon: icons.channels, show: () => <Channels /> },
  { id: 'streams', name: 'Streams', icon: icons.streams, show: () => <Streams />, tally: () => stats.value?.streams.active },
  { id: 'query', name: 'Run a query', icon: icons.query, show: () => <QueryRunner /> },
  { id: 'live', name: 'Live query', icon: icons.live, show: () => <LiveQuery /> },
  { id: 'flow', name: 'Flow control', icon: icons.flow, show: () => <FlowControl /> },
];

export function App() {
  const view = views.find((v) => v.id === route.value.view) ?? views[0]!;
  const main = useRef<HTMLElement>(null);
  const nav = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${view.name} · neuroquantum_ws`;
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
    scrollTo(0, 0);
    // On a phone the views stand in a row. scrollIntoView would have Tab go on from there.
    const link = nav.current!.querySelector<HTMLElement>('[aria-current]');
    if (link) nav.current!.scrollLeft = link.offsetLeft - nav.current!.offsetLeft - 60;
  }, [view.id]);
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <div class="side">
        <div class="brand"><Logo /><span>neuroquantum_ws<small>{stats.value ? `hub ${stats.value.hub}` : 'console'}</small></span></div>
        <nav class="nav" aria-label="Views" ref={nav}>
          {views.map((v) => {
            const tally = v.tally?.();
            return (
              <a key={v.id} href={href(v.id)} aria-current={v === view ? 'page' : undefined}>
                {v.icon}{v.name}{tally !== undefined && <span class="tally" aria-hidden="true">{count(tally)}</span>}
              </a>
            );
          })}
        </nav>
        <p class="foot">
          <a href="api/openapi.json">API</a>
          <a href={licences}>Licences</a>
        </p>
      </div>
      <header class="top">
        <h1>{view.name}</h1>
        <Server />
        <IdentityButton />
        <ThemeButton />
      </header>
      <main id="main" ref={main} tabIndex={-1} key={view.id}>
        <Trouble />
        {view.show()}
      </main>
    </div>
  );
}

/** Why the page's own connection is not there, where a view wanted it. */
function Trouble() {
  const gone = state.value === 'waiting' || state.value === 'closed';
  return gone && trouble.value ? <p class="notice warn trouble" role="status" data-testid="trouble">{trouble.value}</p> : null;
}

const licences = document.querySelector<HTMLLinkElement>('link[rel=license]')?.getAttribute('href') ?? '#';

/** Whether the server answers. */
function Server() {
  const error = poll.error.value;
  return (
    <span class={`pill dot ${error ? 'bad' : stats.value ? 'good' : ''}`} role="status" data-testid="server" title={error}>
      {error ? error : stats.value ? 'Server answers' : 'Asking the server…'}
    </span>
  );
}

const next: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
const names: Record<Theme, string> = { system: 'as the system', light: 'light', dark: 'dark' };

function ThemeButton() {
  const now = theme.value;
  return (
    <button type="button" class="theme" onClick={() => (theme.value = next[now])} data-testid="theme"
      aria-label={`Colours: ${names[now]}. Change to ${names[next[now]]}.`} title={`Colours: ${names[now]}`}>
      {icons[now]}
    </button>
  );
}
