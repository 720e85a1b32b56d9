import type { Usage } from './child.ts';
import { PUBLICATION, TABLE } from './bench-server.ts';
import { loadedDatabase, type BenchDatabase, type Load } from './database.ts';
import { rawStream } from './raw-stream.ts';
import type { BenchOptions, BenchReport } from './report.ts';
import { alternate, median, rounded } from './statistics.ts';
import { WORKER_FLAGS } from './worker-flags.ts';
import { workerRun, type WorkerRun } from './worker-run.ts';

/** Runs `use` with a slot at the start of the load, and drops it. */
export async function withSlot<T>(database: BenchDatabase, use: (slot: string) => Promise<T>): Promise<T> {
  const slot = await database.copySlot();
  try {
    return await use(slot);
  } finally {
    await database.dropSlot(slot);
  }
}

/** The worker on a copy of the slot; accepting by itself, or sending to `endpoint`. With `backfill` it is the rows that are read which count. */
export function workerOn(
  database: BenchDatabase,
  bus: { endpoint?: string; concurrency?: number; backfill?: boolean } = {},
): Promise<WorkerRun> {
  return withSlot(database, (slot) =>
    workerRun({
      url: database.url,
      slot,
      publication: PUBLICATION,
      table: TABLE,
      events: database.rows,
      endpoint: bus.endpoint,
      concurrency: bus.concurrency ?? 16,
      backfill: bus.backfill ?? false,
      counts: bus.backfill === true ? 'reads' : 'changes',
      latencies: false,
    }),
  );
}

export function rawOn(database: BenchDatabase): Promise<Usage> {
  return withSlot(database, (slot) =>
    rawStream({ url: database.url, slot, publication: PUBLICATION, rows: database.rows }),
  );
}

export interface Comparison {
  readonly scenario: string;
  readonly unit: string;
  readonly referenceIs: string;
  readonly rows: number;
  readonly runs: number;
  /** Turns before the first that counts. */
  readonly warmUps: number;
  readonly worker: () => Promise<WorkerRun>;
  /** Sends or reads as many rows. */
  readonly reference: () => Promise<Usage>;
}

/** Both sides in turns; medians; CPU per row of both. */
export async function compare(comparison: Comparison, { progress }: BenchOptions): Promise<BenchReport> {
  const { scenario, unit, rows, runs } = comparison;
  progress(`${scenario}: ${rows} rows; ${runs} runs of each side, in turns`);
  const told = async <R extends Usage>(side: string, run: Promise<R>): Promise<R> => {
    const usage = await run;
    const cpu = rounded((usage.cpuSeconds / rows) * 1e6);
    progress(`  ${side} ${rounded(rows / usage.seconds)} ${unit}, ${cpu} µs CPU a row, peak ${usage.peakRssMb} MB`);
    return usage;
  };
  const { a, b } = await alternate(
    { runs, warmUps: comparison.warmUps },
    {
      a: () => told('worker   ', comparison.worker()),
      b: () => told('reference', comparison.reference()),
    },
  );
  const value = median(a.map((run) => rows / run.seconds));
  const reference = median(b.map((run) => rows / run.seconds));
  return {
    scenario,
    value: rounded(value),
    unit,
    reference: rounded(reference),
    referenceIs: comparison.referenceIs,
    ratio: rounded(value / reference),
    peakRssMb: Math.max(...a.map((run) => run.peakRssMb)),
    cpuMicrosPerRow: rounded(median(a.map((run) => (run.cpuSeconds / rows) * 1e6))),
    referenceCpuMicrosPerRow: rounded(median(b.map((run) => (run.cpuSeconds / rows) * 1e6))),
    eventsPerRequest: median(a.map((run) => run.batchSize)),
    rows,
    runs,
    workerFlags: WORKER_FLAGS.join(' '),
  };
}

/** The whole worker against the undecoded stream of the same WAL. */
export async function againstRawStream(
  what: { scenario: string; load: Load; runs: number; warmUps: number },
  options: BenchOptions,
): Promise<BenchReport> {
  await using database = await loadedDatabase(what.load);
  return await compare(
    {
      scenario: what.scenario,
      unit: 'rows/s',
      referenceIs: 'the same slot content read by pg-logical-replication alone, undecoded',
      rows: database.rows,
      runs: what.runs,
      warmUps: what.warmUps,
      worker: () => workerOn(database),
      reference: () => rawOn(database),
    },
    options,
  );
}
