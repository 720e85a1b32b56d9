import type pg from 'pg';
import type { Logger } from 'pino';
import { isTableCapture } from '../../config/schema.ts';
import { toBanyanError } from '../../core/errors.ts';
import { sleep } from '../../flow/supervise.ts';
import { Snapshot } from '../../postgres/snapshot-xids.ts';
import type { BackfillRun } from '../../state/backfills.ts';
import type { LiveSession } from '../upkeep.ts';
import { askForPartitions } from './partitions.ts';
import { ProgressMeter } from './progress.ts';
import { performRun, type RunMode } from './run.ts';
import { lagReason } from './throttle.ts';

/** Tables at a time: more would only wait for the same bus. */
const TABLES_AT_ONCE = 2;
const LOOK_MS = 1_000;
/** While no run is open. */
const QUIET_LOOK_MS = 15_000;
const RETRY_MS = 5_000;
/** Transactions of a table; above that the server is asked which of them everybody sees. */
const MAX_REMEMBERED = 10_000;
const OPEN: ReadonlySet<BackfillRun['status']> = new Set(['waiting', 'running', 'paused']);

export interface BackfillOptions {
  readonly session: LiveSession;
  readonly pool: pg.Pool;
  /** Between two looks for partitions that were attached. */
  readonly inspectMs: number;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

interface Active {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
  readonly mode: RunMode;
}

/** Performs the runs that state holds, and asks for those of the configuration. Resolves when the signal aborts; rejects with what must end the session. */
export async function runBackfills(options: BackfillOptions): Promise<void> {
  const { session, signal, log } = options;
  const active = new Map<number, Active>();
  const meter = new ProgressMeter();
  /** When partitions are looked for: at the beginning, now and then, and when a run has ended, since a table has one at a time. */
  let partitionsAtMs = 0;
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  /** What passes by itself must not end the stream: it is looked at again. */
  const tolerate = (error: unknown): void => {
    const failure = toBanyanError(error, 'looking after backfills');
    if (failure.reaction !== 'retry') throw failure;
    log.info({ kind: failure.kind, code: failure.code }, failure.message);
  };
  const requests = session.requestBell.bell.listener();
  let again = true;
  let isQuiet = false;
  const look = async (): Promise<void> => {
    if (performance.now() >= partitionsAtMs) {
      partitionsAtMs = performance.now() + options.inspectMs;
      await askForPartitions(session, { pool: options.pool, again, log });
      again = false;
    }
    const latest = await session.state.backfills.latest();
    session.backfills = meter.look(latest, performance.now());
    const modes = modesOf(latest);
    isQuiet = modes.size === 0;
    for (const [id, { stop, mode }] of active) if (modes.get(id)?.mode !== mode) stop.abort();
    for (const [id, { run, mode }] of modes) {
      if (active.has(id)) continue;
      const stop = new AbortController();
      const ended = attempt(run, mode, { ...options, signal: AbortSignal.any([signal, stop.signal]) })
        .catch(tolerate)
        .catch(failed.reject)
        .finally(() => {
          active.delete(id);
          partitionsAtMs = 0;
        });
      active.set(id, { stop, ended, mode });
    }
    const reason = lagReason(session);
    for (const [id, { mode }] of active) {
      if (mode === 'read' && reason !== undefined) await session.state.backfills.setReason(id, reason);
    }
    await tidyWatches(active, options);
  };
  try {
    await askForConfigured(session).catch(tolerate);
    while (!signal.aborted) {
      await look().catch(tolerate);
      // Where there is nothing to do, only a request or a new partition makes something.
      const quietMs = Math.min(QUIET_LOOK_MS, partitionsAtMs - performance.now());
      const waitMs = isQuiet && active.size === 0 ? Math.max(LOOK_MS, quietMs) : LOOK_MS;
      await Promise.race([requests.waits(waitMs, signal), failed.promise]);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    for (const { stop } of active.values()) stop.abort();
    await Promise.allSettled([...active.values()].map(({ ended }) => ended));
  }
}

/** The oldest runs read; the others that have begun, paused ones too, still owe what the stream leaves to them. */
function modesOf(latest: readonly BackfillRun[]): ReadonlyMap<number, { run: BackfillRun; mode: RunMode }> {
  const modes = new Map<number, { run: BackfillRun; mode: RunMode }>();
  let reading = 0;
  // An open run is the last one of its table: state takes no second.
  for (const run of latest.filter(({ status }) => OPEN.has(status)).toSorted((a, b) => a.id - b.id)) {
    if (run.status !== 'paused' && reading < TABLES_AT_ONCE) {
      reading += 1;
      modes.set(run.id, { run, mode: 'read' });
    } else if (run.startedAt !== undefined) {
      modes.set(run.id, { run, mode: 'moves' });
    }
  }
  return modes;
}

/** A watch that nobody serves would keep the stream's position back; and one whose table is not read for long must not remember every transaction. */
async function tidyWatches(active: ReadonlyMap<number, Active>, { session, pool }: BackfillOptions): Promise<void> {
  for (const [oid, watch] of session.watches) {
    if (!active.has(watch.run)) {
      watch.moved.giveUp();
      session.watches.delete(oid);
    } else if (watch.recent.size > MAX_REMEMBERED) {
      const { rows } = await pool.query<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot');
      watch.recent.prune(Snapshot.parse(rows[0]?.snapshot ?? ''));
    }
  }
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
async function attempt(run: BackfillRun, mode: RunMode, options: BackfillOptions): Promise<void> {
  const { session, signal, log } = options;
  if (mode === 'read') log.info({ table: run.table, run: run.id, rowsSent: run.rowsSent }, 'backfill begins');
  try {
    await performRun(run, mode, options);
    // It begins again and again for as long as the table is held: not at once.
    if (session.routes.heldReason(run.table) !== undefined) await sleep(RETRY_MS, signal).catch(() => undefined);
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
        await session.state.backfills.move(run.id, 'failed', ['waiting', 'running', 'paused'], failure.message);
    }
  }
}
