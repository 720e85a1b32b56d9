import type pg from 'pg';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import { within } from '../flow/within.ts';
import { type ConnectionSettings, createPool } from '../postgres/connection.ts';

/** The connections of one attempt. */
export interface Pools extends AsyncDisposable {
  /** The legacy database. */
  readonly pool: pg.Pool;
  /** The database of the state: the same pool by default. */
  readonly statePool: pg.Pool;
  /** The legacy database again, for backfills. */
  readonly backfillPool: pg.Pool;
}

/** Of each pool; in one of the state's, requests are listened for. */
const CONNECTIONS = 5;
/** The goodbye of idle connections: a dead one would never answer it. */
const CLOSE_WAIT_MS = 1_000;

/** Connects with the first query. Throws `config` where a URL can not be read. */
export function openPools(config: Config, options: { connection: ConnectionSettings; log: Logger }): Pools {
  const { connection, log } = options;
  const open = (settings: ConnectionSettings): pg.Pool => createPool(settings, { max: CONNECTIONS, log });
  const pool = open(connection);
  const backfillPool = open(connection);
  const statePool = config.state.url === undefined ? pool : open({ ...connection, url: config.state.url });
  return {
    pool,
    statePool,
    backfillPool,
    async [Symbol.asyncDispose]() {
      await within(CLOSE_WAIT_MS, Promise.all([...new Set([pool, statePool, backfillPool])].map((each) => each.end())));
    },
  };
}
