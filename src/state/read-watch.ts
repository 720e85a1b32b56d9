import { queryState, type StateScope } from './scope.ts';

/** The server's counters of one table's reads. Times are as the server has them, ISO 8601. */
export interface ReadCounters {
  readonly oid: number;
  readonly scans: number;
  /** OIDs of the table and its partitions, whose scans these are. */
  readonly relations: readonly number[];
  /** Of the server that counts. */
  readonly timeline: number;
  /** When the server last began to count from zero; undefined: it never did. */
  readonly scansReset: string | undefined;
  /** undefined: `pg_stat_statements` can not be read. */
  readonly statements:
    | {
        /** By other roles. */
        readonly calls: number;
        readonly ownCalls: number;
        readonly reset: string | undefined;
        readonly evicted: number;
      }
    | undefined;
}

/** The counters as they were when they moved last, and what that said. */
export interface WatchedReads extends ReadCounters {
  /** `schema.name` */
  readonly table: string;
  /** ISO 8601, like the next three. */
  readonly watchedSince: string;
  readonly movedAt: string;
  /** When a read was seen last. */
  readonly readAt: string | undefined;
  /** When the counters moved last and it could not be told who read. */
  readonly unclearAt: string | undefined;
}

export interface ReadWatchStore {
  list(): Promise<WatchedReads[]>;
  /** What another one has written meanwhile stays: it saw the same. */
  save(moved: readonly { readonly before: WatchedReads | undefined; readonly now: WatchedReads }[]): Promise<void>;
}

interface WatchRow {
  table_name: string;
  oid: string;
  watched_since: string;
  moved_at: string;
  read_at: string | null;
  unclear_at: string | null;
  scans: string;
  relations: number[];
  timeline: string;
  scans_reset: string | null;
  calls: string | null;
  own_calls: string | null;
  calls_reset: string | null;
  evicted: string | null;
}

/** To the microsecond: what was written is compared with what is there. */
const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`;
const TIMES = ['watched_since', 'moved_at', 'read_at', 'unclear_at', 'scans_reset', 'calls_reset'];

export function readWatchStore(scope: StateScope): ReadWatchStore {
  const { connector } = scope;
  return {
    async list() {
      const rows = await queryState<WatchRow>(
        scope,
        `select table_name, oid::int8::text as oid, scans, to_json(relations::int8[]) as relations, timeline, calls, own_calls, evicted,
                ${TIMES.map((column) => `to_char(${column} at time zone 'UTC', ${ISO}) as ${column}`).join(', ')}
         from {read_watch} where connector = $1`,
        [connector],
      );
      return rows.map(watchedOf);
    },

    async save(moved) {
      if (moved.length === 0) return;
      await queryState(
        scope,
        `insert into {read_watch} as known (connector, table_name, oid, watched_since, moved_at, read_at, unclear_at,
           scans, relations, timeline, scans_reset, calls, own_calls, calls_reset, evicted)
         select $1, w."table", w.oid::oid, w.watched_since, w.moved_at, w.read_at, w.unclear_at,
           w.scans, w.relations, w.timeline, w.scans_reset, w.calls, w.own_calls, w.calls_reset, w.evicted
         from json_to_recordset($2::json) as w("table" text, oid int8, watched_since timestamptz, moved_at timestamptz,
           read_at timestamptz, unclear_at timestamptz, scans int8, relations oid[], timeline int8, scans_reset timestamptz, calls int8, own_calls int8,
           calls_reset timestamptz, evicted int8, before timestamptz)
         order by 2
         on conflict (connector, table_name) do update set oid = excluded.oid, watched_since = excluded.watched_since,
           moved_at = excluded.moved_at, read_at = excluded.read_at, unclear_at = excluded.unclear_at,
           scans = excluded.scans, relations = excluded.relations, timeline = excluded.timeline, scans_reset = excluded.scans_reset, calls = excluded.calls,
           own_calls = excluded.own_calls, calls_reset = excluded.calls_reset, evicted = excluded.evicted
         where known.moved_at = (
           select b.before from json_to_recordset($2::json) as b("table" text, before timestamptz)
           where b."table" = known.table_name)`,
        [connector, scope.storableJson(JSON.stringify(moved.map(rowOf)))],
      );
    },
  };
}

function rowOf({ before, now }: { readonly before: WatchedReads | undefined; readonly now: WatchedReads }): object {
  return {
    table: now.table,
    oid: now.oid,
    watched_since: now.watchedSince,
    moved_at: now.movedAt,
    read_at: now.readAt,
    unclear_at: now.unclearAt,
    scans: now.scans,
    relations: now.relations,
    timeline: now.timeline,
    scans_reset: now.scansReset,
    calls: now.statements?.calls,
    own_calls: now.statements?.ownCalls,
    calls_reset: now.statements?.reset,
    evicted: now.statements?.evicted,
    before: before?.movedAt,
  };
}

function watchedOf(row: WatchRow): WatchedReads {
  return {
    table: row.table_name,
    oid: Number(row.oid),
    watchedSince: row.watched_since,
    movedAt: row.moved_at,
    readAt: row.read_at ?? undefined,
    unclearAt: row.unclear_at ?? undefined,
    scans: Number(row.scans),
    relations: row.relations,
    timeline: Number(row.timeline),
    scansReset: row.scans_reset ?? undefined,
    statements:
      row.calls === null
        ? undefined
        : {
            calls: Number(row.calls),
            ownCalls: Number(row.own_calls),
            reset: row.calls_reset ?? undefined,
            evicted: Number(row.evicted),
          },
  };
}
