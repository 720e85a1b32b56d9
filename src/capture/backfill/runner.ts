import type pg from 'pg';
import type { Logger } from 'pino';
import { isTableCapture } from '../../config/schema.ts';
import { toBanyanError } from '../../core/errors.ts';
import { sleep } from '../../flow/supervise.ts';
import type { BackfillRun } from '../../state/backfills.ts';
import type { LiveSession } from '../upkeep.ts';
import { ProgressMeter } from './progress.ts';
import { closeWatch, performRun } from './run.ts';

/** Tables at a time: more would only wait for the same bus. */
const TABLES_AT_ONCE = 2;
const LOOK_MS = 1_000;
const RETRY_MS = 5_000;
const OPEN: ReadonlySet<BackfillRun['status']> = new Set(['waiting', 'running', 'paused']);

export interface BackfillOptions {
  readonly session: LiveSession;
  readonly pool: pg.Pool;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

interface Active {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
  readonly isPaused: boolean;
}

/** Performs the runs that state holds, and asks for those of the configuration. Resolves when the signal aborts; rejects with what must end the session. */
export async function runBackfills(options: BackfillOptions): Promise<void> {
  const { session, signal } = options;
  const active = new Map<number, Active>();
  const meter = new ProgressMeter();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  try {
    await askForConfigured(session);
    while (!signal.aborted) {
      const latest = await session.state.backfills.latest();
      session.backfills = meter.look(latest, performance.now());
      // An open run is the last one of its table: state takes no second.
      const open = latest.filter(({ status }) => OPEN.has(status)).toSorted((a, b) => a.id - b.id);
      // A paused run that has begun still owes what the stream leaves to it.
      const wanted = new Map(
        open
          .filter(({ status, startedAt }) => status !== 'paused' || startedAt !== undefined)
          .map((run) => [run.id, run]),
      );
      for (const [id, { stop, isPaused }] of active) {
        const run = wanted.get(id);
        if (run === undefined || (run.status === 'paused') !== isPaused) stop.abort();
      }
      for (const [id, run] of wanted) {
        if (active.has(id) || (run.status !== 'paused' && reading(active) >= TABLES_AT_ONCE)) continue;
        const stop = new AbortController();
        const ended = attempt(run, { ...options, signal: AbortSignal.any([signal, stop.signal]) })
          .catch(failed.reject)
          .finally(() => active.delete(id));
        active.set(id, { stop, ended, isPaused: run.status === 'paused' });
      }
      await Promise.race([sleep(LOOK_MS, signal), failed.promise]);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    for (const { stop } of active.values()) stop.abort();
    await Promise.allSettled([...active.values()].map(({ ended }) => ended));
  }
}

function reading(active: ReadonlyMap<number, Active>): number {
  return [...active.values()].filter(({ isPaused }) => !isPaused).length;
}

/** Tables with `backfill: true` that never had a run. */
async function askForConfigured({ factory, state }: LiveSession): Promise<void> {
  const known = new Set((await state.backfills.latest()).map(({ table }) => table));
  for (const { table, entries } of factory.captured) {
    const name = `${table.schema}.${table.name}`;
    const isAsked = entries.some(({ entry }) => isTableCapture(entry) && entry.backfill);
    if (isAsked && !known.has(name)) await state.backfills.create({ table: name, requestedBy: 'configuration' });
  }
}

/** One attempt; what passes by itself is tried again by the next look, what a person must mend fails the run and nothing else. */
async function attempt(run: BackfillRun, options: BackfillOptions): Promise<void> {
  const { session, signal, log } = options;
  log.info({ table: run.table, run: run.id, rowsSent: run.rowsSent }, 'backfill begins');
  try {
    await performRun(run, options);
  } catch (error) {
    // What halted the worker is no fault of this run: it goes on where it was.
    if (signal.aborted || session.dispatcher.status.state === 'halted') return;
    const failure = toBanyanError(error, `the backfill of ${run.table}`);
    log.warn({ table: run.table, run: run.id, kind: failure.kind }, `backfill interrupted: ${failure.message}`);
    switch (failure.reaction) {
      case 'retry':
      case 'wait':
      case 'hold':
        await session.state.backfills.setReason(run.id, `waiting: ${failure.message}`);
        await sleep(RETRY_MS, signal).catch(() => undefined);
        return;
      default:
        closeWatch(run, session);
        await session.state.backfills.move(run.id, 'failed', ['waiting', 'running'], failure.message);
    }
  }
}
