// @ts-check
import { CLASSES } from './words.js';

/** @import { TrafficPoint } from '../../core/progress.ts' */

/**
 * Every write between the two is counted.
 *
 * @typedef {{ countedSince?: string | undefined, countedUntil?: string | undefined }} Counted
 */

const MINUTE = 60_000;
/** The worker looks now and then, and reports are some seconds old. */
const LATE = MINUTE;

/**
 * @typedef {object} Series
 * @property {number[]} times seconds, one each step
 * @property {Record<'legacy' | 'reverse' | 'trigger' | 'foreign', (number | null)[]>} counts null: not counted then
 */

/**
 * Reports hold only periods in which something happened. One that is missing is 0 where writes were counted, and not known where they were not: before
 * counting began, and after what was counted last.
 *
 * @param {readonly TrafficPoint[]} points
 * @param {{ from: number, to: number, stepMs: number, counted: Counted }} range
 * @returns {Series}
 */
export function seriesOf(points, { from, to, stepMs, counted }) {
  const first = Math.floor(from / stepMs) * stepMs;
  const byTime = new Map(points.map((point) => [Math.floor(Date.parse(point.at) / stepMs) * stepMs, point]));
  const since = counted.countedSince === undefined ? Infinity : Date.parse(counted.countedSince);
  const until = counted.countedUntil === undefined ? 0 : Date.parse(counted.countedUntil);
  /** @type {Series} */
  const series = { times: [], counts: { legacy: [], reverse: [], trigger: [], foreign: [] } };
  for (let at = first; at <= to; at += stepMs) {
    const point = byTime.get(at);
    const isCounted = at >= since && Math.min(at + stepMs, to) <= until + LATE;
    series.times.push(at / 1000);
    for (const { key } of CLASSES) series.counts[key].push(point?.[key] ?? (isCounted ? 0 : null));
  }
  return series;
}

/**
 * @param {readonly TrafficPoint[]} points
 * @param {Counted} counted
 * @param {number} now
 */
export function lastHour(points, counted, now) {
  return seriesOf(points, { from: now - 59 * MINUTE, to: now, stepMs: MINUTE, counted });
}

/**
 * Sums from the bottom up, the highest first: each is drawn over the one before.
 *
 * @param {Series} series
 * @returns {(number | null)[][]}
 */
export function stack({ times, counts }) {
  /** @type {(number | null)[]} */
  let below = times.map(() => 0);
  const sums = CLASSES.map(({ key }) => {
    const own = counts[key];
    below = below.map((value, index) => {
      const more = own[index];
      return value === null || more === null || more === undefined ? null : value + more;
    });
    // A class without writes has no bar: else its colour would shine through at the edges of the one over it.
    return below.map((value, index) => (value !== null && own[index] === 0 ? 0 : value));
  });
  return sums.toReversed();
}

/**
 * Share of the new system among writes of people and programs, percent, over the last `width` steps: single steps jump. Triggers belong to nobody.
 *
 * @param {Series} series
 * @param {number} width
 * @returns {(number | null)[]}
 */
export function shareOver({ times, counts }, width) {
  return times.map((_, index) => {
    if (counts.legacy[index] === null) return null;
    let all = 0;
    let own = 0;
    for (let at = Math.max(0, index - width + 1); at <= index; at += 1) {
      const reverse = counts.reverse[at] ?? 0;
      own += reverse;
      all += reverse + (counts.legacy[at] ?? 0) + (counts.foreign[at] ?? 0);
    }
    return all === 0 ? null : (own / all) * 100;
  });
}

/**
 * Writes of the last whole minute that is counted.
 *
 * @param {Series} series
 * @returns {number | undefined}
 */
export function perMinute({ times, counts }) {
  // The last one is still going on.
  for (let index = times.length - 2; index >= Math.max(0, times.length - 4); index -= 1) {
    if (counts.legacy[index] !== null) {
      return CLASSES.reduce((sum, { key }) => sum + (counts[key][index] ?? 0), 0);
    }
  }
  return undefined;
}

/** @param {Series} series */
export function totals({ counts }) {
  return CLASSES.map(({ key, label }) => ({
    key,
    label,
    sum: counts[key].reduce((/** @type {number} */ sum, value) => sum + (value ?? 0), 0),
  }));
}
