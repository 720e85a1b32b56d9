import type { Lsn } from '../core/lsn.ts';

/** A slot and its reader at one look. */
export interface DrainLook {
  /** WAL that the server keeps for the slot, bytes. */
  readonly heldBytes: number;
  /** WAL behind the confirmed position, bytes. */
  readonly lagBytes: number;
  readonly restartLsn: Lsn | undefined;
  readonly confirmedLsn: Lsn | undefined;
  /** Grows with all that the reader gets done of what it has received; undefined: nobody of us reads. */
  readonly settled: number | undefined;
}

/** within: the budget is not used up. stalled: nothing moves. losing: it moves, and holds more and more. */
export type DrainVerdict = 'within' | 'draining' | 'stalled' | 'losing';

/** Looks in a row at which nothing has moved. */
const STALLED_LOOKS = 12;
/** Share of the budget that a slot may come to hold beyond what it held when it fell last. */
const LOSS_SHARE = 1 / 2;
/** Share of the budget that is a fall: where somebody's open transaction holds the slot back, what is behind goes up and down by little. */
const FALL_SHARE = 1 / 100;

/**
 * Whether a slot over its budget may come back under it by itself. What it holds says little of that alone: `restart_lsn` moves in jumps, and not at all before
 * a long transaction is confirmed, so that a slot which drains well holds more at every look for a while. So it drains where what it holds or what is behind has
 * fallen lower than at any look since it came over the budget, and until it has lost half a budget against that.
 */
export class WalDrain {
  readonly #budgetBytes: number;
  #last: DrainLook | undefined;
  #stillLooks = 0;
  /** Since it came over the budget. */
  #lowest: { readonly heldBytes: number; readonly lagBytes: number } | undefined;
  #heldAtFall = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  look(now: DrainLook): DrainVerdict {
    const isStill = this.#last !== undefined && !hasMoved(this.#last, now);
    this.#last = now;
    if (now.heldBytes <= this.#budgetBytes) {
      this.clear();
      return 'within';
    }
    this.#stillLooks = isStill ? this.#stillLooks + 1 : 0;
    if (this.#lowest === undefined || this.#hasFallen(now, this.#lowest)) {
      this.#lowest = lower(this.#lowest ?? now, now);
      this.#heldAtFall = now.heldBytes;
    }
    if (this.#stillLooks >= STALLED_LOOKS) return 'stalled';
    return now.heldBytes - this.#heldAtFall > this.#budgetBytes * LOSS_SHARE ? 'losing' : 'draining';
  }

  /** A reader begins: it may need a while before anything moves. */
  begins(): void {
    this.#stillLooks = 0;
  }

  /** A slot that is made anew, or is back under the budget, has no past. */
  clear(): void {
    this.#stillLooks = 0;
    this.#lowest = undefined;
  }

  #hasFallen(now: DrainLook, lowest: { readonly heldBytes: number; readonly lagBytes: number }): boolean {
    const fall = Math.max(lowest.heldBytes - now.heldBytes, lowest.lagBytes - now.lagBytes);
    return fall >= this.#budgetBytes * FALL_SHARE;
  }
}

function hasMoved(before: DrainLook, now: DrainLook): boolean {
  return (
    now.restartLsn !== before.restartLsn || now.confirmedLsn !== before.confirmedLsn || now.settled !== before.settled
  );
}

function lower(a: Pick<DrainLook, 'heldBytes' | 'lagBytes'>, b: DrainLook): { heldBytes: number; lagBytes: number } {
  return { heldBytes: Math.min(a.heldBytes, b.heldBytes), lagBytes: Math.min(a.lagBytes, b.lagBytes) };
}
