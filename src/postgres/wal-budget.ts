import type { WalReport } from '../core/progress.ts';

/** What the slot held at one look. */
export interface WalSample {
  /** Of a clock that never goes back, milliseconds. */
  readonly atMs: number;
  readonly heldBytes: number;
}

/** A burst of one checkpoint says nothing about the next hour. */
const WINDOW_MS = 10 * 60_000;
/** Less than that is no trend. */
const SHORTEST_MS = 10_000;

/** What the slot holds, over the last minutes. */
export class WalTrend {
  readonly #shortestMs: number;
  #samples: WalSample[] = [];

  /** @param shortestMs how far the first and the last look must be apart before anything is said of growth */
  constructor(shortestMs = SHORTEST_MS) {
    this.#shortestMs = shortestMs;
  }

  add(sample: WalSample): void {
    this.#samples = [...this.#samples.filter(({ atMs }) => sample.atMs - atMs <= WINDOW_MS), sample];
  }

  /** A slot that is made anew has no past. */
  clear(): void {
    this.#samples = [];
  }

  report(budget: { readonly budgetBytes: number; readonly action: WalReport['action'] }): WalReport {
    const heldBytes = this.#samples.at(-1)?.heldBytes;
    const growthPerSecond = growthOf(this.#samples, this.#shortestMs);
    return {
      ...budget,
      heldBytes,
      growthPerSecond,
      exhaustedInSeconds: timeLeft(budget.budgetBytes, heldBytes, growthPerSecond),
    };
  }
}

/** From the lowest point on: what was confirmed in between, and freed, is no part of what grows now. */
function growthOf(samples: readonly WalSample[], shortestMs: number): number | undefined {
  const last = samples.at(-1);
  if (last === undefined) return undefined;
  let lowest = last;
  for (const sample of samples) if (sample.heldBytes <= lowest.heldBytes) lowest = sample;
  const first = samples[0] ?? last;
  if (last.atMs - first.atMs < shortestMs) return undefined;
  // It fell a moment ago: what comes next is not known.
  if (lowest !== last && last.atMs - lowest.atMs < shortestMs) return undefined;
  const seconds = (last.atMs - lowest.atMs) / 1_000;
  return seconds === 0 ? 0 : (last.heldBytes - lowest.heldBytes) / seconds;
}

function timeLeft(budgetBytes: number, held: number | undefined, growth: number | undefined): number | undefined {
  if (held === undefined) return undefined;
  if (held >= budgetBytes) return 0;
  if (growth === undefined || growth <= 0) return undefined;
  return (budgetBytes - held) / growth;
}
