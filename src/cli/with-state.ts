import type pg from 'pg';
import type { Config } from '../config/schema.ts';
import { createPool } from '../postgres/connection.ts';
import { readState, type State } from '../state/state.ts';
import { connectionOf } from '../worker.ts';
import { createLogger } from './log.ts';

/** A pool of the database that holds the state, ended whatever happens. */
export async function withStatePool<T>(config: Config, use: (pool: pg.Pool) => Promise<T>): Promise<T> {
  const connection = connectionOf(config);
  const pool = createPool(
    { ...connection, url: config.state.url ?? connection.url },
    { max: 2, log: createLogger({ level: 'error', stream: process.stderr }) },
  );
  try {
    return await use(pool);
  } finally {
    await pool.end();
  }
}

/** The state of a connector that has run before. Throws `preflight` where it has not. */
export async function withState<T>(config: Config, use: (state: State) => Promise<T>): Promise<T> {
  return withStatePool(config, async (pool) =>
    use(await readState({ pool, connector: config.name, schema: config.state.schema })),
  );
}
