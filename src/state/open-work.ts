import { queryState, type StateScope } from './scope.ts';

/** What waits of one table. */
export interface OpenWork {
  /** Of both directions, those that wait for a person. */
  readonly deadLetters: number;
  /** Events of the new system that are tried again by themselves. */
  readonly waiting: number;
  /** That a person has to decide. */
  readonly conflicts: number;
}

export const NOTHING_OPEN: OpenWork = { deadLetters: 0, waiting: 0, conflicts: 0 };

export interface OpenWorkStore {
  /** Of all tables that have any, by `schema.name`. */
  byTable(): Promise<Map<string, OpenWork>>;
}

export function openWorkStore(scope: StateScope): OpenWorkStore {
  return {
    async byTable() {
      const rows = await queryState<{ table_name: string; letters: string; waiting: string; conflicts: string }>(
        scope,
        `select table_name, sum(letters) as letters, sum(waiting) as waiting, sum(conflicts) as conflicts from (
           select table_name, count(*) filter (where waits_until is null) as letters,
                  count(*) filter (where waits_until is not null) as waiting, 0 as conflicts
           from {dead_letter} where connector = $1 and status = 'parked' group by table_name
           union all
           select table_name, 0, 0, count(*) from {conflict} where connector = $1 and resolved_at is null group by table_name
         ) as open group by table_name`,
        [scope.connector],
      );
      return new Map(
        rows.map((row) => [
          row.table_name,
          { deadLetters: Number(row.letters), waiting: Number(row.waiting), conflicts: Number(row.conflicts) },
        ]),
      );
    },
  };
}
