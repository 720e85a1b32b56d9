import type pg from 'pg';
import { toDatabaseError } from './sqlstate.ts';

/** A transaction that has written to a table and has not ended. */
export interface Writer {
  /** `virtualtransaction` of its locks. */
  readonly transaction: string;
  /** Its id and those of its savepoints; none: it has written nothing. When it is prepared its own id stays; before PostgreSQL 14.1 `transaction` does not. */
  readonly xids: readonly string[];
  /** undefined: a prepared transaction. */
  readonly pid: number | undefined;
  readonly role: string | undefined;
  readonly applicationName: string | undefined;
  readonly state: string | undefined;
  /** Since it began. */
  readonly seconds: number | undefined;
}

/**
 * Who holds a lock that a write takes on one of these relations. It is held until the transaction is visible to others: also while a commit, which the
 * stream shows already, waits for a synchronous standby.
 */
export async function writersOf(client: pg.ClientBase | pg.Pool, oids: readonly number[]): Promise<readonly Writer[]> {
  try {
    const { rows } = await client.query<Record<keyof Writer, never>>(
      `select distinct l.virtualtransaction as transaction, l.pid, a.usename::text as role, a.application_name as "applicationName",
              a.state, extract(epoch from now() - a.xact_start)::float8 as seconds,
              array(select x.transactionid::text from pg_locks x
                    where x.virtualtransaction = l.virtualtransaction and x.locktype = 'transactionid' and x.mode = 'ExclusiveLock'
                    order by 1) as xids
       from pg_locks l left join pg_stat_activity a on a.pid = l.pid
       where l.locktype = 'relation' and l.relation = any($1::oid[]) and l.granted
         and l.database = (select oid from pg_database where datname = current_database())
         and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
         and l.pid is distinct from pg_backend_pid()`,
      [oids],
    );
    return (rows as unknown as Writer[]).map((row) => ({ ...row, pid: row.pid ?? undefined }));
  } catch (error) {
    throw toDatabaseError(error, 'looking for open transactions');
  }
}

/** Those of `now` that were there before. */
export function remaining(before: readonly Writer[], now: readonly Writer[]): readonly Writer[] {
  const known = new Set(before.flatMap(({ transaction, xids }) => [transaction, ...xids]));
  return now.filter(({ transaction, xids }) => [transaction, ...xids].some((id) => known.has(id)));
}

export function describeWriter({ pid, role, applicationName, state, seconds }: Writer): string {
  if (pid === undefined) return 'a prepared transaction (see pg_prepared_xacts)';
  const who = [`pid ${pid}`, role && `role ${role}`, applicationName && `application ${applicationName}`, state];
  const age = seconds == null ? '' : ` for ${Math.round(seconds)} s`;
  return `${who.filter(Boolean).join(', ')}${age}`;
}
