import type { Logger } from 'pino';
import type { Companion } from './capture/companion.ts';
import type { Config } from './config/schema.ts';
import { toBanyanError } from './core/errors.ts';
import { sleep } from './flow/supervise.ts';
import { migrationTables } from './progress/tables.ts';
import type { LookAtUses } from './progress/uses.ts';

export interface ReadWatchOptions {
  readonly config: Config;
  readonly lookAtUses: LookAtUses;
  /** For tests. */
  readonly intervals?: { readonly firstMs: number; readonly thenMs: number };
  readonly log: Logger;
}

/** Soon, since nothing is known of the time before; then seldom: counters that stand still prove the time between two looks. */
const INTERVALS = { firstMs: 15_000, thenMs: 300_000 };

/** Looks now and then whether anybody reads the tables, so that it is known later since when nobody does. */
export function openReadWatch({ config, lookAtUses, intervals = INTERVALS, log }: ReadWatchOptions): Companion {
  return {
    run: async ({ state, pool }, signal) => {
      for (let waitMs = intervals.firstMs; ; waitMs = intervals.thenMs) {
        try {
          await sleep(waitMs, signal);
          const tables = await migrationTables(pool, config);
          await lookAtUses({ state, pool, config, tables, stages: await state.stages.list() });
        } catch (error) {
          if (signal.aborted) return;
          const { kind, code, message } = toBanyanError(error, 'looking at who reads');
          log.info({ kind, code }, message);
        }
      }
    },
    answer: () => undefined,
  };
}
