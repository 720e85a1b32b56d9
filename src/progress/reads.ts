import type pg from 'pg';
import { quoteIdentifier } from '../postgres/identifier.ts';
import { sqlStateOf, toDatabaseError } from '../postgres/sqlstate.ts';
import type { ReadCounters, WatchedReads } from '../state/read-watch.ts';
import type { State } from '../state/state.ts';
import { compareReads, type ReadFacts } from './compare-reads.ts';
import { words } from './sql-words.ts';
import { type Tracking, trackingOf } from './tracking.ts';

export interface ReadTable {
  /** `schema.name` */
  readonly table: string;
  readonly oid: number;
  /** Its own, and those of views and functions that lead to it: what a statement that reads it names. Those of its partitions are looked up. */
  readonly names: readonly string[];
  readonly workedSince: (movedAt: string) => boolean;
}

/** Calls of one role, of statements that name a table. */
export interface Reader {
  readonly role: string;
  readonly calls: number;
  readonly statements: number;
  readonly own: boolean;
}

/** While a table is read all the time, a write of ours a minute is enough. */
const REST_MS = 60_000;

/** Looks at the counters of all tables, in a fixed number of queries, and writes down those that have moved. */
export async function readsOf(options: {
  readonly state: State;
  readonly pool: pg.Pool;
  readonly tables: readonly ReadTable[];
}): Promise<Map<string, ReadFacts>> {
  const { state, pool, tables } = options;
  if (tables.length === 0) return new Map();
  // What is written there must be older than the counters: they only grow.
  const known = new Map((await state.readWatch.list()).map((watched) => [watched.table, watched]));
  const server = await serverCounters(pool, tables);
  const found = tables.flatMap((table) => {
    const seen = server.counters.get(table.oid);
    if (seen === undefined) return [];
    const { ownRole, ...counters } = seen;
    const before = known.get(table.table);
    const look = {
      table: table.table,
      at: server.at,
      counts: server.blind === undefined,
      countsNested: server.countsNested,
      ownRole,
      workedSince: table.workedSince,
    };
    return [{ before, ownRole, ...compareReads(before, counters, look) }];
  });
  await state.readWatch.save(found.filter(({ before, now, moved }) => moved && isDue(before, now)));
  return new Map(
    found.map(({ now, ownRole }) => [
      now.table,
      {
        source: now.statements === undefined ? 'pg_stat_user_tables' : 'pg_stat_statements',
        at: server.at,
        watchedSince: now.watchedSince,
        readAt: now.readAt,
        unclearAt: now.unclearAt,
        blind: server.blind,
        ownRole,
        withoutStatements: server.withoutStatements,
        countsNested: server.countsNested,
      },
    ]),
  );
}

function isDue(before: WatchedReads | undefined, now: WatchedReads): boolean {
  if (before === undefined || before.watchedSince !== now.watchedSince) return true;
  // What was seen first is kept at once: what comes after may explain it away.
  return (['movedAt', 'readAt', 'unclearAt'] as const).some((time) => isLater(before[time], now[time]));
}

function isLater(before: string | undefined, now: string | undefined): boolean {
  if (now === undefined) return false;
  return before === undefined || Date.parse(now) - Date.parse(before) >= REST_MS;
}

interface ServerCounters {
  readonly at: string;
  readonly blind: string | undefined;
  readonly countsNested: boolean;
  readonly counters: ReadonlyMap<number, ReadCounters & { readonly ownRole: boolean }>;
  readonly withoutStatements: string | undefined;
}

async function serverCounters(pool: pg.Pool, tables: readonly ReadTable[]): Promise<ServerCounters> {
  try {
    const { rows } = await pool.query<{
      at: string;
      reset: string | null;
      tables: { oid: number; scans: number; relations: number[]; ownRole: boolean }[];
    }>(SCANS, [tables.map(({ oid }) => oid)]);
    const [row] = rows;
    const timeline = await timelineOf(pool);
    const tracking = await trackingOf(pool);
    const source = await statementSource(pool, tracking);
    const calls = 'schema' in source ? await callCounters(pool, { schema: source.schema, tables }) : source.why;
    const counters = new Map<number, ReadCounters & { ownRole: boolean }>();
    for (const { oid, scans, relations, ownRole } of row?.tables ?? []) {
      const statements =
        typeof calls === 'string'
          ? undefined
          : { ...(calls.tables.get(oid) ?? { calls: 0, ownCalls: 0 }), reset: calls.reset, evicted: calls.evicted };
      counters.set(oid, {
        oid,
        scans,
        relations,
        timeline,
        scansReset: row?.reset ?? undefined,
        ownRole,
        statements,
      });
    }
    const withoutStatements = typeof calls === 'string' ? calls : undefined;
    return { at: row?.at ?? '', blind: tracking.scans, countsNested: tracking.nested, counters, withoutStatements };
  } catch (error) {
    throw toDatabaseError(error, 'looking at who reads');
  }
}

/** Of the WAL that is written; 0 where the server does not say, as one whose storage is not PostgreSQL's may. */
async function timelineOf(pool: pg.Pool): Promise<number> {
  try {
    const { rows } = await pool.query<{ timeline: number }>(
      `select case when pg_is_in_recovery() then 0
              else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8::float8 end as timeline`,
    );
    return rows[0]?.timeline ?? 0;
  } catch (error) {
    if (sqlStateOf(error) === '0A000') return 0;
    throw error;
  }
}

/** Why statements can not be read, or where the view is. */
async function statementSource(
  pool: pg.Pool,
  tracking: Tracking,
): Promise<{ readonly schema: string } | { readonly why: string }> {
  const { rows } = await pool.query<{ schema: string | null; info: boolean; isLoaded: boolean; may: boolean }>(
    `select n.nspname::text as schema, to_regclass(quote_ident(n.nspname) || '.pg_stat_statements_info') is not null as info,
            current_setting('pg_stat_statements.track', true) is not null as "isLoaded", pg_has_role('pg_read_all_stats', 'usage') as may
     from (select 1) as one left join pg_extension e on e.extname = 'pg_stat_statements' left join pg_namespace n on n.oid = e.extnamespace`,
  );
  const [found] = rows;
  if (found === undefined || found.schema === null) {
    return { why: 'install pg_stat_statements in this database (create extension) to tell readers apart' };
  }
  if (!found.isLoaded) return { why: 'pg_stat_statements is not in shared_preload_libraries' };
  if (tracking.statements !== undefined) return { why: tracking.statements };
  if (!found.info) return { why: 'pg_stat_statements is older than 1.9: alter extension pg_stat_statements update' };
  if (!found.may) return { why: 'our role may not read the statements of others: grant pg_read_all_stats to it' };
  return { schema: found.schema };
}

interface Calls {
  readonly reset: string | undefined;
  readonly evicted: number;
  readonly tables: ReadonlyMap<number, { readonly calls: number; readonly ownCalls: number }>;
}

async function callCounters(
  pool: pg.Pool,
  { schema, tables }: { schema: string; tables: readonly ReadTable[] },
): Promise<Calls | string> {
  try {
    const { rows } = await pool.query<{
      reset: string | null;
      evicted: number;
      tables: { oid: number; calls: number; ownCalls: number }[];
    }>(
      `with ${NAMING(schema)}
       select (select ${iso('stats_reset')} from ${quoteIdentifier(schema)}.pg_stat_statements_info) as reset,
         (select dealloc::float8 from ${quoteIdentifier(schema)}.pg_stat_statements_info) as evicted,
         (select coalesce(json_agg(json_build_object('oid', oid::int8, 'calls', calls, 'ownCalls', own_calls)), '[]') from (
            select oid, coalesce(sum(calls) filter (where not own), 0)::float8 as calls,
              coalesce(sum(calls) filter (where own), 0)::float8 as own_calls
            from naming group by oid) as sums) as tables`,
      namesOf(tables),
    );
    const [row] = rows;
    if (row === undefined) return 'pg_stat_statements gave no answer';
    const { reset, evicted, tables: sums } = row;
    return { reset: reset ?? undefined, evicted, tables: new Map(sums.map(({ oid, ...calls }) => [oid, calls])) };
  } catch (error) {
    // Its library is not loaded although a setting of it is there.
    if (sqlStateOf(error) === '55000') return 'pg_stat_statements is not in shared_preload_libraries';
    throw error;
  }
}

/** Which roles called statements that name the table, most first; or why that is not known. */
export async function readersOf(pool: pg.Pool, table: ReadTable): Promise<readonly Reader[] | string> {
  try {
    const source = await statementSource(pool, await trackingOf(pool));
    if ('why' in source) return source.why;
    const { rows } = await pool.query<Reader>(
      `with ${NAMING(source.schema)}
       select coalesce(rolname::text, userid::text) as role, sum(calls)::float8 as calls, count(*)::int as statements, own
       from naming left join pg_roles r on r.oid = userid group by rolname, userid, own order by sum(calls) desc`,
      namesOf([table]),
    );
    return rows;
  } catch (error) {
    throw toDatabaseError(error, 'looking at who reads');
  }
}

function namesOf(tables: readonly ReadTable[]): [number[], string[]] {
  const pairs = tables.flatMap(({ oid, names }) => names.map((name) => ({ oid, name })));
  return [pairs.map(({ oid }) => oid), pairs.map(({ name }) => name)];
}

function iso(time: string): string {
  return `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
}

/**
 * Scans of a table are those of its partitions as well. Databases keep the time of their last reset, but lose it in a crash, with the counters; that of the archiver
 * is set anew then, and by hardly anything else.
 */
const SCANS = `
  select ${iso('now()')} as at,
    ${iso(`greatest((select stats_reset from pg_stat_database where datname = current_database()),
      (select stats_reset from pg_stat_archiver))`)} as reset,
    (select coalesce(json_agg(json_build_object('oid', c.oid::int8, 'scans', scans.of, 'relations', scans.relations, 'ownRole',
        not (select rolsuper from pg_roles where rolname = current_user) and not pg_has_role(c.relowner, 'usage'))), '[]')
     from pg_class c cross join lateral (
       select coalesce(sum(pg_stat_get_numscans(r.oid) + coalesce(
         (select sum(pg_stat_get_numscans(i.indexrelid)) from pg_index i where i.indrelid = r.oid), 0)), 0)::float8 as of, json_agg(r.oid::int8) as relations
       from (select c.oid union select relid::oid from pg_partition_tree(c.oid::regclass)) as r(oid)) as scans
     where c.oid = any($1::oid[])) as tables`;

/**
 * SQL of `naming`: each statement (userid, own, calls) with each table (oid) whose names ($2, of the oids $1) it has, or that of a partition. What only manages a
 * table reads nothing; nor does what the database looks up by itself for a foreign key, in the name of the table's owner, whoever writes: scans alone tell of it. Words are compared by hash: names times statements would be too many.
 */
const NAMING = (schema: string): string => `
  name as (
    select oid, btrim(${words('name')}) as word from unnest($1::oid[], $2::text[]) as n(oid, name)
    union
    select root, btrim(${words('c.relname::text')}) from (select distinct unnest($1::oid[])) as t(root)
    cross join lateral pg_partition_tree(t.root::regclass) as part join pg_class c on c.oid = part.relid
  ),
  said as materialized (
    select row_number() over () as n, userid, userid = (select oid from pg_roles where rolname = current_user) as own, calls,
      ${words('query')} as text
    from ${quoteIdentifier(schema)}.pg_stat_statements
    where dbid = (select oid from pg_database where datname = current_database())
      and query !~* '^\\s*(grant|revoke|alter|drop|comment|analyze|vacuum|reindex|cluster|lock)\\M'
      and (toplevel or query !~ '^(SELECT [^ ]+ FROM|DELETE FROM|UPDATE) ONLY .* OPERATOR\\(pg_catalog\\.')
  ),
  word as materialized (select distinct n, word from said cross join lateral string_to_table(text, ' ') as word),
  pair as (
    select oid, n from name join word using (word)
    union
    select oid, n from name join said on strpos(' ' || said.text || ' ', ' ' || name.word || ' ') > 0 where name.word like '% %'
  ),
  naming as materialized (select oid, userid, own, calls from pair join said using (n))`;
