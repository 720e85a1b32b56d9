import type pg from 'pg';
import type { TextQuery } from '../postgres/together.ts';
import { qualify, queryState, queryStateIn, type StateScope } from './scope.ts';

/** What is known of one column of a row that we wrote. */
export interface ColumnMark {
  /** Of the event that wrote it; undefined: it had none, or none of ours did. */
  readonly version: bigint | undefined;
  /** Of the text that we left there, or that we told the producer of; undefined: the row is not there. */
  readonly hash: string | undefined;
  /** What a patch wrote that is newer than the delete that took the row: the row gets it back when it comes back. `null` is NULL. */
  readonly kept?: string | null;
}

/** How far one row is. */
export interface AppliedVersion {
  /** Of the last write that made or held the whole row. */
  readonly created: bigint | undefined;
  /** Of the last delete, whether or not the row came back since. */
  readonly deleted: bigint | undefined;
  /** The highest one that was seen. */
  readonly last: bigint | undefined;
  readonly columns: Readonly<Record<string, ColumnMark>>;
  /** A correction went out, and events may be under way whose producer has not heard of it. */
  readonly told: boolean;
}

/** A row of `applied_version` as text, as the claiming statement returns it. */
export interface AppliedVersionRow {
  readonly created_version: string | null;
  readonly delete_version: string | null;
  readonly last_version: string | null;
  readonly columns: string;
  readonly told: string | boolean;
}

export interface AppliedVersionKey {
  /** `schema.table`, or what stands for another key of that table. */
  readonly table: string;
  /** As the claiming statement returned it: PostgreSQL's text of a text[]. */
  readonly key: string;
}

/** Versions by key. The row itself is made and locked by the statement that claims an event (`reverse/statements.ts`). */
export interface AppliedVersionStore {
  /** Inside the transaction that claimed the key. */
  save(client: pg.ClientBase, key: AppliedVersionKey, version: AppliedVersion): Promise<void>;
  /** The same, for whoever sends it with others. */
  saving(key: AppliedVersionKey, version: AppliedVersion): TextQuery;
  /** For people and tests; key parts as the server prints them. */
  get(table: string, key: readonly string[]): Promise<AppliedVersion | undefined>;
}

const SAVE = `update {applied_version} set created_version = $4, delete_version = $5, last_version = $6, columns = $7, told = $8
              where connector = $1 and table_name = $2 and key = $3`;

export function appliedVersionStore(scope: StateScope): AppliedVersionStore {
  const save = qualify(SAVE, scope.schema);
  const saving = (key: AppliedVersionKey, version: AppliedVersion) => ({
    name: 'banyan_save_version',
    text: save,
    values: [
      scope.connector,
      key.table,
      key.key,
      version.created?.toString() ?? null,
      version.deleted?.toString() ?? null,
      version.last?.toString() ?? null,
      marksJson(version.columns),
      `${version.told}`,
    ],
  });
  return {
    saving,

    async save(client, key, version) {
      const { text, ...query } = saving(key, version);
      await queryStateIn(client, scope, { sql: text, ...query });
    },

    async get(table, key) {
      const [row] = await queryState<AppliedVersionRow>(
        scope,
        `select created_version::text, delete_version::text, last_version::text, columns::text, told
         from {applied_version} where connector = $1 and table_name = $2 and key = $3`,
        [scope.connector, table, key],
      );
      return row && appliedVersionOf(row);
    },
  };
}

export function appliedVersionOf(row: AppliedVersionRow): AppliedVersion {
  return {
    created: bigintOf(row.created_version),
    deleted: bigintOf(row.delete_version),
    last: bigintOf(row.last_version),
    columns: marksOf(row.columns),
    told: row.told === true || row.told === 't',
  };
}

type StoredMark = [version: string | null, hash: string | null, kept?: string | null];

function marksJson(columns: AppliedVersion['columns']): string {
  const stored = Object.entries(columns).map(([name, { version, hash, kept }]): [string, StoredMark] => {
    const mark = [version?.toString() ?? null, hash ?? null] as const;
    return [name, kept === undefined ? [...mark] : [...mark, kept]];
  });
  return JSON.stringify(Object.fromEntries(stored));
}

function marksOf(json: string): AppliedVersion['columns'] {
  const stored = JSON.parse(json) as Record<string, StoredMark>;
  return Object.fromEntries(
    Object.entries(stored).map(([name, [version, hash, kept]]) => [
      name,
      { version: bigintOf(version), hash: hash ?? undefined, ...(kept === undefined ? {} : { kept }) },
    ]),
  );
}

function bigintOf(text: string | null): bigint | undefined {
  return text === null ? undefined : BigInt(text);
}
