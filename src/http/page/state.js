// @ts-check
/** @import { ProgressReport } from '../../core/progress.ts' */

/** Without a report for so long, nothing on the page is news. */
export const STALE_MS = 10_000;

/**
 * @typedef {'loading' | 'locked' | 'failed' | 'live' | 'stale'} Phase
 */

/** What the page knows, and since when. */
export class State {
  /** @type {ProgressReport | undefined} */
  report = undefined;
  /** Of `performance.now()`: clocks may be wrong, or be set. */
  receivedAt = 0;
  /** @type {{ message: string, retryAt: number | undefined } | undefined} `retryAt`: of `performance.now()` */
  failure = undefined;
  isLocked = false;

  /** @param {ProgressReport} report */
  receive(report) {
    const before = this.report;
    this.report = report;
    this.isLocked = false;
    // The same one again, because no newer could be made, is no news.
    if (report.at !== before?.at) this.receivedAt = performance.now();
    this.failure = undefined;
    return before;
  }

  /** @returns {Phase} */
  get phase() {
    if (this.isLocked) return 'locked';
    if (this.report === undefined) return this.failure === undefined ? 'loading' : 'failed';
    return this.report.stale !== undefined || this.age >= STALE_MS ? 'stale' : 'live';
  }

  /** Of the last report, ms. */
  get age() {
    return performance.now() - this.receivedAt;
  }

  /** Now, by the worker's clock, ms: ages of facts are of its clock. */
  get now() {
    return this.report === undefined ? Date.now() : Date.parse(this.report.at) + this.age;
  }
}

/**
 * Tables that have moved between two reports.
 *
 * @param {ProgressReport | undefined} before
 * @param {ProgressReport} after
 */
export function movesBetween(before, after) {
  if (before === undefined) return [];
  const stages = new Map(before.tables.map(({ table, stage }) => [table, stage]));
  return after.tables.flatMap(({ table, stage }) => {
    const from = stages.get(table);
    return from === undefined || from === stage ? [] : [{ table, from, to: stage }];
  });
}
