// The page: connects, and hands each message to the part it concerns.

import { Connection } from './connection.js';
import { byId, clock, el, perFrame, setText } from './dom.js';
import { Feed, isReading } from './feed.js';
import { Log } from './log.js';
import { QueryPanel } from './query.js';
import { Subscriptions } from './subscriptions.js';
import { describeError, describeGap, duration, number } from './words.js';

const feedPattern = 'sensors/**';
const feedHistory = 240; // readings to begin the lines with: 30 days of 8 sensors
const mostNotices = 4;
const wireShown = 400; // characters of a message in the wire log

const counts = { in: 0, out: 0, gaps: 0, dropped: 0 };
let dropsUnknown = false;
let status = { state: 'closed', detail: {} };

const connection = new Connection(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`, {
  state: stateChanged,
  message: received,
  wire(direction, text) {
    counts[direction] += 1;
    drawCounts();
    if (byId('wire-quiet').checked && text.includes('"type":"channel_message"') && text.includes('"channel":"sensors/')) return;
    wire.add({ direction, text, time: clock() });
  },
  roundTrip: (ms) => setText(byId('rtt'), ms < 10 ? `${ms.toFixed(1)} ms` : duration(ms)),
});

const feed = new Feed();
const query = new QueryPanel(connection);
const subscriptions = new Subscriptions(connection, {
  result: (text, failed) => tell('subscribe-result', text, failed),
  epoch(epoch) {
    setText(byId('epoch'), epoch);
    feed.forgetOffsets();
  },
  replayUntil: (offset) => feed.replayUntil(offset),
  resumed({ recovered, replayed }) {
    const missed = replayed === 1 ? '1 message' : `${number(replayed)} messages`;
    if (!recovered) notice('warn', 'Back, but some of the messages sent meanwhile are gone: the history does not reach that far.', 'resume');
    else notice('good', replayed ? `Back. ${missed} sent meanwhile were replayed; nothing was lost.` : 'Back. Nothing was missed.', 'resume');
  },
});

// Connection

function stateChanged(state, detail) {
  status = { state, detail };
  drawStatus();
  setText(byId('connection-toggle'), { closed: 'Connect', waiting: 'Connect now' }[state] ?? 'Disconnect');
  byId('publish-button').disabled = state !== 'open';
  query.connectionChanged(state === 'open');
  if (state === 'open') subscriptions.opened();
  else if (state !== 'connecting') {
    subscriptions.lost();
    setText(byId('connection-id'), '–');
    setText(byId('rtt'), '–');
  }
}

function drawStatus() {
  const { state, detail } = status;
  const node = byId('status');
  node.dataset.state = state;
  const wait = Math.max(0, Math.ceil((detail.retryAt - performance.now()) / 1000));
  setText(node, {
    connecting: 'Connecting…',
    open: 'Connected',
    waiting: wait > 0 ? `Reconnecting in ${wait} s` : 'Reconnecting…',
    closed: 'Disconnected',
  }[state]);
  const code = detail.code ? ` (code ${detail.code}${detail.reason ? `: ${detail.reason}` : ''})` : '';
  setText(byId('status-detail'), detail.words ? `${detail.words}${code}` : '');
}

setInterval(() => status.state === 'waiting' && drawStatus(), 250);

byId('connection-toggle').addEventListener('click', () => {
  if (connection.state === 'open' || status.state === 'connecting') connection.close();
  else connection.open();
});

// Messages

function received(message) {
  if (query.take(message)) return;
  switch (message.type) {
    case 'welcome':
      setText(byId('connection-id'), message.connection_id ?? '–');
      subscriptions.epochIs(message.epoch);
      break;
    case 'channel_message':
      subscriptions.delivered(message.offset);
      if (isReading(message.channel)) feed.reading(message);
      if (!isReading(message.channel) || byId('messages-weather').checked) messages.add({ ...message, time: clock() });
      break;
    case 'gap':
      gap(message);
      break;
    case 'reconnect':
      notice('warn', `The server is going away${message.reason ? ` (${message.reason})` : ''}. This page comes back in ${duration(message.after_ms)}.`, 'reconnect');
      break;
    case 'error':
      notice('bad', `${message.channel ? `${message.channel}: ` : ''}${describeError(message)}`);
      break;
  }
}

function gap(message) {
  counts.gaps += 1;
  counts.dropped += message.dropped ?? 0;
  if (message.dropped == null) dropsUnknown = true;
  drawCounts();
  feed.gap(message);
  messages.add({ ...message, time: clock() });
  notice('warn', describeGap(message), 'gap');
}

const drawCounts = perFrame(() => {
  setText(byId('count-in'), number(counts.in));
  setText(byId('count-out'), number(counts.out));
  const total = `${dropsUnknown ? 'at least ' : ''}${number(counts.dropped)}`;
  setText(byId('gap-count'), counts.gaps ? `${number(counts.gaps)} (${total} missed)` : 'none');
  byId('gap-count').classList.toggle('alarm', counts.gaps > 0);
});

const messages = new Log(byId('message-log'), {
  render({ type, time, channel, data, offset, ...rest }) {
    byId('messages-none').hidden = true;
    if (type === 'gap') {
      return el('li', { class: 'gap', 'data-testid': 'gap', 'data-channel': channel },
        el('time', {}, time), el('strong', {}, 'Gap'), el('span', {}, describeGap({ channel, ...rest })));
    }
    return el('li', { 'data-testid': 'message', 'data-channel': channel },
      el('time', {}, time),
      el('code', { class: 'where', title: offset == null ? 'no offset: this channel keeps no history' : `offset ${offset}` }, channel),
      el('span', { class: 'data', 'data-testid': 'message-data' }, typeof data === 'string' ? data : JSON.stringify(data)));
  },
});

byId('messages-clear').addEventListener('click', () => messages.clear());
byId('messages-weather').addEventListener('change', drawLiveness);

// A feed of readings would drown a screen reader: the log speaks only without it.
function drawLiveness() {
  byId('message-log').setAttribute('aria-live', byId('messages-weather').checked ? 'off' : 'polite');
}

const wire = new Log(byId('wire-log'), {
  render: ({ direction, text, time }) => el('li', { 'data-testid': 'wire', 'data-direction': direction },
    el('time', {}, time),
    el('span', { class: 'direction' }, direction === 'in' ? '↓ in' : '↑ out'),
    el('code', {}, text.length > wireShown ? `${text.slice(0, wireShown)}… (${number(text.length)} characters)` : text)),
  onPaused: (paused, missed) => {
    setText(byId('wire-note'), paused ? `Paused; ${number(missed)} more since.` : '');
  },
});

byId('wire-clear').addEventListener('click', () => wire.clear());
byId('wire-pause').addEventListener('click', (event) => {
  wire.paused = !wire.paused;
  event.currentTarget.setAttribute('aria-pressed', wire.paused);
  setText(event.currentTarget, wire.paused ? 'Resume' : 'Pause');
});

// Forms

byId('subscribe-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const channel = byId('subscribe-input').value.trim();
  if (!channel) return;
  if (isReading(channel) || channel.startsWith('*')) {
    byId('messages-weather').checked = true;
    drawLiveness();
  }
  tell('subscribe-result', connection.state === 'open' ? '' : `${channel} is subscribed to as soon as the connection is back.`);
  subscriptions.add(channel, Math.max(0, Math.floor(Number(byId('subscribe-history').value) || 0)));
});

byId('publish-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const channel = byId('publish-channel').value.trim();
  const text = byId('publish-data').value;
  let data = text;
  if (byId('publish-format').value === 'json') {
    try {
      data = JSON.parse(text);
    } catch (error) {
      tell('publish-result', `That is not JSON: ${error.message}. Choose “Text” to send it as it is.`, true);
      return;
    }
  }
  connection.request({ type: 'publish', channel, data }, (answer) => {
    if (answer.type === 'error') {
      tell('publish-result', describeError(answer), true);
      return;
    }
    const offset = answer.offset == null ? '' : ` at offset ${number(answer.offset)}`;
    const heard = subscriptions.covers(channel) ? '' : ' This page is not subscribed to it, so it does not hear it.';
    tell('publish-result', `Published to ${channel}${offset}.${heard}`);
  });
});

function tell(id, text, failed = false) {
  const node = byId(id);
  setText(node, text);
  node.classList.toggle('failed', failed);
}

// notice shows text above the panels. One with a key takes the place of the one before it with that key.
function notice(kind, text, key) {
  const list = byId('notices');
  const old = key && [...list.children].find((item) => item.dataset.key === key);
  const item = el('li', { class: kind, 'data-testid': 'notice', 'data-key': key },
    el('span', {}, text),
    el('button', { type: 'button', class: 'small', 'aria-label': 'Dismiss', onclick: () => item.remove() }, '×'));
  if (old) old.replaceWith(item);
  else list.append(item);
  while (list.childElementCount > mostNotices) list.firstElementChild.remove();
  if (kind === 'good') setTimeout(() => item.remove(), 10_000);
}

drawCounts();
subscriptions.add(feedPattern, feedHistory);
connection.open();
