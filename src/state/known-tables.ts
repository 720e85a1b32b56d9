import { queryState, type StateScope } from './scope.ts';

/** Every table that the state has anything of, as it names them: `schema.name`, and what letters stand under that concern none (`message:PREFIX`). */
export async function knownTables(scope: StateScope): Promise<readonly string[]> {
  const from = ['table_record', 'table_stage', 'held_table', 'dead_letter', 'conflict'];
  const rows = await queryState<{ table_name: string }>(
    scope,
    `${from.map((table) => `select table_name from {${table}} where connector = $1`).join(' union ')} order by 1`,
    [scope.connector],
  );
  return rows.map((row) => row.table_name);
}
