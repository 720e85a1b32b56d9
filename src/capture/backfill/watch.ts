import type { Cell, RowChange, TableChange, Tuple } from '../../core/change.ts';
import type { Mapper } from '../../mapping/mapper.ts';
import { MovedRows } from './moved.ts';
import { ChunkWindow, RecentCommits } from './window.ts';

/** Between the cells of a row key: no text of PostgreSQL contains it. */
const SEPARATOR = '\u0000';
const NO_TEXT = SEPARATOR + SEPARATOR;

/** The stream as a backfill of one table sees it: told of every change of the table, in its turn, before the change goes on. */
export class TableWatch {
  readonly recent = new RecentCommits();
  readonly moved = new MovedRows();
  readonly #windows = new Set<ChunkWindow>();
  /** What tells rows apart in the stream; none: all columns together. */
  readonly keyColumns: readonly string[];
  readonly #isPartitioned: boolean;
  /** Number of the run. */
  readonly run: number;
  #indexes: readonly number[] = [];
  #relation: TableChange['relation'] | undefined;
  /** The last transaction that deleted a row. */
  #deleting: number | undefined;

  /** @param keyColumns what tells rows apart in the stream: columns of the replica identity; none: all columns together */
  constructor(run: number, keyColumns: readonly string[], { isPartitioned = false } = {}) {
    this.run = run;
    this.keyColumns = keyColumns;
    this.#isPartitioned = isPartitioned;
  }

  /** A row that changed without a whole event can not be found again: its change is a read itself. */
  get readsChanges(): boolean {
    return this.keyColumns.length === 0;
  }

  /** Window of a chunk whose low mark is to be set. */
  window(): ChunkWindow {
    const window = new ChunkWindow();
    this.#windows.add(window);
    return window;
  }

  /** Its rows are all handed on, or given up. */
  forget(window: ChunkWindow): void {
    this.#windows.delete(window);
  }

  /**
   * @param mappers none: the table is held, and the change is set aside
   * @param hold keeps the stream's position before this change, until what it returns is called
   * @param isSilent the change publishes nothing, whatever the mappers are: it is our own
   */
  note(change: TableChange, mappers: readonly Mapper[], hold: () => () => void, isSilent = false): void {
    this.recent.add(change.transaction.xid);
    if (change.operation === 'truncate') {
      this.spoil('its table was truncated');
      return;
    }
    if (mappers.length === 0) {
      // What becomes of it is decided when the table is released: then it is read anew.
      this.spoil('its table is held');
      this.moved.lose(hold());
      return;
    }
    if (change.relation !== this.#relation) this.#reshape(change.relation);
    const covered = this.readsChanges || change.operation === 'delete' || (!isSilent && coveredBy(change, mappers));
    const { old, new: row } = change;
    const key = row === undefined ? undefined : rowKey(row, this.#indexes, old);
    const oldKey = old === undefined ? key : rowKey(old, this.#indexes);
    if (key !== undefined) this.#touch(key, covered);
    if (change.operation === 'delete') this.#deleting = change.transaction.xid;
    const hasNewKey = oldKey !== undefined && oldKey !== key;
    // What was under the old key is gone: nothing is missing of it there.
    if (hasNewKey) this.#touch(oldKey, true);
    if (!hasNewKey && !this.#changesLeaf(change)) return;
    if (row === undefined || covered) return;
    this.moved.add(
      this.#indexes.map((index) => (row[index] === undefined ? old?.[index] : row[index]) ?? ''),
      hold(),
    );
  }

  /** The stream shows an update that moves a row to another leaf as a delete and an insert. */
  #changesLeaf({ operation, transaction }: RowChange): boolean {
    return this.#isPartitioned && operation === 'insert' && transaction.xid === this.#deleting;
  }

  spoil(reason: string): void {
    for (const window of this.#windows) window.spoil(reason);
  }

  #touch(key: string, covered: boolean): void {
    for (const window of this.#windows) window.touch(key, covered);
  }

  #reshape(relation: TableChange['relation']): void {
    this.#relation = relation;
    this.#indexes = keyIndexes(relation, this.keyColumns);
    if (this.#indexes.includes(-1)) this.spoil('a key column of its table is gone');
    else if (!isIdentity(relation, this.keyColumns)) this.spoil('its table has another key');
  }
}

/** Whether old rows are sent by these columns, or whole. */
function isIdentity({ replicaIdentity, columns }: TableChange['relation'], keyColumns: readonly string[]): boolean {
  if (replicaIdentity === 'full') return true;
  const sent = columns.filter(({ inIdentity }) => inIdentity).map(({ name }) => name);
  return sent.length === keyColumns.length && sent.every((name) => keyColumns.includes(name));
}

/** Of the key's columns, or of all where there is no key. */
export function keyIndexes(relation: TableChange['relation'], keyColumns: readonly string[]): readonly number[] {
  return keyColumns.length === 0 ? [...relation.columns.keys()] : indexesOf(relation, keyColumns);
}

export function indexesOf(
  relation: { readonly columns: readonly { readonly name: string }[] },
  names: readonly string[],
): readonly number[] {
  return names.map((name) => relation.columns.findIndex((column) => column.name === name));
}

export function rowKey(row: Tuple, indexes: readonly number[], fallback?: Tuple): string {
  const [only] = indexes;
  if (indexes.length === 1 && only !== undefined)
    return (row[only] === undefined ? fallback?.[only] : row[only]) ?? NO_TEXT;
  return keyText(indexes.map((index) => (row[index] === undefined ? fallback?.[index] : row[index])));
}

/** Of the cells that tell rows apart. */
export function keyText(cells: readonly Cell[]): string {
  if (cells.length === 1) return cells[0] ?? NO_TEXT;
  return cells.map((cell) => cell ?? NO_TEXT).join(SEPARATOR);
}

/** Whether every event that a read of the row would make is made by the change itself, with all of its fields. */
function coveredBy(change: RowChange, mappers: readonly Mapper[]): boolean {
  const isWhole = change.oldKind === 'full' || change.new?.includes(undefined) !== true;
  return isWhole && mappers.every((mapper) => mapper.isPlain || !mapper.takesReads);
}
