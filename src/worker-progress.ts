import type pg from 'pg';
import type { Logger } from 'pino';
import type { Config } from './config/schema.ts';
import type { WorkerStatus } from './core/status.ts';
import { within } from './flow/within.ts';
import type { ProgressSource } from './http/progress-routes.ts';
import { type ConnectionSettings, createPool } from './postgres/connection.ts';
import { readHistory } from './progress/history.ts';
import { ReportDesk } from './progress/report-desk.ts';
import { progressReport } from './progress/report.ts';
import type { LookAtUses } from './progress/uses.ts';
import { readState, type State } from './state/state.ts';

/** Reports need few connections, and none while nobody asks: a pool lets go of what is idle. */
const CONNECTIONS = 2;
/** A report that takes longer than that is of no use to anybody who waits for it. */
const STATEMENT_TIMEOUT_MS = 10_000;
const CLOSE_WAIT_MS = 1_000;

export interface WorkerProgress extends ProgressSource {
  close(): Promise<void>;
}

/** What the worker shows of the progress, also while no session streams: its own connections, opened when somebody asks. */
export function openProgress(options: {
  readonly config: Config;
  readonly connection: ConnectionSettings;
  readonly status: () => WorkerStatus;
  readonly lookAtUses: LookAtUses;
  readonly log: Logger;
}): WorkerProgress {
  const { config, connection, status, lookAtUses, log } = options;
  const open = (url: string): pg.Pool =>
    createPool({ ...connection, url, statementTimeoutMs: STATEMENT_TIMEOUT_MS }, { max: CONNECTIONS, log });
  const pool = open(connection.url);
  const statePool = config.state.url === undefined ? pool : open(config.state.url);
  let known: State | undefined;
  // The schema of a worker that has never streamed is not there yet.
  const state = async (): Promise<State> =>
    (known ??= await readState({ pool: statePool, connector: config.name, schema: config.state.schema }));
  const desk = new ReportDesk({
    log,
    make: async () => {
      const now = new Date();
      const [live, liveAt] = [status(), now.toISOString()];
      return progressReport({ config, state: await state(), pool, live, liveAt, lookAtUses, now });
    },
  });
  return {
    report: () => desk.read(),
    history: async (query) =>
      readHistory(await state(), {
        ...query,
        keepMinutesMs: config.progress.keepMinutes,
        countedUntil: status().traffic.countedUntil,
        now: new Date(),
      }),
    close: () => within(CLOSE_WAIT_MS, Promise.all([...new Set([pool, statePool])].map((each) => each.end()))),
  };
}
