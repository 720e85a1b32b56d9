import type { BanyanError } from '../core/errors.ts';
import type { Outcome } from './publisher.ts';

export interface Rejected<T> {
  readonly item: T;
  readonly error: BanyanError;
}

/** What must happen to the items of one answered request, by the reaction of each error. The errors are the last ones of their reaction. */
export interface Verdict<T> {
  readonly accepted: readonly T[];
  /** The event's own fault. */
  readonly rejected: readonly Rejected<T>[];
  /** To be sent again, nobody needs to act. */
  readonly again: readonly T[];
  readonly retryError: BanyanError | undefined;
  /** To be sent again once the set-up is mended. */
  readonly blocked: readonly T[];
  readonly waitError: BanyanError | undefined;
  /** Its items are in none of the lists: nothing may happen to them. */
  readonly haltError: BanyanError | undefined;
  readonly throttled: number;
}

const none: readonly never[] = [];
const nothing = {
  rejected: none,
  again: none,
  retryError: undefined,
  blocked: none,
  waitError: undefined,
  haltError: undefined,
  throttled: 0,
} as const;

/** Sorts the items of a request by what became of them. */
export function verdictOf<T>(items: readonly T[], outcomes: readonly Outcome[]): Verdict<T> {
  if (outcomes.every(({ status }) => status === 'accepted')) return { ...nothing, accepted: items };
  const accepted: T[] = [];
  const rejected: Rejected<T>[] = [];
  const again: T[] = [];
  const blocked: T[] = [];
  let retryError: BanyanError | undefined;
  let waitError: BanyanError | undefined;
  let haltError: BanyanError | undefined;
  let throttled = 0;
  for (const [index, item] of items.entries()) {
    const outcome = outcomes[index];
    if (outcome === undefined) continue;
    if (outcome.status === 'accepted') {
      accepted.push(item);
      continue;
    }
    const { error } = outcome;
    switch (error.reaction) {
      case 'retry':
        again.push(item);
        retryError = error;
        if (error.kind === 'bus-throttled') throttled += 1;
        break;
      case 'park':
      case 'hold':
        rejected.push({ item, error });
        break;
      case 'wait':
        blocked.push(item);
        waitError = error;
        break;
      case 'halt':
        haltError = error;
        break;
    }
  }
  return { accepted, rejected, again, retryError, blocked, waitError, haltError, throttled };
}
