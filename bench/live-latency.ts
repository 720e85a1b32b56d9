import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { withSlot } from './compare.ts';
import { PUBLICATION, TABLE } from './bench-server.ts';
import { insertOrderSql, loadedDatabase } from './database.ts';
import { startStub } from './eventbridge-stub.ts';
import { rawLatency } from './raw-latency.ts';
import { workerRun, type WorkerRun } from './worker-run.ts';

export const PER_SECOND = 200;
/** Transactions at the start that only wake everything up; the worker connects meanwhile. */
const WARM_UP = 5 * PER_SECOND;

export interface LiveLatency {
  readonly run: WorkerRun;
  /** Milliseconds from the commit time that the server wrote to the bus's answer, by one machine's clock. */
  readonly eventsMs: readonly number[];
  /** To the arrival of the Commit message at another slot, undecoded, at the same time. */
  readonly commitsMs: readonly number[];
}

/** 200 transactions of one row a second, to an EventBridge in another process; linger is the default, 5 ms. */
export async function liveLatency(what: {
  /** Transactions that count. */
  rows: number;
  /** Rows that the table holds before. */
  existing: number;
  /** Whether those are read meanwhile. */
  backfill: boolean;
}): Promise<LiveLatency> {
  const { existing, backfill } = what;
  const rows = what.rows + WARM_UP;
  await using stub = await startStub();
  await using database = await loadedDatabase({ kind: 'existing', rows: existing });
  const job = { url: database.url, publication: PUBLICATION, rows };
  return await withSlot(database, (slot) =>
    withSlot(database, async (rawSlot) => {
      const worker = workerRun({
        ...job,
        slot,
        table: TABLE,
        events: rows,
        endpoint: stub.endpoint,
        concurrency: 16,
        backfill,
        counts: 'changes',
        latencies: true,
      });
      const raw = rawLatency({ ...job, slot: rawSlot });
      const writing = write(database, { first: existing + 1, count: rows });
      const [run, arrivals] = await Promise.all([worker, raw, writing]);
      return { run, eventsMs: run.latenciesMs.slice(WARM_UP), commitsMs: arrivals.slice(WARM_UP) };
    }),
  );
}

/** One transaction every 5 ms. One that is late does not move the others. */
async function write(database: { url: string }, { first, count }: { first: number; count: number }): Promise<void> {
  const pool = new pg.Pool({ connectionString: database.url, max: 8 });
  try {
    const started = performance.now();
    const writes: Promise<unknown>[] = [];
    for (let i = 0; i < count; i += 1) {
      const waitMs = started + (i * 1_000) / PER_SECOND - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      writes.push(pool.query(insertOrderSql, [first + i]));
    }
    await Promise.all(writes);
  } finally {
    await pool.end();
  }
}
