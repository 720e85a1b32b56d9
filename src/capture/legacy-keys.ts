import type { Config } from '../config/schema.ts';
import type { Relation, TableChange, Tuple } from '../core/change.ts';
import { sequencePrefix, sequenceSuffix, type StreamIdentity } from '../core/event.ts';
import { parseTableName } from '../postgres/identifier.ts';
import { type LegacyChange, MAX_KEY_BYTES } from '../state/legacy-changes.ts';

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
   * The keys that a change concerns: of an update that gives its row another key, both. Of a TRUNCATE all of the table. A key that a DELETE does not send is
   * unknown, and one that no event may name is left out.
   */
  of(change: TableChange): LegacyChange[] {
    const tracked = this.#byOid.get(change.relation.oid);
    if (tracked === undefined) return [];
    const { table } = tracked;
    // Of the change's first event, so that whoever saw any of them has seen this.
    const sequence = sequencePrefix(this.#identity, change.transaction) + sequenceSuffix(change.ordinal, 0);
    if (change.operation === 'truncate') return [{ table, key: [], sequence }];
    const { new: row, old } = change;
    return tracked.keys.flatMap((indexes) => {
      const after = row === undefined ? undefined : textsOf(indexes, row, old);
      const before = old === undefined ? undefined : textsOf(indexes, old, row);
      const isSame = before?.every((text, position) => text === after?.[position]) === true;
      return [after, isSame ? undefined : before].flatMap((key) =>
        key === undefined || isTooLong(key) ? [] : [{ table, key, sequence }],
      );
    });
  }
}

function isTooLong(key: readonly string[]): boolean {
  return key.reduce((bytes, text) => bytes + Buffer.byteLength(text), 0) > MAX_KEY_BYTES;
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
