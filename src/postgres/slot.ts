import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import { connectClient, type ConnectionSettings, textTypes } from './connection.ts';
import { sqlStateOf, toDatabaseError } from './sqlstate.ts';

/** The session that reads a slot. What another role's session does is hidden without pg_read_all_stats. */
export interface SlotHolder {
  readonly pid: number;
  readonly applicationName: string | undefined;
  readonly role: string | undefined;
}

/** A slot as `pg_replication_slots` shows it. `restartLsn` is what pins WAL, `confirmedLsn` is where reading goes on. */
export interface ObservedSlot {
  /** Undefined: a physical slot. */
  readonly plugin: string | undefined;
  readonly database: string | undefined;
  readonly holder: SlotHolder | undefined;
  readonly restartLsn: Lsn | undefined;
  readonly confirmedLsn: Lsn | undefined;
  /** reserved, extended, unreserved or lost. */
  readonly walStatus: string | undefined;
  /** Bytes that can be written before the slot may be lost; undefined: no limit. */
  readonly safeWalBytes: number | undefined;
  /** Why it can not be used any more (PostgreSQL 16 and later say so apart from `walStatus`). */
  readonly invalidation: string | undefined;
  /** Whether standbys keep a copy; undefined before PostgreSQL 17. */
  readonly failover: boolean | undefined;
  /** WAL that the server keeps for the slot, bytes. */
  readonly heldBytes: number;
  /** WAL between the server's end and the confirmed position, bytes. */
  readonly lagBytes: number;
}

/** One query; undefined where there is no such slot. */
export async function observeSlot(
  client: pg.ClientBase | pg.Pool,
  slotName: string,
): Promise<ObservedSlot | undefined> {
  const row = await slotRow(client, slotName).catch((error: unknown) => {
    throw toDatabaseError(error, `looking at slot ${slotName}`);
  });
  if (row === undefined) return undefined;
  return {
    plugin: row['plugin'] ?? undefined,
    database: row['database'] ?? undefined,
    holder:
      row['active_pid'] == null
        ? undefined
        : {
            pid: Number(row['active_pid']),
            applicationName: row['application_name'] ?? undefined,
            role: row['role'] ?? undefined,
          },
    restartLsn: optionalLsn(row['restart_lsn']),
    confirmedLsn: optionalLsn(row['confirmed']),
    walStatus: row['wal_status'] ?? undefined,
    safeWalBytes: row['safe_wal_size'] == null ? undefined : Number(row['safe_wal_size']),
    invalidation: row['invalidation'] ?? undefined,
    failover: row['failover'] == null ? undefined : row['failover'] === 'true',
    heldBytes: Math.max(0, Number(row['held'] ?? 0)),
    lagBytes: Math.max(0, Number(row['lag'] ?? 0)),
  };
}

async function slotRow(
  client: pg.ClientBase | pg.Pool,
  slotName: string,
): Promise<Record<string, string | null> | undefined> {
  // Columns of later versions are read out of the row as JSON, so that one query serves all of them.
  const { rows } = await client.query<Record<string, string | null>>({
    text: `
      select s.plugin::text, s.database::text, s.active_pid::text, a.application_name, a.usename::text as role,
             s.restart_lsn::text, s.confirmed_flush_lsn::text as confirmed, s.wal_status, s.safe_wal_size::text,
             coalesce(to_jsonb(s) ->> 'invalidation_reason',
                      case when (to_jsonb(s) ->> 'conflicting')::boolean then 'conflicting' end) as invalidation,
             to_jsonb(s) ->> 'failover' as failover,
             pg_wal_lsn_diff(here.lsn, s.restart_lsn)::text as held,
             pg_wal_lsn_diff(here.lsn, s.confirmed_flush_lsn)::text as lag
      from pg_replication_slots s
      cross join (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn) here
      left join pg_stat_activity a on a.pid = s.active_pid
      where s.slot_name = $1`,
    values: [slotName],
    types: textTypes,
  });
  return rows[0];
}

/** A session that creating the slot waits for. Its query may hold values, so it is not read. */
export interface Blocker {
  /** 0: a prepared transaction. */
  readonly pid: number;
  readonly role: string | undefined;
  readonly applicationName: string | undefined;
  readonly state: string | undefined;
  readonly transactionSeconds: number | undefined;
}

export interface CreateSlotOptions {
  readonly slotName: string;
  /** Longest wait for one running transaction. */
  readonly lockTimeoutMs: number;
  readonly signal: AbortSignal;
  /** Called when it has to wait, and again when the blockers change. */
  readonly onWaiting?: (blockers: readonly Blocker[]) => void;
}

/**
 * Creates the slot and returns the position from which it reads. The publication must be there already: a slot that decodes WAL from
 * before its publication fails for good (PostgreSQL 15), or skips rows silently (18). It has to wait for every transaction that runs now;
 * past `lockTimeoutMs` it gives up as `database-unavailable` and names whom it waited for. PostgreSQL drops a half-made slot itself.
 */
export async function createSlot(settings: ConnectionSettings, options: CreateSlotOptions): Promise<Lsn> {
  const { slotName, lockTimeoutMs, signal } = options;
  // The timeout of the lock is what ends the wait (it holds per transaction waited for); the statement's is the limit over all.
  const statementTimeoutMs = Math.max(60_000, 3 * lockTimeoutMs);
  const client = await connectClient({ ...settings, lockTimeoutMs, statementTimeoutMs }, signal);
  const watcher = await connectClient(settings, signal).catch(async (error: unknown) => {
    await client.end();
    throw error;
  });
  const abort = () => void client.end();
  signal.addEventListener('abort', abort, { once: true });
  const done = new AbortController();
  let blockers: readonly Blocker[] = [];
  const watch = watchBlockers(watcher, await backendPid(client), done.signal, (found) => {
    blockers = found;
    options.onWaiting?.(found);
  });
  try {
    const { rows } = await client.query<{ lsn: string }>(await creation(client), [slotName]);
    return parseLsn(rows[0]?.lsn ?? '');
  } catch (error) {
    signal.throwIfAborted();
    throw creationError(error, { slotName, lockTimeoutMs, blockers });
  } finally {
    signal.removeEventListener('abort', abort);
    done.abort();
    await watch;
    await Promise.all([client.end(), watcher.end()]);
  }
}

/** Whether there was a slot to drop. Throws `slot-in-use` while a session reads it. */
export async function dropSlot(client: pg.ClientBase | pg.Pool, slotName: string): Promise<boolean> {
  try {
    await client.query('select pg_drop_replication_slot($1)', [slotName]);
    return true;
  } catch (error) {
    if (sqlStateOf(error) === '42704') return false;
    throw toDatabaseError(error, `dropping slot ${slotName}`);
  }
}

/** From 17 on the slot is one that standbys keep a copy of, so that it survives a failover. */
async function creation(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ version: number }>(
    `select current_setting('server_version_num')::int as version`,
  );
  const failover = (rows[0]?.version ?? 0) >= 170_000 ? ', failover => true' : '';
  return `select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput'${failover})`;
}

function creationError(
  error: unknown,
  facts: { readonly slotName: string; readonly lockTimeoutMs: number; readonly blockers: readonly Blocker[] },
): BanyanError {
  const doing = `creating slot ${facts.slotName}`;
  const code = sqlStateOf(error);
  switch (code) {
    case '55P03':
    case '57014': {
      const who = facts.blockers.map(describeBlocker).join('; ');
      return new BanyanError(
        'database-unavailable',
        `${doing}: gave up after ${facts.lockTimeoutMs} ms of waiting for running transactions${who === '' ? '' : `: ${who}`}`,
        {
          code,
          remedy:
            'end the transaction that is named (commit, roll back, or pg_terminate_backend by its owner); it is tried again',
        },
      );
    }
    case '42710':
      return new BanyanError('slot-in-use', `${doing}: another worker has just made it`, { code });
    case '53400':
      return new BanyanError('preflight', `${doing}: all replication slots of the server are in use`, {
        code,
        remedy: `alter system set max_replication_slots = …;  -- one more than now, then restart PostgreSQL; or drop a slot that nobody reads`,
      });
    default:
      return toDatabaseError(error, doing);
  }
}

export function describeBlocker(blocker: Blocker): string {
  if (blocker.pid === 0) return 'a prepared transaction (see pg_prepared_xacts)';
  const parts = [
    blocker.role === undefined ? undefined : `role ${blocker.role}`,
    blocker.applicationName === undefined || blocker.applicationName === ''
      ? undefined
      : `application ${blocker.applicationName}`,
    blocker.state,
    blocker.transactionSeconds === undefined ? undefined : `in its transaction for ${blocker.transactionSeconds} s`,
  ];
  return `pid ${blocker.pid} (${parts.filter((part) => part !== undefined).join(', ')})`;
}

async function watchBlockers(
  watcher: pg.Client,
  pid: number,
  signal: AbortSignal,
  report: (blockers: readonly Blocker[]) => void,
): Promise<void> {
  let last = '';
  while (!signal.aborted) {
    await sleep(100, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    // The watcher only names names: where it fails, the creation goes on without them and reports what itself meets.
    const found = await blockersOf(watcher, pid).catch(() => []);
    const pids = found.map((blocker) => blocker.pid).join();
    if (found.length > 0 && pids !== last) report(found);
    last = pids;
  }
}

async function blockersOf(client: pg.Client, pid: number): Promise<Blocker[]> {
  const { rows } = await client.query<{
    pid: number;
    role: string | null;
    application: string | null;
    state: string | null;
    age: number | null;
  }>(
    `select b.pid, a.usename::text as role, a.application_name as application, a.state,
            extract(epoch from now() - a.xact_start)::int as age
     from unnest(pg_blocking_pids($1)) as b(pid) left join pg_stat_activity a on a.pid = b.pid`,
    [pid],
  );
  return rows.map((row) => ({
    pid: row.pid,
    role: row.role ?? undefined,
    applicationName: row.application ?? undefined,
    state: row.state ?? undefined,
    transactionSeconds: row.age ?? undefined,
  }));
}

async function backendPid(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid ?? 0;
}

function optionalLsn(text: string | null | undefined): Lsn | undefined {
  return text == null ? undefined : parseLsn(text);
}
