import type { ErrorKind } from '../core/errors.ts';
import type { Problem } from '../core/status.ts';
import { queryState, type StateScope } from './scope.ts';

export interface HeldTable {
  /** `schema.name` */
  readonly table: string;
  readonly problem: Problem;
}

export interface HeldTableStore {
  list(): Promise<HeldTable[]>;
  /** Holds a table from now on. One that is held already keeps its `since`. */
  set(table: string, problem: Pick<Problem, 'kind' | 'message' | 'remedy'>): Promise<void>;
  clear(table: string): Promise<void>;
}

export function heldTableStore(scope: StateScope): HeldTableStore {
  return {
    async list() {
      const rows = await queryState<{
        table_name: string;
        kind: ErrorKind;
        message: string;
        remedy: string;
        since: Date;
      }>(
        scope,
        'select table_name, kind, message, remedy, since from {held_table} where connector = $1 order by table_name',
        [scope.connector],
      );
      return rows.map((row) => ({
        table: row.table_name,
        problem: { kind: row.kind, message: row.message, remedy: row.remedy, since: row.since.toISOString() },
      }));
    },

    async set(table, problem) {
      await queryState(
        scope,
        `insert into {held_table} (connector, table_name, kind, message, remedy) values ($1, $2, $3, $4, $5)
         on conflict (connector, table_name) do update set
           kind = excluded.kind, message = excluded.message, remedy = excluded.remedy`,
        [scope.connector, table, problem.kind, scope.storableText(problem.message), scope.storableText(problem.remedy)],
      );
    },

    async clear(table) {
      await queryState(scope, 'delete from {held_table} where connector = $1 and table_name = $2', [
        scope.connector,
        table,
      ]);
    },
  };
}
