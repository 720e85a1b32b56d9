import type { BackfillProgress } from '../../core/status.ts';
import type { BackfillRun } from '../../state/backfills.ts';

/** A rate is that of so many last milliseconds: chunks end every half second or so, and a throttled run shows soon. */
const WINDOW_MS = 10_000;

interface Look {
  readonly atMs: number;
  readonly rows: number;
}

/** Makes rates of the counts that state holds, which say nothing of when. */
export class ProgressMeter {
  readonly #looks = new Map<number, Look[]>();

  /** @param atMs of a clock that never jumps */
  look(runs: readonly BackfillRun[], atMs: number): readonly BackfillProgress[] {
    const running = new Set(runs.filter(({ status }) => status === 'running').map(({ id }) => id));
    for (const id of this.#looks.keys()) if (!running.has(id)) this.#looks.delete(id);
    return runs.map((run) => this.#progressOf(run, atMs));
  }

  #progressOf(run: BackfillRun, atMs: number): BackfillProgress {
    const { table, partition, status, rowsSent, rowsEstimated, reason } = run;
    const ratePerSecond = status === 'running' ? this.#rateOf(run, atMs) : undefined;
    const left = (rowsEstimated ?? 0) - rowsSent;
    const etaSeconds = ratePerSecond !== undefined && ratePerSecond > 0 && left > 0 ? left / ratePerSecond : undefined;
    return { table, partition, run: run.id, status, rowsSent, rowsEstimated, ratePerSecond, etaSeconds, reason };
  }

  #rateOf({ id, rowsSent }: BackfillRun, atMs: number): number | undefined {
    const looks = this.#looks.get(id) ?? [];
    this.#looks.set(id, looks);
    looks.push({ atMs, rows: rowsSent });
    while (looks.length > 2 && atMs - (looks[0] as Look).atMs > WINDOW_MS) looks.shift();
    const first = looks[0] as Look;
    return atMs > first.atMs ? ((rowsSent - first.rows) * 1_000) / (atMs - first.atMs) : undefined;
  }
}
