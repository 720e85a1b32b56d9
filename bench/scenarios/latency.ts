import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { withSlot } from '../compare.ts';
import { insertOrderSql, loadedDatabase, PUBLICATION, TABLE } from '../database.ts';
import { startStub } from '../eventbridge-stub.ts';
import { rawLatency } from '../raw-latency.ts';
import type { Scenario } from '../report.ts';
import { quantile, rounded } from '../statistics.ts';
import { WORKER_FLAGS } from '../worker-flags.ts';
import { workerRun } from '../worker-run.ts';

const PER_SECOND = 200;
/** Transactions at the start that only wake everything up; the worker connects meanwhile. */
const WARM_UP = 5 * PER_SECOND;

/**
 * 200 transactions of one row a second, to an EventBridge in another process; linger is the default, 5 ms. From the commit time that the
 * server wrote to the bus's answer, by one machine's clock. The reference reads another slot at the same time: when the commit arrived there.
 */
export const latency: Scenario = async ({ rows = 20 * PER_SECOND, progress }) => {
  await using stub = await startStub();
  await using database = await loadedDatabase({ kind: 'mixed', rows: 0 });
  const job = { url: database.url, publication: PUBLICATION, rows: rows + WARM_UP };
  return await withSlot(database, (slot) =>
    withSlot(database, async (rawSlot) => {
      const worker = workerRun({
        ...job,
        slot,
        table: TABLE,
        events: job.rows,
        endpoint: stub.endpoint,
        concurrency: 16,
        backfill: false,
        counts: 'changes',
        latencies: true,
      });
      const raw = rawLatency({ ...job, slot: rawSlot });
      const writing = write(database, job.rows);
      progress(`${rows} transactions, ${PER_SECOND} a second`);
      const [run, arrivals] = await Promise.all([worker, raw, writing]);
      const events = run.latenciesMs.slice(WARM_UP);
      const commits = arrivals.slice(WARM_UP);
      const value = quantile(events, 0.5);
      const reference = quantile(commits, 0.5);
      return {
        scenario: 'latency',
        value: rounded(value),
        unit: 'ms (median, commit to accepted)',
        reference: rounded(reference),
        referenceIs: 'commit to the arrival of the Commit message, undecoded, at the same time',
        ratio: rounded(value / reference),
        peakRssMb: run.peakRssMb,
        p50Ms: rounded(value),
        p99Ms: rounded(quantile(events, 0.99)),
        referenceP99Ms: rounded(quantile(commits, 0.99)),
        transactionsPerSecond: PER_SECOND,
        rows,
        workerFlags: WORKER_FLAGS.join(' '),
      };
    }),
  );
};

/** One transaction every 5 ms. One that is late does not move the others. */
async function write(database: { url: string }, count: number): Promise<void> {
  const pool = new pg.Pool({ connectionString: database.url, max: 8 });
  try {
    const started = performance.now();
    const writes: Promise<unknown>[] = [];
    for (let i = 0; i < count; i += 1) {
      const waitMs = started + (i * 1_000) / PER_SECOND - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      writes.push(pool.query(insertOrderSql, [i + 1]));
    }
    await Promise.all(writes);
  } finally {
    await pool.end();
  }
}
