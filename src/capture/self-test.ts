import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { Finding } from '../core/finding.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import { sleep } from '../flow/supervise.ts';
import { formatMessage, shortXid } from '../postgres/apply-tag.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { OwnMessages } from './own-messages.ts';

const LOOK_MS = 50;
/** When it is said that the stream is behind. */
const PATIENCE_MS = 30_000;

export interface SelfTestOptions {
  readonly messages: OwnMessages;
  readonly secret: Uint8Array;
  /** How far the stream has come. */
  readonly received: () => Lsn | undefined;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Writes one message as reverse sync does and waits until the stream has passed it. Returns undefined where it was shown, else what is wrong. The stream's
 * position decides, not a clock: a worker that has a backlog, or waits for the bus, protects as well as any other.
 */
export async function selfTest(pool: pg.Pool, options: SelfTestOptions): Promise<Finding | undefined> {
  const { messages, received, signal, log } = options;
  signal.throwIfAborted();
  const test = { isSeen: false };
  const token = randomBytes(16).toString('hex');
  const giveUp = messages.expect(token, () => {
    test.isSeen = true;
  });
  try {
    const end = await emit(token, pool, options);
    for (let waitedMs = 0; !test.isSeen; waitedMs += LOOK_MS) {
      const position = received();
      if (position !== undefined && position >= end) return unprotected(messages.prefix);
      if (waitedMs === PATIENCE_MS) {
        log.info('reverse sync begins when the stream has come to where its self-test was written');
      }
      await sleep(LOOK_MS, signal);
    }
    return undefined;
  } finally {
    giveUp();
  }
}

/** Resolves with the end of the WAL behind its commit. */
async function emit(token: string, pool: pg.Pool, { messages, secret }: SelfTestOptions): Promise<Lsn> {
  try {
    const client = await pool.connect();
    let failed = true;
    try {
      // Nothing depends on it outliving the server: it need not wait for a synchronous standby.
      await client.query('begin; set local synchronous_commit = local');
      const begun = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
      const key = { secret, xid: shortXid(begun.rows[0]?.xid ?? '') };
      const content = formatMessage({ kind: 'selftest', token }, key);
      await client.query('select pg_logical_emit_message(true, $1, $2::text)', [messages.prefix, content]);
      await client.query('commit');
      const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
      failed = false;
      return parseLsn(rows[0]?.lsn ?? '');
    } finally {
      client.release(failed);
    }
  } catch (error) {
    throw toDatabaseError(error, 'writing the self-test of reverse sync');
  }
}

function unprotected(prefix: string): Finding {
  return {
    code: 'LOOP_PROTECTION_OFF',
    severity: 'error',
    subject: prefix,
    message:
      'the stream passed a message that reverse sync wrote and did not show it: our own writes would be published as changes of the legacy system',
    remedy:
      'see that events are applied to the database that the slot reads, over a connection that no pooler rewrites; reverse sync stays off until the worker is restarted, capture goes on',
  };
}
