import type { DeadLetter, DeadLetterListing } from '../state/dead-letters.ts';
import type { State } from '../state/state.ts';

/** forward: changes that did not reach the bus. reverse: events that did not reach their rows. */
export type Direction = 'forward' | 'reverse';
export const DIRECTIONS: readonly Direction[] = ['forward', 'reverse'];

/** A dead letter of either direction. Both have their numbers from one sequence. */
export interface Letter extends DeadLetter {
  readonly direction: Direction;
  /** ISO 8601: it is tried again by itself until then; undefined: it waits for a person. */
  readonly waitsUntil: string | undefined;
}

export type ListedLetter = Omit<Letter, 'event' | 'change'>;

/** Newest first. */
export async function listLetters(
  { deadLetters, reverseLetters }: State,
  listing: DeadLetterListing & { readonly limit: number },
  directions: readonly Direction[],
): Promise<ListedLetter[]> {
  const lists = await Promise.all(
    directions.map(async (direction): Promise<ListedLetter[]> => {
      if (direction === 'forward') return (await deadLetters.list(listing)).map(forward);
      return (await reverseLetters.list(listing)).map((letter) => ({ direction, ...letter }));
    }),
  );
  return lists
    .flat()
    .toSorted((one, other) => other.id - one.id)
    .slice(0, listing.limit);
}

export async function findLetter({ deadLetters, reverseLetters }: State, id: number): Promise<Letter | undefined> {
  const found = await deadLetters.get(id);
  if (found !== undefined) return forward(found);
  const back = await reverseLetters.get(id);
  return back === undefined ? undefined : { direction: 'reverse', ...back };
}

export interface LetterCounts {
  /** For a person. */
  readonly parked: number;
  readonly groups: number;
  /** Of the way back: tried again by themselves. */
  readonly waiting: number;
}

export async function countLetters(state: State, directions: readonly Direction[]): Promise<LetterCounts> {
  const none = { parked: 0, groups: 0, waiting: 0 };
  const out = directions.includes('forward') ? await state.deadLetters.counts() : none;
  const back = directions.includes('reverse') ? await state.reverseLetters.counts() : none;
  return { parked: out.parked + back.parked, groups: out.groups + back.groups, waiting: back.waiting };
}

function forward<L extends Omit<DeadLetter, 'event' | 'change'>>(
  letter: L,
): L & { direction: 'forward'; waitsUntil: undefined } {
  return { ...letter, direction: 'forward', waitsUntil: undefined };
}
