// The channels this page wants, kept across connections: after a loss one {epoch, offset} brings back what was missed.

import { byId, el } from './dom.js';
import { describeError } from './words.js';

const stateWords = { pending: 'asking', active: 'active', leaving: 'leaving', offline: 'waiting for the connection' };
// Errors after which the subscription itself may still be had, only without what came before.
const withoutHistory = new Set(['HISTORY_UNAVAILABLE', 'LIMIT_EXCEEDED', 'FORBIDDEN']);

export class Subscriptions {
  #connection;
  #on;
  #channels = new Map(); // pattern -> { state, history }
  #epoch = null;
  #newest = null; // { epoch, offset } of the newest message that came

  // on: { result(text, failed), resumed({ recovered, replayed }), epoch(epoch), replayUntil(offset) }
  constructor(connection, on) {
    this.#connection = connection;
    this.#on = on;
  }

  // add subscribes to channel and asks for the last `history` messages where it is not 0.
  add(channel, history = 0) {
    if (!this.#channels.has(channel)) this.#channels.set(channel, { state: 'offline', history });
    if (this.#connection.state === 'open') this.#subscribe(channel, history);
    this.#draw();
  }

  remove(channel) {
    const entry = this.#channels.get(channel);
    if (!entry) return;
    if (this.#connection.state !== 'open') {
      this.#channels.delete(channel);
      this.#draw();
      return;
    }
    entry.state = 'leaving';
    this.#draw();
    this.#connection.request({ type: 'unsubscribe', channel }, (answer) => {
      if (answer.type === 'error') {
        if (answer.code === 'CONNECTION_LOST') this.#channels.delete(channel);
        else {
          entry.state = 'active';
          this.#on.result(describeError(answer), true);
        }
      } else {
        this.#channels.delete(channel);
        this.#on.result(`Unsubscribed from ${channel}.`);
      }
      this.#draw();
    });
  }

  covers(channel) {
    return [...this.#channels.keys()].some((pattern) => matches(pattern, channel));
  }

  // opened subscribes again to all that is wanted, from where the last connection broke off.
  opened() {
    const channels = [...this.#channels.keys()];
    if (channels.length === 0) return;
    if (this.#newest) this.#resume(channels, this.#newest);
    else for (const channel of channels) this.#subscribe(channel, this.#channels.get(channel).history);
    this.#draw();
  }

  lost() {
    for (const entry of this.#channels.values()) entry.state = 'offline';
    this.#draw();
  }

  epochIs(epoch) {
    if (!epoch || epoch === this.#epoch) return;
    this.#epoch = epoch;
    if (this.#newest?.epoch !== epoch) this.#newest = null;
    this.#on.epoch(epoch);
  }

  delivered(offset) {
    if (offset == null || !this.#epoch) return;
    if (!this.#newest || offset > this.#newest.offset) this.#newest = { epoch: this.#epoch, offset };
  }

  #subscribe(channel, history) {
    this.#set(channel, 'pending');
    const message = { type: 'subscribe', channel };
    if (history > 0) message.history = history;
    this.#connection.request(message, (answer) => {
      if (answer.type === 'subscription_confirmed') {
        this.#confirmed(answer);
        this.#on.result(`Subscribed to ${channel}.`);
      } else if (answer.type === 'error' && answer.code !== 'CONNECTION_LOST') {
        if (history > 0 && withoutHistory.has(answer.code)) this.#subscribe(channel, 0);
        else this.#refused(channel, answer);
      }
    });
  }

  #resume(channels, since) {
    let recovered = true;
    let replayed = 0;
    let due = channels.length;
    for (const channel of channels) this.#set(channel, 'pending');
    this.#connection.request({ type: 'subscribe', channels, since }, (answer) => {
      if (answer.code === 'CONNECTION_LOST') return;
      const concerned = answer.channel ? [answer.channel] : channels;
      due -= concerned.length;
      if (answer.type === 'subscription_confirmed') {
        this.#confirmed(answer);
        if (answer.recovered === false) recovered = false;
        replayed += answer.replayed ?? 0;
      } else if (answer.type === 'error') {
        for (const channel of concerned) {
          if (withoutHistory.has(answer.code)) this.#subscribe(channel, 0);
          else this.#refused(channel, answer);
        }
      }
      if (due <= 0) this.#on.resumed({ recovered, replayed });
    }, channels.length);
  }

  #confirmed({ channel, epoch, offset }) {
    this.epochIs(epoch);
    if (offset != null) this.#on.replayUntil(offset);
    this.#set(channel, 'active');
  }

  #refused(channel, error) {
    this.#channels.delete(channel);
    this.#on.result(`${channel}: ${describeError(error)}`, true);
    this.#draw();
  }

  #set(channel, state) {
    const entry = this.#channels.get(channel);
    if (entry) entry.state = state;
    this.#draw();
  }

  #draw() {
    const list = byId('subscription-list');
    const focused = document.activeElement?.dataset?.channel;
    list.replaceChildren(...[...this.#channels].map(([channel, { state }]) =>
      el('li', { 'data-testid': 'subscription', 'data-channel': channel, 'data-state': state },
        el('code', {}, channel),
        el('span', { class: 'state' }, stateWords[state]),
        el('button', {
          type: 'button', class: 'small', 'data-testid': 'unsubscribe', 'data-channel': channel,
          'aria-label': `Unsubscribe from ${channel}`, disabled: state === 'leaving', onclick: () => this.remove(channel),
        }, 'Unsubscribe'))));
    byId('subscriptions-none').hidden = this.#channels.size > 0;
    if (focused) list.querySelector(`button[data-channel="${CSS.escape(focused)}"]`)?.focus();
  }
}

// matches follows the protocol's rules: the separator is `/` where the name holds one, else `.`; `*` is one segment, `**` any
// number of them; one segment alone fits either separator.
export function matches(pattern, name) {
  const [p, ps] = split(pattern);
  const [n, ns] = split(name);
  if (ps && ns && ps !== ns) return false;
  // reach[j]: the pattern's segments so far can stand for the first j segments of the name.
  let reach = [true, ...n.map(() => false)];
  for (const segment of p) {
    const next = reach.map(() => false);
    for (let j = 0; j <= n.length; j++) {
      if (segment === '**') next[j] = reach[j] || (j > 0 && next[j - 1]);
      else next[j] = j > 0 && reach[j - 1] && (segment === '*' || segment === n[j - 1]);
    }
    reach = next;
  }
  return reach[n.length];
}

function split(name) {
  const separator = name.includes('/') ? '/' : name.includes('.') ? '.' : '';
  return [separator ? name.split(separator) : [name], separator];
}
