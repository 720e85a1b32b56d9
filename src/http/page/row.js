// @ts-check
import { spark } from './charts.js';
import { nextStep } from './commands.js';
import { el, part, setAttr, setText, tooltip } from './dom.js';
import { ago, brief, count, percent, span, UNKNOWN } from './format.js';
import { lastHour, perMinute, shareOver, stack, totals } from './series.js';
import { gateDots, stageTrack } from './track.js';
import { newShare, problemsOf } from './words.js';

/** @import { BackfillReport, TableReport } from '../../core/progress.ts' */

/** Minutes over which the share is taken: single ones jump. */
const SHARE_MINUTES = 10;

/**
 * One line of the list. It is made once, and then only changed.
 *
 * @param {string} table
 */
export function tableRow(table) {
  const dot = table.indexOf('.');
  const link = el(
    'a',
    { class: 'name', attrs: { href: `#/${encodeURIComponent(table)}` } },
    el('span', { class: 'schema', text: table.slice(0, dot + 1) }),
    el('span', { class: 'table-name' }, ...breakable(table.slice(dot + 1))),
  );
  const primary = el('span', { class: 'quiet primary' });
  const track = stageTrack();
  const gates = gateDots();
  const backfill = backfillBar();
  const writesHost = el('div', { class: 'spark', attrs: { 'aria-hidden': 'true' } });
  const rate = el('b', { class: 'number' });
  const shareHost = el('div', { class: 'spark', attrs: { 'aria-hidden': 'true' } });
  const share = el('b', { class: 'number' });
  const writes = el('div', { class: 'with-spark' }, writesHost, rate);
  const shares = el('div', { class: 'with-spark' }, shareHost, share);
  const open = el('div', { class: 'open' });
  const next = el('div', { class: 'next' });
  const root = el(
    'tr',
    { attrs: { role: 'row' } },
    el('th', { attrs: { role: 'rowheader', scope: 'row' } }, link, primary),
    cell('Stage', track.root),
    cell('Gates', gates.root),
    cell('Backfill', backfill.root),
    cell('Writes a minute', writes),
    cell('New system’s share', shares),
    cell('Open', open),
    cell('Next', next),
  );
  const setOpen = part(open, (/** @type {ReturnType<typeof problemsOf>} */ problems) =>
    problems.length === 0
      ? [el('span', { class: 'quiet', text: '0' })]
      : problems.map(({ text, level }) => el('span', { class: `tag ${level}`, text })),
  );
  const setNext = part(next, (/** @type {string | undefined} */ text) => [
    text === undefined ? el('span', { class: 'quiet', text: 'nothing' }) : nextStep(text),
  ]);

  /** @type {ReturnType<typeof spark>[]} */
  let plots = [];
  let isVisible = false;
  /** @type {{ report: TableReport, now: number } | undefined} */
  let shown;

  // What lies above the link of the row.
  root.addEventListener('click', ({ target }) => {
    const isSelecting = getSelection()?.isCollapsed === false;
    if (target instanceof Element && target.closest('a, button, .command') === null && !isSelecting) link.click();
  });
  tooltip(writes, () => shown && writesTitle(shown));
  tooltip(shares, () => shown && shareTitle(shown));

  const plot = () => {
    if (!isVisible || shown === undefined) return;
    const series = lastHour(shown.report.recent, shown.report.writes, shown.now);
    /** @type {import('./charts.js').Data} */
    const stacked = [series.times, ...stack(series)];
    /** @type {import('./charts.js').Data} */
    const shared = [series.times, shareOver(series, SHARE_MINUTES)];
    if (plots.length === 0) plots = [spark(writesHost, stacked, 'writes'), spark(shareHost, shared, 'share')];
    else {
      plots[0]?.setData(stacked);
      plots[1]?.setData(shared);
    }
  };
  const unplot = () => {
    for (const each of plots) each.destroy();
    plots = [];
  };

  return {
    root,
    link,
    /**
     * @param {TableReport} report
     * @param {number} now
     */
    set(report, now) {
      shown = { report, now };
      setText(primary, { legacy: 'legacy leads', new: 'new system leads', nobody: 'nobody writes' }[report.primary]);
      track.set(report, now);
      gates.set(report, now);
      backfill.set(report.backfill);
      const series = lastHour(report.recent, report.writes, now);
      const minute = perMinute(series);
      setText(rate, minute === undefined ? UNKNOWN : brief(minute));
      setAttr(rate, 'class', minute === undefined ? 'number unknown' : 'number');
      const owned = newShare(report);
      setText(share, percent(owned));
      setAttr(share, 'class', owned === undefined ? 'number unknown' : 'number');
      setOpen(problemsOf(report));
      setNext(report.next);
      plot();
    },
    /** @param {boolean} visible */
    see(visible) {
      isVisible = visible;
      if (visible) plot();
      else unplot();
    },
    /** The room or the colours are others. */
    replot() {
      unplot();
      plot();
    },
    flash() {
      root.classList.remove('moved');
      // Read, so that the class that comes again starts its animation again.
      void root.offsetWidth;
      root.classList.add('moved');
    },
  };
}

/** @param {{ report: TableReport, now: number }} shown */
function writesTitle({ report, now }) {
  const sums = totals(lastHour(report.recent, report.writes, now)).map(({ label, sum }) => `${label} ${count(sum)}`);
  return `Last whole minute. The last hour: ${sums.join(', ')}. ${sourceText(report, now)}`;
}

/** @param {{ report: TableReport, now: number }} shown */
function shareTitle({ report, now }) {
  const { uncovered, windowSeconds } = report.writes;
  const covered = uncovered === undefined ? '' : ` Not all of it is known: ${uncovered}.`;
  return `Of the writes of ${span(windowSeconds)}, triggers apart. ${sourceText(report, now)}${covered}`;
}

/**
 * @param {TableReport} report
 * @param {number} now
 */
function sourceText({ writes }, now) {
  return `Source: the WAL, counted ${ago(writes.countedUntil, now)}.`;
}

/**
 * A long name may break after an underscore.
 *
 * @param {string} name
 */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((piece, index) => (index === 0 ? [piece] : [el('wbr'), piece]));
}

/**
 * @param {string} label shown where the heads of the columns are not
 * @param {HTMLElement} content
 */
function cell(label, content) {
  return el('td', { attrs: { role: 'cell', 'data-label': label } }, content);
}

export function backfillBar() {
  const fill = el('i');
  const bar = el('span', { class: 'bar', attrs: { 'aria-hidden': 'true' } }, fill);
  const text = el('span', { class: 'bar-text number' });
  const root = el('div', { class: 'backfill' }, bar, text);
  return {
    root,
    /** @param {BackfillReport | undefined} run */
    set(run) {
      const share = run?.status === 'completed' ? 1 : run?.share;
      bar.hidden = run === undefined;
      setAttr(bar, 'class', `bar ${run?.status ?? ''}${share === undefined ? ' unknown' : ''}`);
      const width = `${Math.round((share ?? 0) * 1000) / 10}%`;
      if (fill.style.width !== width) fill.style.width = width;
      setText(text, backfillWords(run));
      setAttr(root, 'title', run === undefined ? 'No backfill was asked for.' : backfillTitle(run));
      setAttr(text, 'class', run?.status === 'failed' ? 'bar-text bad-text' : 'bar-text number');
    },
  };
}

/** @param {BackfillReport | undefined} run */
function backfillWords(run) {
  if (run === undefined) return 'none';
  if (run.status === 'completed') return 'done';
  if (run.status === 'running') {
    const eta = run.etaSeconds === undefined ? '' : ` · ~${span(run.etaSeconds)}`;
    return run.share === undefined ? `${brief(run.rowsSent)} rows${eta}` : `~${Math.floor(run.share * 100)} %${eta}`;
  }
  return run.reason === undefined ? run.status : `${run.status}: ${run.reason}`;
}

/** @param {BackfillReport} run */
function backfillTitle({ rowsSent, rowsEstimated, status, ratePerSecond, reason }) {
  const of = rowsEstimated === undefined || status === 'completed' ? '' : ` of ~${count(rowsEstimated)}`;
  const rate = ratePerSecond === undefined ? '' : `, ${count(ratePerSecond)} a second`;
  const why = reason === undefined ? '' : ` ${reason}.`;
  return `${status}: ${count(rowsSent)}${of} rows${rate}.${why} Source: the backfill’s own count; estimates by the planner’s statistics.`;
}
