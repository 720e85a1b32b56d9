import { pino } from 'pino';
import type { ProgressReport } from '../../src/core/progress.ts';
import { startHttp } from '../../src/http/server.ts';
import { progressReport, progressSource } from './progress-report.ts';
import { workerStatus } from './worker-status.ts';

/** The worker's HTTP, showing reports that a test makes. */
export interface PageBed extends AsyncDisposable {
  readonly url: string;
  /** What it shows from now on. Its time goes on by itself, as that of real ones does. */
  show(report: Partial<ProgressReport>): void;
}

export async function startPageBed(first: Partial<ProgressReport>): Promise<PageBed> {
  let shown = first;
  // As a worker: the same report for two seconds, then one that was made later.
  const report = () => progressReport({ at: new Date(Math.floor(Date.now() / 2_000) * 2_000).toISOString(), ...shown });
  const server = await startHttp({
    host: '127.0.0.1',
    port: 0,
    status: workerStatus,
    progress: progressSource(report),
    log: pino({ level: 'silent' }),
  });
  return {
    url: server.url,
    show: (next) => void (shown = next),
    [Symbol.asyncDispose]: () => server.close(),
  };
}
