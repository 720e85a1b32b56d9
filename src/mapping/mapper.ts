import type { RowChange, TableChange } from '../core/change.ts';
import type { Event } from '../core/event.ts';
import type { ReadWriter } from './read-writer.ts';

/**
 * One capture entry, compiled for one shape of one table. Pure and synchronous; built again when the relation changes.
 */
export interface Mapper {
  /** Index in `capture[]`. */
  readonly entry: number;
  /** `schema.name` as events carry it. */
  readonly table: string;
  /** Number of its first event of a change, among the events of all entries of the table. */
  readonly firstIndex: number;
  /**
   * The events of a change; empty where no rule takes it. Throws a BanyanError `mapping-failed` or `contract-violated`; the caller parks the
   * change.
   */
  map(change: TableChange): readonly Event[];
  /** Ordering group of a row change (and of the old key on a key update), known even where `map` throws. */
  groups(change: RowChange): { readonly group: string | undefined; readonly previousGroup: string | undefined };
  /**
   * Indexes of columns whose values the server did not send and the entry wants read again (`reselectUnavailable`); empty otherwise.
   */
  unavailable(change: RowChange): readonly number[];
  /** The change as JSON text for `dead_letter`: excluded columns left out, masked ones masked. */
  serialize(change: TableChange): string;
  /**
   * The change that `serialize` wrote, under the relation of this mapper (by column name; the masked stay as they were stored and are not
   * masked twice). Throws `schema-drift` where a column that it needs is no longer there.
   */
  deserialize(text: string): TableChange;
  /** Makes the events of a backfill's rows as `map` does, but many at a time; undefined where only `map` can. */
  readonly reads: ReadWriter | undefined;
  /** Whether a row that is read by a backfill can become an event. */
  readonly takesReads: boolean;
  /** Whether every insert and update becomes an event with the same fields as a read: no rules, no transform. */
  readonly isPlain: boolean;
  /** Counters, added to as it runs. */
  readonly counters: { dropped: number; nullConditions: number };
}
