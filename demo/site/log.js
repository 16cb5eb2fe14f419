// A list on the page that keeps the last entries, follows its end, and can be paused.

import { perFrame } from './dom.js';

export class Log {
  #list;
  #render;
  #limit;
  #waiting = []; // entries not on the page yet
  #paused = false;
  #missed = 0; // entries since the pause
  #onPaused;
  #flushSoon = perFrame(() => this.#flush());

  // render makes the node for an entry; onPaused is told how many entries came since the pause.
  constructor(list, { render, limit = 200, onPaused = () => {} }) {
    this.#list = list;
    this.#render = render;
    this.#limit = limit;
    this.#onPaused = onPaused;
  }

  add(entry) {
    this.#waiting.push(entry);
    if (this.#waiting.length > this.#limit) this.#waiting.shift();
    if (this.#paused) this.#missed += 1;
    this.#flushSoon();
  }

  get paused() {
    return this.#paused;
  }

  set paused(paused) {
    this.#paused = paused;
    this.#missed = 0;
    this.#flushSoon();
  }

  clear() {
    this.#waiting = [];
    this.#missed = 0;
    this.#list.replaceChildren();
    this.#flushSoon();
  }

  #flush() {
    this.#onPaused(this.#paused, this.#missed);
    if (this.#paused || this.#waiting.length === 0) return;
    const list = this.#list;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...this.#waiting.splice(0).map(this.#render));
    while (list.childElementCount > this.#limit) list.firstElementChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }
}
