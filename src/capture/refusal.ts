import type { Cell, Relation, RowChange, TransactionHeader, Tuple } from '../core/change.ts';
import type { RefusalMessage } from '../postgres/apply-tag.ts';
import { originOf } from './own-writes.ts';

export interface RefusalPlace {
  readonly transaction: TransactionHeader;
  /** Of the message. */
  readonly ordinal: number;
  readonly relation: Relation;
}

/**
 * The row that reverse sync would not overwrite, as a change at the message's place: whoever wanted it otherwise has to be told how it stands, or that
 * there is none.
 */
export function refusedRow(message: RefusalMessage, place: RefusalPlace): RowChange {
  const { transaction, ordinal, relation } = place;
  const origin = originOf('correction', message);
  const base = { transaction, ordinal, relation, origin };
  if (message.row === null) {
    const key = new Map(message.columns.map((name, position) => [name, message.key[position]]));
    return {
      ...base,
      operation: 'delete',
      new: undefined,
      old: tupleOf(relation, (name) => key.get(name)),
      oldKind: 'key',
    };
  }
  const { row } = message;
  const cell = (name: string): Cell => (Object.hasOwn(row, name) ? row[name] : undefined);
  return { ...base, operation: 'update', new: tupleOf(relation, cell), old: undefined, oldKind: undefined };
}

/** A column that came since then has no value that we know. */
function tupleOf(relation: Relation, cell: (name: string) => Cell): Tuple {
  return relation.columns.map(({ name }) => cell(name));
}
