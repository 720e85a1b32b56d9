// @ts-check
import { byId, commandLine, el, part, setAttr, setText } from './dom.js';
import { isCommand } from './commands.js';
import { ago, brief, count, dateTime, size, span, UNKNOWN } from './format.js';

/** @import { ProgressReport } from '../../core/progress.ts' */
/** @import { Problem } from '../../core/status.ts' */

/**
 * @typedef {object} Reading
 * @property {string} value
 * @property {'good' | 'warn' | 'bad' | 'unknown' | 'plain'} level
 * @property {string} about one line below
 * @property {string} source where the value comes from, and how old it is
 * @property {number} [meter] 0 to 1
 */

/** What the connector is like, each reading with its age and source in sight. */
export function healthStrip() {
  const cards = {
    worker: card('Worker'),
    lag: card('Lag'),
    wal: card('WAL held'),
    bus: card('Bus'),
    reverse: card('Way back'),
  };
  byId('health').replaceChildren(...Object.values(cards).map(({ root }) => root));
  const setProblems = part(byId('problems'), (/** @type {ReturnType<typeof problemsIn>} */ problems) =>
    problems.map(problemCard),
  );
  return {
    /**
     * @param {ProgressReport} report
     * @param {number} now
     */
    set(report, now) {
      cards.worker.set(workerReading(report, now));
      cards.lag.set(lagReading(report, now));
      cards.wal.set(walReading(report, now));
      cards.bus.set(busReading(report));
      cards.reverse.set(reverseReading(report));
      setProblems(problemsIn(report));
    },
  };
}

/** @param {string} title */
function card(title) {
  const value = el('p', { class: 'value number' });
  const fill = el('i');
  const meter = el('span', { class: 'bar', attrs: { 'aria-hidden': 'true' } }, fill);
  const about = el('p', { class: 'about' });
  const source = el('p', { class: 'source' });
  const root = el('article', { class: 'reading' }, el('h2', { text: title }), value, meter, about, source);
  return {
    root,
    /** @param {Reading} reading */
    set(reading) {
      setAttr(root, 'class', `reading ${reading.level}`);
      setText(value, reading.value);
      setText(about, reading.about);
      setText(source, reading.source);
      meter.hidden = reading.meter === undefined;
      const width = `${Math.min(100, (reading.meter ?? 0) * 100).toFixed(1)}%`;
      if (fill.style.width !== width) fill.style.width = width;
    },
  };
}

/**
 * @param {ProgressReport} report
 * @param {number} now
 * @returns {Reading}
 */
function workerReading({ worker }, now) {
  if (worker === undefined)
    return { value: 'unknown', level: 'unknown', about: 'no worker answered', source: 'Source: the worker’s HTTP' };
  /** @type {Record<string, Reading['level']>} */
  const levels = {
    streaming: 'good',
    'catching-up': 'warn',
    standby: 'plain',
    starting: 'warn',
    waiting: 'bad',
    halted: 'bad',
  };
  return {
    value: worker.state,
    level: levels[worker.state] ?? 'unknown',
    about: `version ${worker.version}`,
    source: `Started ${ago(worker.startedAt, now)}`,
  };
}

/**
 * @param {ProgressReport} report
 * @param {number} now
 * @returns {Reading}
 */
function lagReading({ slot }, now) {
  const { lagSeconds, lagBytes, observedAt } = slot;
  const source = `Heartbeat and slot, ${ago(observedAt, now)}`;
  const about = lagBytes === undefined ? 'bytes not known' : `${size(lagBytes)} not confirmed`;
  if (lagSeconds === undefined) return { value: UNKNOWN, level: 'unknown', about, source };
  return {
    value: span(lagSeconds),
    level: lagSeconds <= 5 ? 'good' : lagSeconds <= 60 ? 'warn' : 'bad',
    about,
    source,
  };
}

/**
 * @param {ProgressReport} report
 * @param {number} now
 * @returns {Reading}
 */
function walReading({ slot }, now) {
  const { heldBytes, budgetBytes, growthPerSecond, exhaustedInSeconds, action } = slot.wal;
  const source = `Slot ${slot.name}${slot.walStatus === undefined ? '' : `, ${slot.walStatus}`}, ${ago(slot.observedAt, now)}`;
  if (heldBytes === undefined) return { value: UNKNOWN, level: 'unknown', about: `of ${size(budgetBytes)}`, source };
  const then = action === 'drop-slot' ? 'then a slot that does not drain is dropped' : 'then it warns';
  const trend =
    exhaustedInSeconds !== undefined
      ? `used up in ~${span(exhaustedInSeconds)}, ${then}`
      : growthPerSecond === undefined
        ? 'trend not known yet'
        : 'not growing';
  const meter = budgetBytes === 0 ? 1 : heldBytes / budgetBytes;
  const isNear = exhaustedInSeconds !== undefined && exhaustedInSeconds < 3_600;
  return {
    value: `${size(heldBytes)} of ${size(budgetBytes)}`,
    level: slot.walStatus === 'lost' || meter >= 0.9 ? 'bad' : meter >= 0.5 || isNear ? 'warn' : 'good',
    about: trend,
    source,
    meter,
  };
}

/**
 * @param {ProgressReport} report
 * @returns {Reading}
 */
function busReading({ bus, worker }) {
  const source = 'The worker’s count since it started';
  if (bus === undefined) return { value: UNKNOWN, level: 'unknown', about: 'no worker answered', source };
  if (bus.state === undefined)
    return {
      value: 'unknown',
      level: 'unknown',
      about: worker?.state === 'standby' ? 'the other worker sends' : 'no session streams: nothing is sent',
      source: `${bus.name}, ${brief(bus.accepted)} accepted since the start`,
    };
  return {
    value: bus.state,
    level: {
      sending: /** @type {const} */ ('good'),
      waiting: /** @type {const} */ ('warn'),
      halted: /** @type {const} */ ('bad'),
    }[bus.state],
    about: `${brief(bus.accepted)} accepted · ${count(bus.queued)} queued`,
    source: `${bus.name}, ${brief(bus.throttled)} throttled since the start`,
  };
}

/**
 * @param {ProgressReport} report
 * @returns {Reading}
 */
function reverseReading({ reverse, worker }) {
  const source = 'The worker, since it started';
  if (reverse === undefined) {
    return worker === undefined
      ? { value: UNKNOWN, level: 'unknown', about: 'no worker answered', source }
      : {
          value: 'not set up',
          level: 'plain',
          about: 'the new system’s events are not applied',
          source: 'Configuration',
        };
  }
  /** @type {Record<string, Reading['level']>} */
  const levels = { running: 'good', testing: 'warn', waiting: 'warn', refused: 'bad' };
  const lag = reverse.lagSeconds === undefined ? 'lag not known' : `last one ${span(reverse.lagSeconds)} behind`;
  return {
    value: reverse.state,
    level: levels[reverse.state] ?? 'unknown',
    about: `${count(reverse.inHand)} in hand · ${lag}`,
    source,
  };
}

/** @param {ProgressReport} report */
function problemsIn({ worker, reverse }) {
  const found = [];
  if (worker?.state === 'standby') {
    const holder = worker.problem === undefined ? '' : ` (${worker.problem.message})`;
    found.push({
      what: 'This worker stands by',
      problem: undefined,
      note: `Another worker does the work${holder}; this one takes over when that stops. What only the other one knows is missing here.`,
    });
  } else if (worker?.problem !== undefined)
    found.push({ what: `The worker is ${worker.state}`, problem: worker.problem });
  if (reverse?.problem !== undefined)
    found.push({ what: `Reverse sync is ${reverse.state}`, problem: reverse.problem });
  return found;
}

/** @param {{ what: string, problem: Problem | undefined, note?: string }} found */
function problemCard({ what, problem, note }) {
  const root = el('article', { class: `problem ${problem === undefined ? 'mild' : ''}` }, el('h2', { text: what }));
  if (problem === undefined) root.append(el('p', { text: note ?? '' }));
  else root.append(...problemLines(problem));
  return root;
}

/** @param {Problem} problem */
export function problemLines({ message, remedy, kind, since }) {
  const step = remedy.replace(/^banyan /, '');
  return [
    el('p', { text: message }),
    el(
      'p',
      { class: 'remedy' },
      el('b', { text: 'Remedy ' }),
      isCommand(step) ? commandLine(`banyan ${step}`) : remedy,
    ),
    el('p', { class: 'source', text: `${kind}, since ${dateTime(since)}` }),
  ];
}
