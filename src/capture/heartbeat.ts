import type pg from 'pg';
import { type Lsn, parseLsn, ZERO_LSN } from '../core/lsn.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';

/**
 * WAL that our own last heartbeat and the server's book-keeping after it may have written; a database where no more than this moves is
 * idle, and stays so.
 */
const IDLE_BYTES = 64n * 1024n;

export function heartbeatPrefix(connector: string): string {
  return `banyan.${connector}.heartbeat`;
}

/**
 * A transactional message now and then, while others move the WAL: the slot advances through it even where no captured table changes, and its
 * way through the stream is the lag. The non-transactional kind would not move the slot's required position.
 */
export class Heartbeat {
  readonly #pool: pg.Pool;
  readonly #prefix: string;
  #lastLsn: Lsn = ZERO_LSN;

  constructor(pool: pg.Pool, connector: string) {
    this.#pool = pool;
    this.#prefix = heartbeatPrefix(connector);
  }

  /** Returns whether one was sent. */
  async beat(): Promise<boolean> {
    try {
      const before = await this.#walEnd();
      if (this.#lastLsn !== ZERO_LSN && before - this.#lastLsn < IDLE_BYTES) return false;
      await this.#pool.query(`select pg_logical_emit_message(true, $1, '')`, [this.#prefix]);
      this.#lastLsn = await this.#walEnd();
      return true;
    } catch (error) {
      throw toDatabaseError(error, 'sending a heartbeat');
    }
  }

  async #walEnd(): Promise<Lsn> {
    const { rows } = await this.#pool.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
    return parseLsn(rows[0]?.lsn ?? '0/0');
  }
}
