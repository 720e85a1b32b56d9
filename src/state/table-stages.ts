import type { Stage } from '../core/progress.ts';
import { FIRST_STAGE } from '../core/stages.ts';
import { queryState, type StateScope } from './scope.ts';

export interface TableStage {
  /** `schema.name` */
  readonly table: string;
  readonly stage: Stage;
  /** ISO 8601 */
  readonly changedAt: string;
  readonly changedBy: string;
}

/** How far each table has moved. */
export interface TableStageStore {
  /** Those that were ever moved; every other one is in the first stage. */
  list(): Promise<TableStage[]>;
  get(table: string): Promise<Stage>;
  /** Without history, and nobody is told: for tests and demonstrations. Everybody else moves tables by `StageChangeStore`. */
  set(table: string, stage: Stage, changedBy: string): Promise<void>;
}

export function tableStageStore(scope: StateScope): TableStageStore {
  return {
    async list() {
      const rows = await queryState<{ table_name: string; stage: Stage; changed_at: Date; changed_by: string }>(
        scope,
        `select table_name, stage, changed_at, changed_by from {table_stage} where connector = $1 order by table_name`,
        [scope.connector],
      );
      return rows.map((row) => ({
        table: row.table_name,
        stage: row.stage,
        changedAt: row.changed_at.toISOString(),
        changedBy: row.changed_by,
      }));
    },

    async get(table) {
      const [row] = await queryState<{ stage: Stage }>(
        scope,
        'select stage from {table_stage} where connector = $1 and table_name = $2',
        [scope.connector, table],
      );
      return row?.stage ?? FIRST_STAGE;
    },

    async set(table, stage, changedBy) {
      await queryState(
        scope,
        `insert into {table_stage} (connector, table_name, stage, changed_by) values ($1, $2, $3, $4)
         on conflict (connector, table_name) do update
         set stage = excluded.stage, changed_at = now(), changed_by = excluded.changed_by`,
        [scope.connector, table, stage, scope.storableText(changedBy)],
      );
    },
  };
}
