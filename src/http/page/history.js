// @ts-check
import { askHistory } from './api.js';
import { el, setText } from './dom.js';
import { figure } from './figure.js';
import { brief, count, percent, size, span, timeOfDay, UNKNOWN } from './format.js';
import { seriesOf, shareOver, stack, totals } from './series.js';
import { CLASSES } from './words.js';

/** @import { HealthPoint, History, ProgressReport, TableReport } from '../../core/progress.ts' */
/** @import { Series } from './series.js' */

const RANGES = [1, 24, 168];
const AGAIN_MS = 30_000;
const MINUTE_MS = 60_000;

/**
 * Buttons for how far back, and asking for it while anybody looks.
 *
 * @param {string | undefined} table
 * @param {() => number} now
 * @param {(history: History, hours: number) => void} onHistory
 */
function ranges(table, now, onHistory) {
  const note = el('p', { class: 'quiet', attrs: { role: 'status' } });
  const root = el('div', { class: 'ranges', attrs: { role: 'group', 'aria-label': 'How far back' } });
  let hours = 1;
  let asked = new AbortController();
  const load = async () => {
    asked.abort();
    const mine = new AbortController();
    asked = mine;
    const wanted = hours;
    try {
      const history = await askHistory({ table, hours: wanted, now: now() }, mine.signal);
      if (mine.signal.aborted) return;
      setText(note, '');
      onHistory(history, wanted);
    } catch (error) {
      if (!mine.signal.aborted) setText(note, `No history: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  const buttons = RANGES.map((each) => {
    const button = el('button', {
      class: 'range',
      text: span(each * 3_600),
      attrs: { type: 'button', 'aria-pressed': String(each === hours) },
    });
    button.addEventListener('click', () => {
      hours = each;
      for (const other of buttons) other.setAttribute('aria-pressed', String(other === button));
      void load();
    });
    return button;
  });
  root.append(...buttons, note);
  const timer = setInterval(() => void load(), AGAIN_MS);
  return {
    root,
    load,
    stop() {
      clearInterval(timer);
      asked.abort();
    },
  };
}

/** @param {string} table */
export function tableHistory(table) {
  const writes = figure('Writes by who made them', brief);
  const share = figure('Share of the new system', (value) =>
    percent(value === null || value === undefined ? undefined : value / 100),
  );
  /** @type {{ report: TableReport, now: number } | undefined} */
  let shown;
  const chosen = ranges(
    table,
    () => shown?.now ?? Date.now(),
    (history, hours) => {
      if (shown === undefined) return;
      const { now } = shown;
      const stepMs = history.stepSeconds * 1000;
      const series = seriesOf(history.traffic, { from: now - hours * 3_600_000, to: now, stepMs, counted: history });
      const sums = totals(series);
      const step = span(history.stepSeconds);
      const columns = CLASSES.map(({ key, label }) => ({
        label,
        at: (/** @type {number} */ index) => series.counts[key][index],
      }));
      writes.set({
        data: [series.times, ...stack(series)],
        lines: 'stack',
        columns,
        summary: `Last ${span(hours * 3_600)}, each ${step}: ${sums.map(({ label, sum }) => `${label} ${count(sum)}`).join(' · ')}.${unknownIn(series)}`,
      });
      const line = shareOver(series, stepMs === MINUTE_MS ? 10 : 3);
      const last = line.findLast((value) => value !== null);
      share.set({
        data: [series.times, line],
        lines: [{ label: 'new system', colour: '--reverse', fill: '--reverse-soft' }],
        columns: [{ label: 'new system', at: (index) => line[index] }],
        summary:
          last === undefined || last === null
            ? `No writes of either side.${unknownIn(series)}`
            : `${percent(last / 100)} at last. Of legacy, replicated and new system’s writes; triggers apart.`,
        max: 100,
      });
    },
  );
  const root = el('div', { class: 'plots' }, chosen.root, writes.root, share.root);
  return {
    root,
    /**
     * @param {TableReport} report
     * @param {number} now
     */
    set(report, now) {
      const isFirst = shown === undefined;
      shown = { report, now };
      if (isFirst) void chosen.load();
    },
    destroy() {
      chosen.stop();
      writes.destroy();
      share.destroy();
    },
  };
}

/** Of the whole connector: asked for only while it is open. */
export function connectorHistory() {
  const lag = figure('Lag', (value) => span(value));
  const wal = figure('WAL held by the slot', (value) => size(value));
  const events = figure('Events', brief);
  const figures = [lag, wal, events];
  /** @type {{ report: ProgressReport, now: number } | undefined} */
  let shown;
  /** @type {ReturnType<typeof ranges> | undefined} */
  let chosen;
  return {
    /**
     * @param {ProgressReport} report
     * @param {number} now
     */
    set(report, now) {
      shown = { report, now };
    },
    /** @param {HTMLElement} host */
    open(host) {
      chosen = ranges(
        undefined,
        () => shown?.now ?? Date.now(),
        (history, hours) => draw(history, hours),
      );
      host.replaceChildren(chosen.root, el('div', { class: 'figures' }, ...figures.map(({ root }) => root)));
      void chosen.load();
    },
    close() {
      chosen?.stop();
      chosen = undefined;
    },
  };

  /**
   * @param {History} history
   * @param {number} hours
   */
  function draw({ health: points, stepSeconds }, hours) {
    const now = shown?.now ?? Date.now();
    const stepMs = stepSeconds * 1000;
    const byTime = new Map(points.map((point) => [Math.floor(Date.parse(point.at) / stepMs) * stepMs, point]));
    /** @type {number[]} */
    const times = [];
    for (let at = Math.floor((now - hours * 3_600_000) / stepMs) * stepMs; at <= now; at += stepMs)
      times.push(at / 1000);
    const read = (/** @type {keyof HealthPoint} */ key) =>
      times.map((time) => /** @type {number | undefined} */ (byTime.get(time * 1000)?.[key]) ?? null);
    const [seconds, held, accepted, applied] = [
      read('lagSeconds'),
      read('heldBytes'),
      read('accepted'),
      read('applied'),
    ];
    lag.set({
      data: [times, seconds],
      lines: [{ label: 'lag', colour: '--reverse', fill: '--reverse-soft' }],
      columns: [column('lag', seconds)],
      summary: peak(times, seconds, span),
    });
    wal.set({
      data: [times, held],
      lines: [{ label: 'held', colour: '--legacy', fill: '--legacy-soft' }],
      columns: [column('held', held)],
      summary: `${peak(times, held, size)} The budget is ${size(shown?.report.slot.wal.budgetBytes)}.`,
    });
    events.set({
      data: [times, accepted, applied],
      lines: [
        { label: 'accepted by the bus', colour: '--legacy' },
        { label: 'applied on the way back', colour: '--reverse', dash: [6, 4] },
      ],
      columns: [column('accepted by the bus', accepted), column('applied on the way back', applied)],
      summary: `Each ${span(stepMs / 1000)}: accepted by the bus (solid) ${count(sum(accepted))}, applied on the way back (dashed) ${count(sum(applied))}.`,
    });
  }
}

/** @param {Series} series */
function unknownIn({ counts }) {
  return counts.legacy.includes(null) ? ' Gaps are times that were not counted.' : '';
}

/**
 * @param {string} label
 * @param {(number | null)[]} values
 */
function column(label, values) {
  return { label, at: (/** @type {number} */ index) => values[index] };
}

/** @param {(number | null)[]} values */
function sum(values) {
  return values.reduce((/** @type {number} */ total, value) => total + (value ?? 0), 0);
}

/**
 * @param {number[]} times
 * @param {(number | null)[]} values
 * @param {(value: number | null | undefined) => string} show
 */
function peak(times, values, show) {
  const most = Math.max(...values.map((value) => value ?? -1));
  if (most < 0) return 'Not measured in this time.';
  const at = times[values.indexOf(most)];
  return `At most ${show(most)}${at === undefined ? UNKNOWN : `, at ${timeOfDay(at * 1000)}`}; at last ${show(values.findLast((value) => value !== null))}.`;
}
