import type pg from 'pg';
import { queryState, queryStateIn, type StateScope } from './scope.ts';

/** Longest key that an event may name, bytes: it is in index entries of ours, which the server limits to about 2,700. */
export const MAX_KEY_BYTES = 800;

export interface LegacyChange {
  /** `schema.name` of the table as the configuration names it: of a partition, its root. */
  readonly table: string;
  /** Texts in the order of the table's columns; none: every row of the table is concerned. */
  readonly key: readonly string[];
  /** `metadata.sequence` of the change. */
  readonly sequence: string;
}

/** The last change of each key that was not ours. Only tables whose events say what they are based on need it. */
export interface LegacyChangeStore {
  /** Keeps the highest sequence of each key. One statement, whatever their number. */
  record(changes: readonly LegacyChange[]): Promise<void>;
  /** Of the row, or of all rows of its table. undefined: nobody else has changed it since changes of its table are kept. */
  sequenceOf(client: pg.ClientBase, table: string, key: readonly string[]): Promise<string | undefined>;
}

export function legacyChangeStore(scope: StateScope): LegacyChangeStore {
  return {
    async record(changes) {
      if (changes.length === 0) return;
      // The order is that of the locks too: two workers of a handover may write the same keys.
      await queryState(
        scope,
        `insert into {legacy_change} as known (connector, table_name, key, sequence)
         select distinct on (change.table, parts) $1, change.table, parts, change.sequence
         from json_to_recordset($2::json) as change("table" text, key json, sequence text)
         cross join lateral (select array(select json_array_elements_text(change.key)) as parts) as split
         order by change.table, parts, change.sequence collate "C" desc
         on conflict (connector, table_name, key) do update set sequence = excluded.sequence
         where known.sequence < excluded.sequence`,
        [scope.connector, JSON.stringify(changes)],
      );
    },

    async sequenceOf(client, table, key) {
      const [row] = await queryStateIn<{ sequence: string | null }>(client, scope, {
        sql: `select max(sequence) as sequence from {legacy_change}
              where connector = $1 and table_name = $2 and key in ($3::text[], '{}')`,
        values: [scope.connector, table, key],
      });
      return row?.sequence ?? undefined;
    },
  };
}
