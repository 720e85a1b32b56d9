import { userInfo } from 'node:os';
import { BanyanError } from '../core/errors.ts';
import type { DeadLetterFilter } from '../state/dead-letters.ts';
import { type Direction, DIRECTIONS } from './letters.ts';

/** Which dead letters a command means, as its options say it. */
export interface Selection {
  readonly ids: readonly number[];
  readonly table: string | undefined;
  readonly group: string | undefined;
  readonly all: boolean;
  /** undefined: both. */
  readonly direction: Direction | undefined;
}

/** What the worker and the store are asked with. */
export type ChosenLetters = DeadLetterFilter & { readonly all?: boolean };

/** Exactly one way of choosing: what is meant must not depend on which of two options wins. */
export function chosen(selection: Selection): ChosenLetters {
  const ways: ChosenLetters[] = [
    ...(selection.ids.length > 0 ? [{ ids: selection.ids }] : []),
    ...(selection.table === undefined ? [] : [{ table: selection.table }]),
    ...(selection.group === undefined ? [] : [{ group: selection.group }]),
    ...(selection.all ? [{ all: true }] : []),
  ];
  const [way] = ways;
  if (way !== undefined && ways.length === 1) return way;
  throw new BanyanError('usage', way === undefined ? 'nothing was chosen' : 'the letters are chosen in two ways', {
    remedy: 'name ids, or one of --table, --group and --all; `banyan dead-letters list` shows what there is',
  });
}

/** The same for the store, where an empty filter means all. */
export function filterOf(letters: ChosenLetters): DeadLetterFilter {
  const { all: _all, ...filter } = letters;
  return filter;
}

export function directionsOf({ direction }: Pick<Selection, 'direction'>): readonly Direction[] {
  return direction === undefined ? DIRECTIONS : [direction];
}

/** Of a request to the worker; without a direction it is the forward one. */
export function argumentsOf(letters: ChosenLetters, direction: Direction): Readonly<Record<string, unknown>> {
  return direction === 'forward' ? { ...letters } : { ...letters, direction };
}

/** Who asks, for the record. A container's user need not have a name. */
export function requester(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
