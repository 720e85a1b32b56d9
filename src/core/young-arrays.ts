/**
 * Arrays of the hot paths, made by copying and not as literals, as their objects are made by constructors (`MadeRowChange`, `BuiltEvent`,
 * `ForwardDelivery`, `RowSource`).
 *
 * V8 counts how many objects of a literal outlive a collection. Of those on their way to the bus it may find that all do, and then it makes each
 * in the old generation, where it keeps what it points to from being collected young long after it is dead. Whether that happens depends on where
 * the first collections fall; a worker that it happens to takes two to three times the CPU per row for as long as it lives. Neither copies nor
 * objects of constructors are counted.
 */
import type { Cell } from './change.ts';

const EMPTY: readonly never[] = [];

export function emptyList<T>(): T[] {
  return EMPTY.slice();
}

const ONE: readonly unknown[] = [undefined];

export function listOf<T>(item: T): T[] {
  const list = ONE.slice() as T[];
  list[0] = item;
  return list;
}

/** By their number of columns. */
const nullRows: Cell[][] = [];

/** A row's cells, all NULL, to be filled. */
export function nullRow(columns: number): Cell[] {
  let row = nullRows[columns];
  if (row === undefined) {
    row = Array.from({ length: columns }, () => null);
    nullRows[columns] = row;
  }
  return row.slice();
}
