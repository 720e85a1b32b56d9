import { BanyanError } from '../core/errors.ts';

/** What came of a redrive; the same as of the other direction. */
export interface LetterReport {
  /** Applied, or found to be done already. */
  sent: number;
  /** Of held tables: set aside under their own key now. */
  parked: number;
  /** No entry of `reverse.apply` takes them any more. */
  withoutEvent: number;
  readonly stopped: { readonly group: string; readonly letter: number | undefined; readonly reason: string }[];
}

export function emptyReport(): LetterReport {
  return { sent: 0, parked: 0, withoutEvent: 0, stopped: [] };
}

/** Somebody holds the row, a statement took too long, or two transactions were in each other's way. */
const HELD_UP: ReadonlySet<string> = new Set(['55P03', '57014', '40001', '40P01']);

/** Nothing was done, for want of a right or for what may have passed the next time, and other rows need not mind: a redrive says so rather than to fail. */
export function isRefusal(thrown: unknown): thrown is BanyanError {
  if (!(thrown instanceof BanyanError)) return false;
  const { reaction, kind, code } = thrown;
  return reaction === 'wait' || kind === 'stream-behind' || (code !== undefined && HELD_UP.has(code));
}
