import type { Logger } from 'pino';
import { toBanyanError } from '../core/errors.ts';
import type { ProgressReport } from '../core/progress.ts';
import type { WorkerStatus } from '../core/status.ts';
import { EmbeddedMetricFormat } from './emf.ts';
import { type ProgressSource, reportInTime } from './progress-routes.ts';

export interface EmfLogOptions {
  readonly status: () => WorkerStatus;
  readonly progress: Pick<ProgressSource, 'report'>;
  /** A line without its end. CloudWatch wants it raw, with nothing of a log around it. */
  readonly write: (line: string) => void;
  readonly log: Logger;
  /** Default: a minute, the shortest period that CloudWatch keeps without a surcharge. */
  readonly everyMs?: number;
}

const EVERY_MS = 60_000;
const REPORT_MS = 10_000;

/** Writes the metrics between the lines of the log, until it is closed; then once more, so that what was counted last is not lost. */
export function startEmfLog({ status, progress, write, log, everyMs = EVERY_MS }: EmfLogOptions): {
  close(): Promise<void>;
} {
  const format = new EmbeddedMetricFormat(status().name);
  let writing: Promise<void> = Promise.resolve();
  const line = (report?: ProgressReport): void => {
    try {
      for (const metrics of format.linesOf(status(), report, new Date())) write(JSON.stringify(metrics));
    } catch (error) {
      log.warn({ kind: toBanyanError(error, 'writing metrics').kind }, 'the metrics could not be written this time');
    }
  };
  const timer = setInterval(() => {
    writing = writing.then(async () => line(await reportInTime(progress, REPORT_MS)));
  }, everyMs);
  return {
    async close() {
      clearInterval(timer);
      await writing;
      line();
    },
  };
}
