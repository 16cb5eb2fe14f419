// One WebSocket that comes back by itself: requests with ids, round-trip, reconnection as the server asks for it.

import { closeRule } from './words.js';

const subprotocol = 'neuroquantum.v1';
const firstDelay = 500; // ms; doubles with every failed attempt
const longestDelay = 30_000;
const steadyAfter = 10_000; // ms open until failures before it are forgotten
const firstPing = 500; // ms after opening, when the first rush is over and a round trip says something
const pingEvery = 5_000;
const deadAfter = 15_000; // ms after a ping without any frame since

// States: connecting, open, waiting (will come back at retryAt), closed (will not).
export class Connection {
  state = 'closed';
  #url;
  #on;
  #socket = null;
  #pending = new Map(); // request id -> { answers still due, handler }
  #nextID = 1;
  #failures = 0;
  #askedDelay = null; // ms, from a `reconnect` message
  #timers = {};
  #lastHeard = 0;

  // on: { state(state, detail), message(msg), wire(direction, text), roundTrip(ms) }
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    addEventListener('online', () => this.state === 'waiting' && this.open());
  }

  open() {
    if (this.#socket) return;
    this.#stopTimers();
    this.#setState('connecting', {});
    const socket = new WebSocket(this.#url, [subprotocol]);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#closed(event.code, event.reason);
  }

  // close leaves for good, until open is called.
  close() {
    const socket = this.#socket;
    this.#drop();
    socket?.close(1000);
    this.#failures = 0;
    this.#askedDelay = null;
    this.#setState('closed', { words: 'You disconnected.', byUser: true });
  }

  send(message) {
    if (this.state !== 'open') return false;
    const text = JSON.stringify(message);
    this.#socket.send(text);
    this.#on.wire('out', text);
    return true;
  }

  // request sends message with an id and calls handler with each answer that bears it, until `answers` have come, an error
  // ends it, or the connection is lost (told as an error of our own, CONNECTION_LOST).
  request(message, handler, answers = 1) {
    const id = this.#nextID++;
    if (this.state !== 'open') {
      handler({ type: 'error', code: 'CONNECTION_LOST' });
      return;
    }
    this.#pending.set(id, { answers, handler });
    this.send({ ...message, id });
  }

  #opened() {
    this.#lastHeard = performance.now();
    this.#setState('open', {});
    this.#timers.steady = setTimeout(() => { this.#failures = 0; }, steadyAfter);
    this.#timers.ping = setInterval(() => this.#ping(), pingEvery);
    this.#timers.firstPing = setTimeout(() => this.#ping(), firstPing);
  }

  #received(text) {
    this.#lastHeard = performance.now();
    this.#on.wire('in', text);
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return; // the wire log shows it
    }
    if (message === null || typeof message !== 'object') return;
    switch (message.type) {
      case 'ping':
        this.send({ type: 'pong', timestamp: message.timestamp });
        break;
      case 'reconnect':
        this.#askedDelay = Math.max(0, Number(message.after_ms) || 0);
        break;
    }
    if (!this.#answered(message)) this.#on.message(message);
  }

  // answered hands message to the request it answers; it says whether there was one.
  #answered(message) {
    const waiting = message.id == null ? undefined : this.#pending.get(message.id);
    if (!waiting) return false;
    waiting.answers -= 1;
    const endsAll = message.type === 'error' && !message.channel;
    if (waiting.answers <= 0 || endsAll) this.#pending.delete(message.id);
    waiting.handler(message);
    return true;
  }

  #ping() {
    const sent = performance.now();
    this.request({ type: 'ping', timestamp: new Date().toISOString() }, (answer) => {
      if (answer.type === 'pong') this.#on.roundTrip(performance.now() - sent);
    });
    // Any frame since the ping is a sign of life, whether the pong has come or not. One ping is watched at a time: a later
    // one must not put the timer off, so a dead server is noticed after 15 to 35 s.
    this.#timers.dead ??= setTimeout(() => {
      this.#timers.dead = undefined;
      if (this.#lastHeard >= sent) return;
      const socket = this.#socket;
      this.#closed(1006, 'no answer to ping');
      socket?.close();
    }, deadAfter);
  }

  #closed(code, reason) {
    this.#drop();
    const rule = closeRule(code);
    const detail = { code, reason, words: rule.words };
    if (rule.retry === false || (rule.retry === 'told' && this.#askedDelay === null)) {
      this.#setState('closed', detail);
      return;
    }
    const delay = this.#delay();
    this.#timers.retry = setTimeout(() => this.open(), delay);
    this.#setState('waiting', { ...detail, retryAt: performance.now() + delay });
  }

  // delay is what the server asked for, once; otherwise full jitter: anything from nothing to a ceiling that doubles.
  #delay() {
    const asked = this.#askedDelay;
    this.#askedDelay = null;
    if (asked !== null) return asked;
    const ceiling = Math.min(longestDelay, firstDelay * 2 ** this.#failures);
    this.#failures += 1;
    return Math.random() * ceiling;
  }

  #drop() {
    this.#stopTimers();
    const socket = this.#socket;
    this.#socket = null;
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    const lost = [...this.#pending.values()];
    this.#pending.clear();
    this.state = 'closed';
    for (const { handler } of lost) handler({ type: 'error', code: 'CONNECTION_LOST' });
  }

  #stopTimers() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
  }

  #setState(state, detail) {
    this.state = state;
    this.#on.state(state, detail);
  }
}
