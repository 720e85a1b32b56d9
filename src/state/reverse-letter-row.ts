import type { ErrorKind } from '../core/errors.ts';
import { type DeadLetter, type DeadLetterRow, deadLetterColumns, deadLetterOf } from './dead-letter-row.ts';

/** An event of the way back that is set aside. `message` never holds values, `event` does. */
export interface NewReverseLetter {
  /** Producer, event id and target, or the message's id where no event could be read. */
  readonly eventId: string;
  /** Index in `reverse.apply`; -1 where no entry is concerned. */
  readonly entry: number;
  /** The lane that it holds up, or `table:<name>`; undefined: nothing. */
  readonly group: string | undefined;
  readonly table: string;
  readonly sequence: string;
  readonly kind: ErrorKind;
  readonly code: string | undefined;
  readonly message: string;
  /** Nothing is wrong with it: it waits behind an earlier one of its group. */
  readonly behind: boolean;
  /** It is tried again by itself for so long, and holds nothing up; undefined: it waits for a person. */
  readonly waitForMs: number | undefined;
  /** The body as it came, JSON or not. */
  readonly event: string;
}

export interface ReverseLetter extends DeadLetter {
  /** The body as it came. */
  readonly event: string;
  /** ISO 8601; undefined: it waits for a person. */
  readonly waitsUntil: string | undefined;
}

/** A letter whose time to wait is over. */
export type ExpiredLetter = Pick<ReverseLetter, 'id' | 'eventId' | 'entry' | 'group' | 'table' | 'kind' | 'event'>;

export type ReverseLetterRow = DeadLetterRow & { waits_until: Date | null };

/** All but the payload. */
export const reverseLetterColumns = `${deadLetterColumns}, waits_until`;

export function letterOf(row: ReverseLetterRow): ReverseLetter {
  return { ...deadLetterOf(row), event: row.event ?? '', waitsUntil: row.waits_until?.toISOString() };
}
