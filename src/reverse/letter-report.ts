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

/** A right is missing: nothing was done, and a redrive says so rather than to fail. */
export function isRefusal(thrown: unknown): thrown is BanyanError {
  return thrown instanceof BanyanError && thrown.reaction === 'wait';
}
