import type pg from 'pg';
import { type Lsn, parseLsn, ZERO_LSN } from '../core/lsn.ts';
import { sleep } from '../flow/supervise.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { LagMeter } from './lag.ts';
import type { Marks } from './marks.ts';

/**
 * WAL that our own last heartbeat and the server's book-keeping after it may have written; a database where no more than this moves is
 * idle, and stays so.
 */
const IDLE_BYTES = 64n * 1024n;
/** Between two looks whether the stream has come to the end of an idle WAL. */
const LOOK_MS = 100;

export interface HeartbeatOptions {
  readonly pool: pg.Pool;
  readonly marks: Pick<Marks, 'set'>;
  readonly lag: LagMeter;
}

/**
 * A mark in the stream now and then, while others move the WAL: the slot advances through it even where no captured table changes, and its way through the
 * stream is the lag. It is transactional, since the other kind of message would not move the slot's required position.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #lastLsn: Lsn = ZERO_LSN;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** Resolves when it has come out of the stream: one at a time says all. */
  async beat(signal: AbortSignal): Promise<void> {
    const { pool, marks, lag } = this.#options;
    const atMs = Date.now();
    const { inserted, flushed } = await this.#walEnd();
    if (this.#lastLsn !== ZERO_LSN && inserted - this.#lastLsn < IDLE_BYTES) {
      lag.sawEnd(flushed, atMs);
      while (lag.isWaiting) await sleep(LOOK_MS, signal);
      return;
    }
    lag.sets();
    try {
      const { seen } = await marks.set(pool, { onSeen: () => lag.arrived(), signal });
      this.#lastLsn = (await this.#walEnd()).inserted;
      await seen;
    } catch (error) {
      lag.gaveUp();
      throw error;
    }
  }

  /** What is committed is flushed. */
  async #walEnd(): Promise<{ inserted: Lsn; flushed: Lsn }> {
    try {
      const { rows } = await this.#options.pool.query<{ inserted: string; flushed: string }>(
        'select pg_current_wal_insert_lsn()::text as inserted, pg_current_wal_flush_lsn()::text as flushed',
      );
      return { inserted: parseLsn(rows[0]?.inserted ?? ''), flushed: parseLsn(rows[0]?.flushed ?? '') };
    } catch (error) {
      throw toDatabaseError(error, 'looking at the end of the WAL');
    }
  }
}
