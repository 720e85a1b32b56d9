import type { Config } from '../config/schema.ts';
import type { Relation, TableChange, Tuple } from '../core/change.ts';
import { sequencePrefix, sequenceSuffix, type StreamIdentity } from '../core/event.ts';
import { parseTableName } from '../postgres/identifier.ts';
import type { LegacyChange } from '../state/legacy-changes.ts';

/** By `schema.name`, the key columns of the entries of `reverse.apply` that compare what an event is based on with the last change of its row. */
export type KeysByTable = ReadonlyMap<string, readonly (readonly string[])[]>;

export function basedOnKeys(config: Config): KeysByTable {
  const byTable = new Map<string, string[][]>();
  for (const { table, key, basedOn } of config.reverse?.apply ?? []) {
    if (basedOn === undefined) continue;
    const { schema, name } = parseTableName(table);
    const place = `${schema.text}.${name.text}`;
    const columns = Object.keys(key).toSorted();
    const known = byTable.get(place) ?? [];
    if (known.some((other) => other.join('\0') === columns.join('\0'))) continue;
    byTable.set(place, [...known, columns]);
  }
  return byTable;
}

interface Tracked {
  readonly table: string;
  /** Of each key, its columns in the relation, in the order of the relation. */
  readonly keys: readonly (readonly number[])[];
}

/** Finds the keys of changes whose rows conflicts are told by. */
export class LegacyKeys {
  readonly #wanted: KeysByTable;
  readonly #identity: StreamIdentity;
  readonly #byOid = new Map<number, Tracked>();

  constructor(wanted: KeysByTable, identity: StreamIdentity) {
    this.#wanted = wanted;
    this.#identity = identity;
  }

  /** How many tables of those the stream has shown. */
  get size(): number {
    return this.#byOid.size;
  }

  /** A shape that the stream shows. */
  describe(relation: Relation): void {
    const table = `${relation.schema}.${relation.name}`;
    const keys = (this.#wanted.get(table) ?? []).flatMap((names) => {
      const indexes = names.map((name) => relation.columns.findIndex((column) => column.name === name));
      // A key column that is gone: the entry of reverse.apply is at fault, and says so itself.
      return indexes.includes(-1) ? [] : [indexes.toSorted((a, b) => a - b)];
    });
    if (keys.length === 0) this.#byOid.delete(relation.oid);
    else this.#byOid.set(relation.oid, { table, keys });
  }

  /**
   * The keys that a change concerns: of an update that gives its row another key, both. None of a TRUNCATE: what it removes, later events miss. A key that a
   * DELETE does not send is unknown.
   */
  of(change: TableChange): LegacyChange[] {
    const tracked = this.#byOid.get(change.relation.oid);
    if (tracked === undefined || change.operation === 'truncate') return [];
    const { transaction, ordinal, new: row, old } = change;
    // Of the change's first event, so that whoever saw any of them has seen this.
    const sequence = sequencePrefix(this.#identity, transaction) + sequenceSuffix(ordinal, 0);
    return tracked.keys.flatMap((indexes) => {
      const after = row === undefined ? undefined : textsOf(indexes, row, old);
      const before = old === undefined ? undefined : textsOf(indexes, old, row);
      const isSame = before?.every((text, position) => text === after?.[position]) === true;
      return [after, isSame ? undefined : before].flatMap((key) =>
        key === undefined ? [] : [{ table: tracked.table, key, sequence }],
      );
    });
  }
}

function textsOf(indexes: readonly number[], row: Tuple, fallback: Tuple | undefined): string[] | undefined {
  const texts: string[] = [];
  for (const index of indexes) {
    const cell = row[index] === undefined ? fallback?.[index] : row[index];
    // NULL in a key: no event can name the row.
    if (typeof cell !== 'string') return undefined;
    texts.push(cell);
  }
  return texts;
}
