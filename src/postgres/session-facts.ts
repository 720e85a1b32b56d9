import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import { quoteLiteral } from './identifier.ts';

/** What a stream must know of its server and slot before it starts. */
export interface SessionFacts {
  readonly confirmedLsn: Lsn;
  readonly serverEncoding: string;
  /** 0: switched off. */
  readonly walSenderTimeoutMs: number;
}

/** Asked on the walsender's own connection, which takes plain SQL until START_REPLICATION. Throws `gap` where slot or publication is missing. */
export async function sessionFacts(
  client: pg.Client,
  names: { readonly slot: string; readonly publication: string },
): Promise<SessionFacts> {
  const { slot, publication } = names;
  const { rows } = await client.query<{
    confirmed: string | null;
    published: boolean;
    encoding: string;
    timeout: string;
  }>(
    `select (select confirmed_flush_lsn::text from pg_replication_slots where slot_name = ${quoteLiteral(slot)}) as confirmed,
            exists (select from pg_publication where pubname = ${quoteLiteral(publication)}) as published,
            current_setting('server_encoding') as encoding,
            (select setting from pg_settings where name = 'wal_sender_timeout') as timeout`,
  );
  const row = rows[0];
  if (row === undefined || row.confirmed === null) {
    throw new BanyanError('gap', `there is no logical replication slot ${slot}`, { context: { slot } });
  }
  if (!row.published) {
    // PostgreSQL 18 only warns in its own log, then skips the rows and lets us confirm them.
    throw new BanyanError('gap', `there is no publication ${publication}: its rows would be skipped and confirmed`, {
      context: { slot, publication },
    });
  }
  return {
    confirmedLsn: parseLsn(row.confirmed),
    serverEncoding: row.encoding,
    walSenderTimeoutMs: Number(row.timeout),
  };
}
