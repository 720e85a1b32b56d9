// @ts-check
import { token } from './api.js';
import { tableDetail } from './detail.js';
import { byId, setText } from './dom.js';
import { redrawFigures } from './figure.js';
import { count, span } from './format.js';
import { healthStrip } from './health.js';
import { connectorHistory } from './history.js';
import { tableList } from './list.js';
import { tokenForm } from './lock.js';
import { movesBetween, State } from './state.js';
import { listen, problemText } from './stream.js';
import { themeToggle } from './theme.js';

const state = new State();
const list = tableList();
const health = healthStrip();
const history = connectorHistory();
const form = tokenForm();
/** How often what is old is looked at again. */
const REFRESH_MS = 5_000;
let shownAt = 0;
/** @type {import('./state.js').Phase | undefined} */
let phase;

const detail = tableDetail({
  closed: (table) => {
    // Without a jump to the top of the page, as an empty hash would make.
    if (tableOfHash() !== undefined) window.history.pushState(undefined, '', `${location.pathname}${location.search}`);
    if (table !== undefined) list.focus(table);
  },
});

const stream = listen({
  report(report) {
    const before = state.receive(report);
    const moves = movesBetween(before, report);
    show();
    for (const { table } of moves) list.flash(table);
    if (moves.length > 0)
      announce(moves.map(({ table, from, to }) => `${table} moved from ${from} to ${to}`).join('. '));
  },
  problem(message) {
    state.failure = { message, retryAt: undefined };
    tick();
  },
  failed(error, retryAt) {
    state.failure = { message: error.message, retryAt };
    tick();
  },
  locked() {
    state.isLocked = true;
    state.report = undefined;
    tick();
    return form.ask();
  },
});

/** All of a report. */
function show() {
  const { report } = state;
  shownAt = performance.now();
  tick();
  if (report === undefined) return;
  setText(byId('name'), report.name);
  setText(byId('database'), report.database);
  document.title = `${report.name} · Banyan`;
  health.set(report, state.now);
  list.set(report, state.now);
  history.set(report, state.now);
  detail.show(tableOfHash(), report, state.now);
}

/** What goes on without a report: ages, and that none comes. */
function tick() {
  const next = state.phase;
  if (next !== phase) {
    if (phase === 'live' && next === 'stale') announce('No report comes any more. What is shown is old.');
    if (phase === 'stale' && next === 'live') announce('Reports come again.');
    phase = next;
    document.body.dataset['phase'] = next;
    byId('pulse').dataset['phase'] = next;
    byId('loading').hidden = next !== 'loading';
    byId('failure').hidden = next !== 'failed';
    byId('token-form').hidden = next !== 'locked';
    byId('content').hidden = next !== 'live' && next !== 'stale';
    if (next === 'locked') detail.show(undefined, /** @type {never} */ (undefined), 0);
  }
  byId('forget').hidden = token.get() === undefined;
  setText(byId('pulse').lastElementChild ?? byId('pulse'), pulseText(next));
  const { failure } = state;
  const again = failure?.retryAt === undefined ? 'The next report is waited for.' : retryText(failure.retryAt);
  if (next === 'failed' && failure !== undefined) {
    setText(byId('failure-what'), failure.message);
    setText(byId('failure-when'), again);
  }
  const banner = byId('banner');
  banner.hidden = next !== 'stale';
  if (next !== 'stale') return;
  const old = state.report?.stale;
  const why = failure?.message ?? (old === undefined ? '' : problemText(old));
  setText(banner, `Old: the last report is of ${span(Math.floor(state.age / 1000))} ago. ${why} ${again}`);
  // Evidence runs out while nothing comes.
  if (performance.now() - shownAt > REFRESH_MS) show();
}

/** @param {import('./state.js').Phase} now */
function pulseText(now) {
  if (now === 'loading') return 'connecting';
  if (now === 'locked') return 'token needed';
  if (now === 'failed') return 'no report';
  const age = Math.floor(state.age / 1000);
  return now === 'live' ? `live, ${count(age)} s` : `old, ${span(age)}`;
}

/** @param {number} retryAt */
function retryText(retryAt) {
  const seconds = Math.ceil((retryAt - performance.now()) / 1000);
  return seconds <= 0 ? 'Trying again now.' : `Trying again in ${seconds} s.`;
}

/** @param {string} text */
function announce(text) {
  byId('announce').textContent = text;
}

/** `#/public.orders` */
function tableOfHash() {
  const found = /^#\/(.+)$/.exec(location.hash)?.[1];
  if (found === undefined) return undefined;
  try {
    return decodeURIComponent(found);
  } catch {
    return found;
  }
}

function redraw() {
  redrawFigures();
  list.replot();
}

window.addEventListener('hashchange', () => {
  if (state.report !== undefined) detail.show(tableOfHash(), state.report, state.now);
});
/** @type {ReturnType<typeof setTimeout> | undefined} */
let resizing;
let width = window.innerWidth;
window.addEventListener('resize', () => {
  // A phone's address bar changes the height all the time.
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  clearTimeout(resizing);
  // Once, when the dragging is over: plots are drawn anew.
  resizing = setTimeout(() => list.replot(), 150);
});
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') stream.retry();
});
byId('skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('tables').focus();
});
byId('retry').addEventListener('click', () => stream.retry());
byId('forget').addEventListener('click', () => {
  token.forget();
  location.reload();
});
const historyBox = /** @type {HTMLDetailsElement} */ (byId('history'));
historyBox.addEventListener('toggle', () => {
  if (historyBox.open) history.open(byId('history-body'));
  else history.close();
});
themeToggle(redraw);
setInterval(tick, 500);
tick();
