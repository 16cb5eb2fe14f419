// The live cards: one for each channel sensors/<city>/<measure>, with its newest value and what came before as a line.

import { byId, el, perFrame, setText } from './dom.js';
import { number } from './words.js';

const prefix = 'sensors/';
const cities = ['seattle', 'new-york'];
const measures = {
  temp_max: { title: 'High', unit: '°C' },
  temp_min: { title: 'Low', unit: '°C' },
  precipitation: { title: 'Precipitation', unit: 'mm', fromZero: true, bars: true },
  wind: { title: 'Wind', unit: 'm/s', fromZero: true },
};
const mostCards = 40;
const points = 60;
const [width, height] = [120, 36];
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' });
const shown = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const sensors = cities.flatMap((city) => Object.keys(measures).map((measure) => `${city}/${measure}`));

export const isReading = (channel) => typeof channel === 'string' && channel.startsWith(prefix);

class Card {
  values = [];
  newest = null; // the last message's data
  offset = -1;
  missed = 0;
  #meta;
  #value = el('span', { class: 'number', 'data-testid': 'card-value' }, '–');
  #unit;
  #line = svg('path', { class: 'line' });
  #area = svg('path', { class: 'area' });
  #range = el('p', { class: 'range' }, ' ');
  #missed = el('span', { class: 'missed', hidden: true });

  constructor(channel) {
    const measure = channel.split('/').at(-1);
    this.#meta = measures[measure] ?? { title: measure, unit: '' };
    this.#unit = el('span', { class: 'unit' }, this.#meta.unit);
    const spark = svg('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    spark.append(this.#area, this.#line);
    this.node = el('article', { class: 'card', 'data-testid': 'card', 'data-channel': channel, 'data-measure': measure },
      el('header', {}, el('h4', {}, this.#meta.title), this.#missed),
      el('p', { class: 'value' }, this.#value, ' ', this.#unit),
      spark,
      this.#range,
      el('p', { class: 'channel' }, ...channel.split('/').flatMap((part, i) => (i ? ['/', el('wbr'), part] : [part]))));
  }

  add(data) {
    this.newest = data;
    this.values.push(data.value);
    if (this.values.length > points) this.values.shift();
  }

  draw() {
    setText(this.#missed, `${number(this.missed)} missed`);
    this.#missed.hidden = this.missed === 0;
    if (!this.newest) return;
    setText(this.#value, shown.format(this.newest.value));
    setText(this.#unit, this.newest.unit ?? this.#meta.unit);
    this.#drawLine();
  }

  #drawLine() {
    const low = Math.min(...this.values);
    const high = Math.max(...this.values);
    setText(this.#range, `${shown.format(low)} to ${shown.format(high)} in ${this.values.length} days`);

    const floor = this.#meta.fromZero ? Math.min(0, low) : low;
    const span = high - floor || 1;
    const x = (i) => (width * (points - this.values.length + i + 0.5) / points).toFixed(2);
    const y = (value) => (height - 2 - (height - 5) * (value - floor) / span).toFixed(2);
    if (this.#meta.bars) {
      this.#line.setAttribute('d', this.values.map((v, i) => `M${x(i)} ${height}V${y(v)}`).join(''));
      this.#line.classList.add('bars');
      return;
    }
    const path = this.values.map((v, i) => `${i ? 'L' : 'M'}${x(i)} ${y(v)}`).join('');
    this.#line.setAttribute('d', path);
    this.#area.setAttribute('d', `${path}L${x(this.values.length - 1)} ${height}L${x(0)} ${height}Z`);
  }
}

function svg(tag, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

export class Feed {
  #cards = new Map();
  #groups = new Map();
  #dirty = new Set();
  #arrivals = []; // times, ms, of the last three seconds' readings
  #newestAt = null;
  #replayUntil = -1; // readings up to this offset are a replay, which says nothing of the feed's rate
  #drawSoon = perFrame(() => this.#draw());

  constructor() {
    for (const sensor of sensors) this.#card(prefix + sensor);
    setInterval(() => this.#drawRate(), 1000);
  }

  // reading takes a channel_message of a sensor; a message that it had before is passed over.
  reading({ channel, data, offset }) {
    if (data === null || typeof data !== 'object' || typeof data.value !== 'number') return;
    const card = this.#card(channel);
    if (!card || (offset != null && offset <= card.offset)) return;
    card.offset = offset ?? card.offset;
    card.add(data);
    if (offset == null || offset > this.#replayUntil) this.#arrivals.push(performance.now());
    if (typeof data.at === 'string') this.#newestAt = data.at;
    this.#dirty.add(card);
    this.#drawSoon();
  }

  gap({ channel, dropped }) {
    const card = this.#cards.get(channel);
    if (!card) return;
    card.missed += dropped ?? 1;
    this.#dirty.add(card);
    this.#drawSoon();
  }

  replayUntil(offset) {
    this.#replayUntil = offset;
  }

  // forgetOffsets is for a new epoch, in which offsets count from elsewhere.
  forgetOffsets() {
    for (const card of this.#cards.values()) card.offset = -1;
    this.#replayUntil = -1;
  }

  #card(channel) {
    const known = this.#cards.get(channel);
    if (known) return known;
    if (this.#cards.size >= mostCards) return null;
    const card = new Card(channel);
    this.#cards.set(channel, card);
    this.#group(channel.split('/').slice(1, -1).join('/') || 'Other').append(card.node);
    return card;
  }

  #group(city) {
    let cards = this.#groups.get(city);
    if (!cards) {
      cards = el('div', { class: 'cards' });
      this.#groups.set(city, cards);
      const name = city.split('-').map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(' ');
      byId('feed-cards').append(el('section', { class: 'city' }, el('h3', {}, name), cards));
    }
    return cards;
  }

  #draw() {
    for (const card of this.#dirty) card.draw();
    this.#dirty.clear();
    if (this.#newestAt) {
      const at = new Date(this.#newestAt);
      setText(byId('feed-date'), Number.isNaN(at.getTime()) ? this.#newestAt : day.format(at));
    }
  }

  #drawRate() {
    const now = performance.now();
    this.#arrivals = this.#arrivals.filter((t) => now - t < 3000);
    const rate = this.#arrivals.length / 3;
    setText(byId('feed-rate'), `${rate >= 10 || rate === 0 ? Math.round(rate) : rate.toFixed(1)} readings a second`);
  }
}
