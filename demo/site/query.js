// The query panel: one streamed query at a time, from run to its ending.

import { byId, el, perFrame, setText } from './dom.js';
import { sensors } from './feed.js';
import { describeError, duration, number } from './words.js';

const mostRows = 200; // drawn; all are counted
const numeric = /int|real|num|float|double|dec/i; // column types
const states = {
  idle: 'Ready', starting: 'Starting', streaming: 'Streaming', throttled: 'Throttled', paused: 'Paused',
  cancelling: 'Cancelling', completed: 'Completed', cancelled: 'Cancelled', failed: 'Failed', interrupted: 'Interrupted',
};

export class QueryPanel {
  #connection;
  #run = null; // the query that runs
  #last = null; // the one shown: running or ended
  #drawSoon = perFrame(() => this.#draw());

  constructor(connection) {
    this.#connection = connection;
    byId('query-sensor').append(...sensors.map((sensor) => el('option', { value: sensor }, sensor)));
    byId('query-sensor').value = 'seattle/temp_max';
    byId('query-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#start();
    });
    byId('query-cancel').addEventListener('click', () => this.#cancel());
    byId('query-name').addEventListener('change', () => this.#drawForm());
    setInterval(() => this.#run && this.#drawSoon(), 250);
    this.#drawForm();
  }

  // take handles the messages of streams; it says whether message was one of the stream shown.
  take(message) {
    const run = this.#last;
    if (!run || message.stream_id == null || message.stream_id !== run.streamID) return false;
    // Credit that crosses the ending on its way is for a stream that is no more: nothing to tell.
    if (run !== this.#run) return message.type !== 'error' || message.code === 'INVALID_STREAM_ID';
    switch (message.type) {
      case 'query_batch':
        this.#batch(run, message);
        break;
      case 'query_progress':
        Object.assign(run, { progress: message, state: run.cancelling ? 'cancelling' : message.state ?? 'streaming' });
        break;
      case 'query_completed':
        this.#end(run, 'completed', completedWords(run, message));
        break;
      case 'query_cancelled':
        this.#end(run, 'cancelled', cancelledWords(run, message));
        break;
      case 'error':
        if (message.code === 'CANCEL_FAILED') return false;
        this.#end(run, 'failed', describeError(message));
        break;
      default:
        return false;
    }
    this.#drawSoon();
    return true;
  }

  connectionChanged(open) {
    if (!open && this.#run) {
      this.#end(this.#run, 'interrupted', `Interrupted: the connection was lost after ${rowsWords(this.#run.rows)}.`);
    }
    this.#drawForm();
  }

  #start() {
    if (this.#run) return;
    const query = byId('query-name').value;
    const batchSize = Number(byId('query-batch').value) || undefined;
    const pace = Number(byId('query-pace').value);
    const run = {
      state: 'starting', streamID: null, columns: [], rows: 0, batches: 0, drawn: 0, more: true, progress: null,
      estimate: null, started: performance.now(), ended: null, percent: 0, waiting: [], cancelling: false, pacer: null, words: '',
    };
    this.#run = this.#last = run;
    byId('query-head').replaceChildren();
    byId('query-body').replaceChildren();

    const message = { type: 'stream_query', query, params: query === 'readings' ? { sensor: byId('query-sensor').value } : {} };
    if (batchSize) message.batch_size = batchSize;
    // With a pace the page grants credit for so many batches a second; without, the transport's back-pressure rules alone.
    const every = Math.max(100, 1000 / pace);
    const grant = Math.max(1, Math.round(pace * every / 1000));
    if (pace) message.credits = grant;
    this.#connection.request(message, (answer) => {
      if (run !== this.#run) return;
      if (answer.type !== 'query_started') {
        if (answer.type === 'error') this.#end(run, 'failed', describeError(answer));
        return;
      }
      this.#started(run, answer);
      if (pace) run.pacer = setInterval(() => this.#grant(run, grant), every);
    });
    this.#drawForm();
    this.#drawSoon();
  }

  #started(run, { stream_id: streamID, columns, estimated_rows: estimate }) {
    Object.assign(run, { streamID, estimate: estimate ?? null, columns: Array.isArray(columns) ? columns : [], state: 'streaming' });
    this.#drawHead(run);
    if (run.cancelling) this.#sendCancel(run);
    this.#drawSoon();
  }

  #grant(run, batches) {
    if (run === this.#run && run.more && !run.cancelling) this.#connection.send({ type: 'credit', stream_id: run.streamID, batches });
  }

  #batch(run, { rows, has_more: more }) {
    if (!Array.isArray(rows)) return;
    run.rows += rows.length;
    run.batches += 1;
    run.more = more !== false;
    if (run.columns.length === 0 && rows.length > 0) {
      run.columns = Object.keys(rows[0]).map((name) => ({ name }));
      this.#drawHead(run);
    }
    const room = mostRows - run.drawn - run.waiting.length;
    if (room > 0) run.waiting.push(...rows.slice(0, room));
  }

  #cancel() {
    const run = this.#run;
    if (!run || run.cancelling) return;
    run.cancelling = true;
    run.state = 'cancelling';
    if (run.streamID) this.#sendCancel(run); // else when it has started
    this.#drawForm();
    this.#drawSoon();
  }

  #sendCancel(run) {
    this.#connection.request({ type: 'cancel_query', stream_id: run.streamID }, (answer) => {
      // The stream's ending may bear the id of the request that caused it. A cancel that came too late changes nothing: the
      // ending is on its way or was seen.
      if (answer.code === 'CONNECTION_LOST' || answer.code === 'CANCEL_FAILED') return;
      this.take(answer.stream_id == null ? { ...answer, stream_id: run.streamID } : answer);
    });
  }

  #end(run, state, words) {
    clearInterval(run.pacer);
    Object.assign(run, { state, words, ended: performance.now() });
    this.#run = null;
    this.#drawForm();
    this.#drawSoon();
  }

  #drawForm() {
    const open = this.#connection.state === 'open';
    byId('query-run').disabled = !open || this.#run !== null;
    byId('query-cancel').disabled = this.#run === null || this.#run.cancelling;
    byId('query-sensor').disabled = byId('query-name').value !== 'readings';
  }

  #drawHead(run) {
    byId('query-head').replaceChildren(el('tr', {}, ...run.columns.map(({ name, type }) =>
      el('th', { scope: 'col', title: type, class: numeric.test(type) ? 'numeric' : null }, String(name)))));
  }

  #draw() {
    const run = this.#last;
    if (!run) return;
    run.percent = percentOf(run);
    this.#drawRows(run);
    this.#drawProgress(run);

    const elapsed = (run.ended ?? performance.now()) - run.started;
    const over = run.ended !== null;
    const rate = !over && run.progress?.throughput > 0 ? run.progress.throughput : run.rows / (elapsed / 1000);
    setText(byId('query-rows'), number(run.rows));
    setText(byId('query-rate'), run.rows ? number(Math.round(rate)) : '–');
    setText(byId('query-eta'), over ? '–' : duration(etaOf(run, rate)));
    setText(byId('query-elapsed'), duration(elapsed));

    const shown = run.rows > mostRows ? `The first ${mostRows} of ${number(run.rows)} rows` : rowsWords(run.rows);
    setText(byId('query-shown'), run.rows || over ? shown : '');
    setText(byId('query-ending'), run.words);
    byId('query-ending').dataset.ending = over ? run.state : '';
  }

  #drawRows(run) {
    const rows = run.waiting.splice(0);
    run.drawn += rows.length;
    byId('query-body').append(...rows.map((row) => el('tr', {}, ...run.columns.map(({ name }, i) => {
      const value = Array.isArray(row) ? row[i] : row?.[name];
      return el('td', { class: typeof value === 'number' ? 'numeric' : null }, cellText(value));
    }))));
  }

  #drawProgress(run) {
    const bar = byId('query-progress');
    const unknown = run.percent === null;
    const percent = unknown ? '' : `${Math.floor(run.percent)}%`;
    bar.dataset.state = run.state;
    bar.classList.toggle('unknown', unknown);
    byId('query-fill').style.inlineSize = unknown ? '' : `${run.percent}%`;
    if (unknown) bar.removeAttribute('aria-valuenow');
    else bar.setAttribute('aria-valuenow', Math.floor(run.percent));
    bar.setAttribute('aria-valuetext', `${percent} ${states[run.state]}, ${rowsWords(run.rows)}`.trim());
    setText(byId('query-percent'), unknown ? '? %' : percent);
    const state = byId('query-state');
    state.dataset.state = run.state;
    setText(state, run.state === 'paused' && run.pacer ? 'Waiting for credit' : states[run.state] ?? run.state);
  }
}

// percentOf is 100 only for a query that completed, and null where nobody knows the total. It never goes back.
function percentOf(run) {
  if (run.state === 'completed') return 100;
  const known = [run.percent];
  if (run.progress?.percentage != null) known.push(run.progress.percentage);
  else if (run.estimate > 0) known.push(100 * run.rows / run.estimate);
  else if (run.rows > 0) return null;
  return Math.min(99, Math.max(...known.map((p) => p ?? 0)));
}

function etaOf(run, rate) {
  if (run.progress?.eta_ms != null) return run.progress.eta_ms;
  return run.estimate > 0 && rate > 0 ? 1000 * Math.max(0, run.estimate - run.rows) / rate : null;
}

const rowsWords = (n) => (n === 1 ? '1 row' : `${number(n)} rows`);

function completedWords(run, { total_rows: total, execution_time_ms: took, batches }) {
  const short = total != null && total !== run.rows ? ` Only ${number(run.rows)} of them arrived.` : '';
  return `Completed: ${rowsWords(total ?? run.rows)} in ${batches === 1 ? '1 batch' : `${number(batches ?? run.batches)} batches`}, `
    + `${duration(took)} on the server.${short}`;
}

function cancelledWords(run, { reason, rows_sent: sent }) {
  return `Cancelled${reason ? ` (${reason})` : ''}: ${rowsWords(sent ?? run.rows)} had been sent.`;
}

function cellText(value) {
  if (value === null || value === undefined) return 'NULL';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
