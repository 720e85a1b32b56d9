import type pg from 'pg';
import type { Config } from '../config/schema.ts';
import { createPool } from '../postgres/connection.ts';
import { collectFacts, type Facts } from '../progress/facts.ts';
import { type MigrationTable, migrationTables } from '../progress/tables.ts';
import type { State } from '../state/state.ts';
import { connectionOf } from '../worker.ts';
import { liveStatus } from './live-status.ts';
import { createLogger } from './log.ts';
import { tableNamed } from './named-table.ts';
import { withState } from './with-state.ts';

/** What a command about one table works with. */
export interface TablePlace {
  readonly state: State;
  /** The legacy database. */
  readonly pool: pg.Pool;
  readonly tables: readonly MigrationTable[];
  readonly table: MigrationTable;
}

/** Opens both databases, and finds the table as a person may write it: `orders` where that is but one. */
export async function withTable<T>(config: Config, name: string, use: (place: TablePlace) => Promise<T>): Promise<T> {
  return withState(config, async (state) => {
    const isSame = config.state.url === undefined;
    const log = createLogger({ level: 'error', stream: process.stderr });
    const pool = isSame ? state.scope.pool : createPool(connectionOf(config), { max: 2, log });
    try {
      const tables = await migrationTables(pool, config);
      const table = tableNamed(name, {
        tables,
        what: 'table',
        unknown: `neither \`capture\` nor \`reverse.apply\` names a table ${name}`,
        remedy: '`banyan status` lists those that they name',
      });
      return await use({ state, pool, tables, table });
    } finally {
      if (!isSame) await pool.end();
    }
  });
}

/** Everything that gates ask for, with the worker's word where one answers. */
export async function factsFor(config: Config, { state, pool, tables }: Omit<TablePlace, 'table'>): Promise<Facts> {
  return collectFacts({ state, pool, config, tables, ...(await liveStatus(config)) });
}
