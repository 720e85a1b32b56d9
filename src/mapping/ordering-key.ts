import { createHash } from 'node:crypto';
import type { Cell, Relation, RowChange, Tuple } from '../core/change.ts';
import type { ByteValue } from '../postgres/values/byte-text.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import type { MappedColumn } from './columns.ts';

/** No text of PostgreSQL contains a zero byte, so this is no encoded value of any row. */
export const NO_VALUE = '%00';

/** The key of the rows of one table, as the parts of group and resource and as JSON. */
export interface OrderingKey {
  /** Whether the table has no key, and `parts` is a hash of all columns that leave. */
  readonly wholeRow: boolean;
  /** Percent-encoded key columns joined by `,`; masked ones as their hash. `fallback` holds what `row` did not send. */
  parts(row: Tuple, fallback: Tuple | undefined): string;
  /** `{"id":42}` */
  json(row: Tuple, fallback: Tuple | undefined): string;
  /** The old row of a change whose key is not what it was, else undefined. */
  movedFrom(change: RowChange): Tuple | undefined;
}

/**
 * A table with REPLICA IDENTITY FULL and no primary key has no key columns. Its rows are then told apart by a hash of all
 * columns that leave: an update leads from the hash of the old row to that of the new one, like a key update, so that changes of a
 * row still follow each other. Events of such a table have the key `{}`: consumers can not tell its rows apart.
 */
export function orderingKey(columns: readonly MappedColumn[], visible: readonly MappedColumn[]): OrderingKey {
  const wholeRow = columns.length === 0;
  const identifying = wholeRow ? visible : columns;
  const fragments = columns.map((column, index) => `${index === 0 ? '{' : ','}${jsonString(column.name)}:`);
  const single = columns.length === 1 ? columns[0] : undefined;
  return {
    wholeRow,
    parts(row, fallback) {
      if (wholeRow) return hashOf(visible, row, fallback);
      if (single !== undefined) return part(single, cellAt(single.index, row, fallback));
      return columns.map((column) => part(column, cellAt(column.index, row, fallback))).join(',');
    },
    json(row, fallback) {
      if (wholeRow) return '{}';
      let text = '';
      for (let index = 0; index < columns.length; index++) {
        const column = columns[index] as MappedColumn;
        const cell = cellAt(column.index, row, fallback);
        text += fragments[index] + (typeof cell === 'string' ? column.write(cell) : 'null');
      }
      return `${text}}`;
    },
    movedFrom(change) {
      const { old, new: row } = change;
      if (change.operation !== 'update' || old === undefined || row === undefined) return undefined;
      for (const { index } of identifying) {
        const cell = row[index];
        if (cell !== undefined && cell !== old[index]) return old;
      }
      return undefined;
    },
  };
}

/** Whether no two rows have the same key: it holds all of the replica identity (the primary key, where that is the whole row), and no mask makes values equal. */
export function isUnique(
  key: readonly MappedColumn[],
  { relation, primaryKey }: { readonly relation: Relation; readonly primaryKey: readonly string[] },
): boolean {
  const identity =
    relation.replicaIdentity === 'full'
      ? primaryKey
      : relation.columns.filter(({ inIdentity }) => inIdentity).map(({ name }) => name);
  const telling = key.filter(({ mask }) => mask === undefined || mask === 'hash').map(({ name }) => name);
  return identity.length > 0 && identity.every((name) => telling.includes(name));
}

function cellAt(index: number, row: Tuple, fallback: Tuple | undefined): Cell {
  const cell = row[index];
  return cell === undefined ? fallback?.[index] : cell;
}

function part(column: MappedColumn, cell: Cell): string {
  return typeof cell === 'string' ? encodePart(column.reveal(cell)) : NO_VALUE;
}

/** `encodeURIComponent`, faster where nothing has to be encoded. */
export function encodePart(text: string): string {
  for (let index = 0; index < text.length; index++) {
    if (!isPlain(text.charCodeAt(index))) return encodeURIComponent(text);
  }
  return text;
}

/** Whether `encodePart` would leave the value as it is. */
export function isPlainPart({ bytes, start, end }: ByteValue): boolean {
  for (let index = start; index < end; index++) if (!isPlain(bytes[index] as number)) return false;
  return true;
}

/** Integers and UUIDs have no others. */
function isPlain(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x7a) || code === 0x2d;
}

/** Of the texts that may leave, so that a change which comes back from `dead_letter` has the group that it had. */
function hashOf(columns: readonly MappedColumn[], row: Tuple, fallback: Tuple | undefined): string {
  const hash = createHash('sha256');
  for (const column of columns) {
    const cell = cellAt(column.index, row, fallback);
    const text = typeof cell === 'string' ? column.reveal(cell) : undefined;
    // Length first, so that ('a', 'bc') and ('ab', 'c') differ.
    hash.update(text === undefined ? '-' : `${text.length}:${text}`);
  }
  return hash.digest('hex').slice(0, 32);
}
