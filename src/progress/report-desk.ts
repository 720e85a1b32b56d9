import type { Logger } from 'pino';
import { type BanyanError, toBanyanError } from '../core/errors.ts';
import type { ProgressReport } from '../core/progress.ts';
import type { Problem } from '../core/status.ts';
import { resolvesWithin } from '../flow/within.ts';

export interface ReportDeskOptions {
  readonly make: () => Promise<ProgressReport>;
  readonly log: Logger;
  /** From the beginning of one report to that of the next. Default: 2 s. */
  readonly everyMs?: number;
  /** Who asks waits for a new report no longer than this where there is an older one. Default: 4 s. */
  readonly patienceMs?: number;
}

const EVERY_MS = 2_000;
const PATIENCE_MS = 4_000;

/**
 * Makes reports only when somebody asks, one in two seconds however many ask. Where none can be made, the last one goes on being shown, with why: a database that is
 * away must not take the page with it, nor be asked more often for that.
 */
export class ReportDesk {
  readonly #options: ReportDeskOptions;
  #running: Promise<void> | undefined;
  #begunAtMs = Number.NEGATIVE_INFINITY;
  #last: ProgressReport | undefined;
  #failure: { readonly error: BanyanError; readonly problem: Problem } | undefined;
  /** The last report with the failure beside it, made once: who compares sees that nothing has changed. */
  #shown: ProgressReport | undefined;

  constructor(options: ReportDeskOptions) {
    this.#options = options;
  }

  /** Throws the BanyanError that keeps it from being made only where no report was ever made. */
  async read(): Promise<ProgressReport> {
    const { everyMs = EVERY_MS, patienceMs = PATIENCE_MS } = this.#options;
    if (this.#running === undefined && performance.now() - this.#begunAtMs >= everyMs) this.#begin();
    if (this.#running !== undefined) {
      if (this.#last === undefined) await this.#running;
      else if (!(await resolvesWithin(patienceMs, this.#running))) return this.#overdue(this.#last);
    }
    if (this.#shown !== undefined) return this.#shown;
    throw this.#failure?.error ?? new Error('a report that was neither made nor failed');
  }

  #begin(): void {
    this.#begunAtMs = performance.now();
    this.#running = this.#make().finally(() => (this.#running = undefined));
  }

  async #make(): Promise<void> {
    const { make, log } = this.#options;
    try {
      this.#last = await make();
      this.#failure = undefined;
      this.#shown = this.#last;
    } catch (error) {
      const failure = toBanyanError(error, 'looking at how far the tables are');
      const { kind, code, message, remedy } = failure;
      const known = this.#failure?.problem;
      const isNews = known?.kind !== kind || known.message !== message;
      if (isNews) log.warn({ kind, code, remedy }, `no report of the progress at the moment: ${message}`);
      const since = isNews ? new Date().toISOString() : known.since;
      this.#failure = { error: failure, problem: { kind, message, remedy, since } };
      this.#shown = this.#last && { ...this.#last, stale: this.#failure.problem };
    }
  }

  #overdue(last: ProgressReport): ProgressReport {
    if (last.stale !== undefined || this.#failure !== undefined) return this.#shown ?? last;
    return {
      ...last,
      stale: {
        kind: 'database-unavailable',
        message: 'the database takes long to answer',
        remedy: 'none: the next report comes when it does',
        since: last.at,
      },
    };
  }
}
