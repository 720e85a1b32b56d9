import { formatLsn, type Lsn, parseLsn, ZERO_LSN } from '../core/lsn.ts';
import { queryState, type StateScope } from './scope.ts';

/** A captured table as it was when its changes began to be published. Another OID under the name means a rename swap. */
export interface TableRecord {
  /** `schema.name` */
  readonly table: string;
  readonly oid: number;
  /** Changes committed before it are in nobody's stream. Zero: a gap of it was accepted, and it was not recorded anew yet. */
  readonly publishedSinceLsn: Lsn;
}

export interface TableStore {
  list(): Promise<TableRecord[]>;
  /** Adds or replaces; a record that is the same already is not written again. */
  save(records: readonly TableRecord[]): Promise<void>;
  /** Its changes are in the stream only from its next recording on. */
  forgetPosition(table: string): Promise<void>;
  remove(tables: readonly string[]): Promise<void>;
}

export function tableStore(scope: StateScope): TableStore {
  return {
    async list() {
      const rows = await queryState<{ table_name: string; oid: number | string; published_since_lsn: string }>(
        scope,
        'select table_name, oid, published_since_lsn from {table_record} where connector = $1 order by table_name',
        [scope.connector],
      );
      return rows.map((row) => ({
        table: row.table_name,
        oid: Number(row.oid),
        publishedSinceLsn: parseLsn(row.published_since_lsn),
      }));
    },

    async save(records) {
      if (records.length === 0) return;
      await queryState(
        scope,
        `insert into {table_record} as known (connector, table_name, oid, published_since_lsn)
         select $1, * from unnest($2::text[], $3::oid[], $4::pg_lsn[])
         on conflict (connector, table_name) do update set
           oid = excluded.oid, published_since_lsn = excluded.published_since_lsn, recorded_at = now()
         where (known.oid, known.published_since_lsn) is distinct from (excluded.oid, excluded.published_since_lsn)`,
        [
          scope.connector,
          records.map((record) => record.table),
          records.map((record) => record.oid),
          records.map((record) => formatLsn(record.publishedSinceLsn)),
        ],
      );
    },

    async forgetPosition(table) {
      await queryState(
        scope,
        'update {table_record} set published_since_lsn = $3 where connector = $1 and table_name = $2',
        [scope.connector, table, formatLsn(ZERO_LSN)],
      );
    },

    async remove(tables) {
      if (tables.length === 0) return;
      await queryState(scope, 'delete from {table_record} where connector = $1 and table_name = any($2)', [
        scope.connector,
        tables,
      ]);
    },
  };
}
