import { queryState, type StateScope } from './scope.ts';

/** What a table without a record is in. */
export const DEFAULT_STAGE = 'dual';

export interface TableStage {
  /** `schema.name` */
  readonly table: string;
  readonly stage: string;
  /** ISO 8601 */
  readonly changedAt: string;
  readonly changedBy: string;
}

/** How far each table has moved. */
export interface TableStageStore {
  /** Those that were ever moved; every other one is `dual`. */
  list(): Promise<TableStage[]>;
  get(table: string): Promise<string>;
  set(table: string, stage: string, changedBy: string): Promise<void>;
}

/** Events of the new system are applied in these; in the others they are skipped. */
export function reverseIsOn(stage: string): boolean {
  return stage === 'dual' || stage === 'new-primary';
}

/** Whose word counts where both sides have changed a row, while the policy follows the stage. */
export function stageWinner(stage: string): 'new-wins' | 'legacy-wins' {
  return stage === 'new-primary' ? 'new-wins' : 'legacy-wins';
}

export function tableStageStore(scope: StateScope): TableStageStore {
  return {
    async list() {
      const rows = await queryState<{ table_name: string; stage: string; changed_at: Date; changed_by: string }>(
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
      const [row] = await queryState<{ stage: string }>(
        scope,
        'select stage from {table_stage} where connector = $1 and table_name = $2',
        [scope.connector, table],
      );
      return row?.stage ?? DEFAULT_STAGE;
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
