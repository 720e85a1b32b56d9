import type { TrafficPoint, WriteCounts } from '../core/progress.ts';
import { formatLsn, type Lsn, parseLsn } from '../core/lsn.ts';
import { queryState, type StateScope } from './scope.ts';
import { thinTraffic, thinWriters } from './thinning.ts';

/** Up to where the stream is counted. */
export interface CountedPosition {
  /** As `StreamIdentity.epoch`: positions of another one can not be compared. */
  readonly epoch: number;
  readonly timeline: number;
  /** Of the last commit that is counted. */
  readonly countedLsn: Lsn;
}

export interface StoredPosition extends CountedPosition {
  /** How often it was written. */
  readonly version: number;
  /** Since when every write is counted, ISO 8601. */
  readonly countingSince: string;
  /** Everything that was committed between the two is counted, ISO 8601. An idle worker does not write it; undefined: not known. */
  readonly countedUntil: string | undefined;
}

/** What one table had in one minute. */
export interface TrafficCount extends WriteCounts {
  /** `schema.name` */
  readonly table: string;
  /** Of the minute. */
  readonly startsAt: Date;
  /** Accepted by the bus. */
  readonly events: number;
}

export interface WriterCount {
  readonly table: string;
  readonly startsAt: Date;
  readonly role: string;
  readonly application: string;
  readonly changes: number;
}

/** The last hours, or since a moment of each table's own. A period counts as a whole, also where the window begins inside of it. */
export type TrafficWindow =
  | { readonly seconds: number; readonly tables?: readonly string[] }
  | ReadonlyMap<string, Date>;

export interface TrafficStore {
  /** undefined: nothing was ever counted. */
  position(): Promise<StoredPosition | undefined>;
  /** From now on counts go on from there, and what came before is not all that there was. */
  begin(position: CountedPosition): Promise<StoredPosition>;
  /**
   * Adds the counts and moves the position, both or neither. `after`: the version that the position has; the same call once more changes nothing. `untilMs`: all that
   * was committed before this moment is in it, where that is known. False: somebody else has moved it.
   */
  add(
    counts: readonly TrafficCount[],
    writers: readonly WriterCount[],
    position: CountedPosition & { readonly after: number; readonly untilMs: number | undefined },
  ): Promise<boolean>;
  /** Of all tables that had any, or of those that are asked for. */
  sums(window: TrafficWindow): Promise<Map<string, WriteCounts & { readonly events: number }>>;
  /**
   * Beginning of the last period with a write of the legacy side (foreign ones included), and of reverse sync, ISO 8601. For a table that never had one it goes through all
   * that is kept of it: to be asked of those that may have.
   */
  lastWrites(
    tables: readonly string[],
  ): Promise<Map<string, { readonly legacyAt?: string; readonly reverseAt?: string }>>;
  /** By whole steps; only those in which something happened, in order of time. A step below a minute is a minute. */
  points(filter: {
    readonly table?: string;
    readonly from: Date;
    readonly to: Date;
    readonly stepSeconds: number;
  }): Promise<(TrafficPoint & { readonly table: string })[]>;
  /** The same of all tables together. */
  totals(filter: { readonly from: Date; readonly to: Date; readonly stepSeconds: number }): Promise<TrafficPoint[]>;
  /** Who wrote to the table, most first. */
  writers(table: string, windowSeconds: number): Promise<Pick<WriterCount, 'role' | 'application' | 'changes'>[]>;
  /** Makes hours of old minutes and forgets old hours, at most so many rows of each; false: there is more to do. */
  thin(keep: { readonly minutesMs: number; readonly hoursMs: number; readonly limit: number }): Promise<boolean>;
}

interface PositionRow {
  epoch: number;
  timeline: string;
  counted_lsn: string;
  version: string;
  counting_since: Date;
  counted_until: Date | null;
}

interface SumRow {
  table_name: string;
  legacy: string;
  reverse: string;
  trigger: string;
  foreign_origin: string;
  events: string;
}

const POSITION = 'epoch, timeline, counted_lsn, version, counting_since, counted_until';
const SUMS = ['legacy', 'reverse', 'trigger', 'foreign_origin', 'events']
  .map((column) => `sum(${column}) as ${column}`)
  .join(', ');

export function trafficStore(scope: StateScope): TrafficStore {
  const { connector } = scope;
  return {
    async position() {
      const [row] = await queryState<PositionRow>(
        scope,
        `select ${POSITION} from {traffic_position} where connector = $1`,
        [connector],
      );
      return row && positionOf(row);
    },

    async begin({ epoch, timeline, countedLsn }) {
      const [row] = await queryState<PositionRow>(
        scope,
        `insert into {traffic_position} as known (connector, epoch, timeline, counted_lsn) values ($1, $2, $3, $4)
         on conflict (connector) do update set epoch = excluded.epoch, timeline = excluded.timeline,
           counted_lsn = excluded.counted_lsn, version = known.version + 1, counting_since = now(), counted_until = null
         returning ${POSITION}`,
        [connector, epoch, timeline, formatLsn(countedLsn)],
      );
      return positionOf(row as PositionRow);
    },

    async add(counts, writers, position) {
      // One statement: a row that is not moved leaves everything as it was.
      const [row] = await queryState<{ moved: boolean; version: string | null; same: boolean | null }>(
        scope,
        `with moved as (
           update {traffic_position} set epoch = $2, timeline = $3, counted_lsn = $4, version = version + 1,
             counted_until = greatest(counted_until, to_timestamp($8::float8 / 1000))
           where connector = $1 and version = $5 returning 1
         ), counted as (
           insert into {traffic} as known
             (connector, table_name, period_seconds, starts_at, legacy, reverse, trigger, foreign_origin, events)
           select $1, count."table", 60, count.starts_at, count.legacy, count.reverse, count.trigger, count.foreign_origin, count.events
           from json_to_recordset($6::json) as count("table" text, starts_at timestamptz, legacy bigint, reverse bigint,
             trigger bigint, foreign_origin bigint, events bigint), moved
           order by 2, 4
           on conflict (connector, table_name, period_seconds, starts_at) do update set
             legacy = known.legacy + excluded.legacy, reverse = known.reverse + excluded.reverse,
             trigger = known.trigger + excluded.trigger, foreign_origin = known.foreign_origin + excluded.foreign_origin,
             events = known.events + excluded.events
         ), wrote as (
           insert into {writer_traffic} as known (connector, table_name, period_seconds, starts_at, role, application, changes)
           select $1, writer."table", 60, writer.starts_at, writer.role, writer.application, writer.changes
           from json_to_recordset($7::json) as writer("table" text, starts_at timestamptz, role text, application text, changes bigint),
             moved
           order by 2, 4, 5, 6
           on conflict (connector, table_name, period_seconds, starts_at, role, application)
           do update set changes = known.changes + excluded.changes
         )
         select exists (select from moved) as moved, version,
                (epoch, timeline, counted_lsn) = ($2, $3, $4) as same
         from (select 1) as one left join {traffic_position} on connector = $1`,
        [
          connector,
          position.epoch,
          position.timeline,
          formatLsn(position.countedLsn),
          position.after,
          JSON.stringify(
            counts.map(({ foreign, startsAt, ...count }) => ({
              ...count,
              starts_at: startsAt,
              foreign_origin: foreign,
            })),
          ),
          // Names of roles and applications are the database's own text, but their letters may be none of the state's.
          scope.storableJson(
            JSON.stringify(
              writers.map(({ startsAt, role, application, ...writer }) => ({
                ...writer,
                starts_at: startsAt,
                role: scope.storableText(role),
                application: scope.storableText(application),
              })),
            ),
          ),
          position.untilMs ?? null,
        ],
      );
      // An attempt before this one may have been committed although nobody heard of it.
      return row?.moved === true || (Number(row?.version) === position.after + 1 && row?.same === true);
    },

    async sums(window) {
      const rows = await queryState<SumRow>(scope, ...sumsQuery(connector, window));
      return new Map(rows.map((row) => [row.table_name, countsOf(row)]));
    },

    async lastWrites(tables) {
      if (tables.length === 0) return new Map();
      const rows = await queryState<{ table_name: string; legacy_at: Date | null; reverse_at: Date | null }>(
        scope,
        `select table_name, ${lastWith('legacy > 0 or foreign_origin > 0')} as legacy_at, ${lastWith('reverse > 0')} as reverse_at
         from unnest($2::text[]) as named(table_name)`,
        [connector, tables],
      );
      return new Map(
        rows.map((row) => [
          row.table_name,
          {
            ...(row.legacy_at === null ? {} : { legacyAt: row.legacy_at.toISOString() }),
            ...(row.reverse_at === null ? {} : { reverseAt: row.reverse_at.toISOString() }),
          },
        ]),
      );
    },

    async points({ table, from, to, stepSeconds }) {
      const rows = await queryState<SumRow & { at: Date }>(
        scope,
        `select table_name, to_timestamp(floor(extract(epoch from starts_at) / $5) * $5) as at, ${SUMS}
         from {traffic} where connector = $1 and ($2::text is null or table_name = $2)
           and starts_at >= to_timestamp(floor(extract(epoch from $3::timestamptz) / $5) * $5) and starts_at < $4
         group by 1, 2 order by 2, 1`,
        [connector, table ?? null, from, to, Math.max(60, stepSeconds)],
      );
      return rows.map((row) => ({ table: row.table_name, at: row.at.toISOString(), ...countsOf(row) }));
    },

    async totals({ from, to, stepSeconds }) {
      const rows = await queryState<SumRow & { at: Date }>(
        scope,
        `select to_timestamp(floor(extract(epoch from starts_at) / $4) * $4) as at, ${SUMS}
         from {traffic} where connector = $1 and starts_at >= to_timestamp(floor(extract(epoch from $2::timestamptz) / $4) * $4)
           and starts_at < $3 group by 1 order by 1`,
        [connector, from, to, Math.max(60, stepSeconds)],
      );
      return rows.map((row) => ({ at: row.at.toISOString(), ...countsOf(row) }));
    },

    async writers(table, windowSeconds) {
      const rows = await queryState<{ role: string; application: string; changes: string }>(
        scope,
        `select role, application, sum(changes) as changes from {writer_traffic}
         where connector = $1 and table_name = $2 and starts_at > now() - make_interval(secs => $3 + period_seconds)
         group by role, application order by sum(changes) desc, role, application`,
        [connector, table, windowSeconds],
      );
      return rows.map(({ role, application, changes }) => ({ role, application, changes: Number(changes) }));
    },

    async thin(keep) {
      const done = [await thinTraffic(scope, keep), await thinWriters(scope, keep)];
      return done.every(Boolean);
    },
  };
}

/** Each length of a period has a bound of its own, as the index wants it. */
function sumsQuery(connector: string, window: TrafficWindow): [sql: string, values: unknown[]] {
  if ('seconds' in window) {
    const { seconds, tables } = window;
    return [
      `select table_name, ${SUMS} from {traffic}
       where connector = $1 and (period_seconds = 60 and starts_at > now() - make_interval(secs => $2 + 60)
                                 or period_seconds = 3600 and starts_at > now() - make_interval(secs => $2 + 3600))
         ${tables === undefined ? '' : 'and table_name = any($3)'} group by table_name`,
      [connector, seconds, ...(tables === undefined ? [] : [tables])],
    ];
  }
  return [
    `select table_name, ${SUMS} from {traffic}
     join unnest($2::text[], $3::timestamptz[]) as since(table_name, at) using (table_name)
     where connector = $1 and starts_at > since.at - make_interval(secs => period_seconds) group by table_name`,
    [connector, [...window.keys()], [...window.values()]],
  ];
}

/** SQL: beginning of the newest period of a table of `named` for which the condition holds. */
function lastWith(condition: string): string {
  return `(select max(at) from (values (60), (3600)) as period(seconds) cross join lateral (
      select starts_at as at from {traffic} t
      where t.connector = $1 and t.table_name = named.table_name and period_seconds = period.seconds and (${condition})
      order by starts_at desc limit 1) as newest)`;
}

function positionOf(row: PositionRow): StoredPosition {
  return {
    epoch: row.epoch,
    timeline: Number(row.timeline),
    countedLsn: parseLsn(row.counted_lsn),
    version: Number(row.version),
    countingSince: row.counting_since.toISOString(),
    countedUntil: row.counted_until?.toISOString(),
  };
}

function countsOf(row: SumRow): WriteCounts & { readonly events: number } {
  return {
    legacy: Number(row.legacy),
    reverse: Number(row.reverse),
    trigger: Number(row.trigger),
    foreign: Number(row.foreign_origin),
    events: Number(row.events),
  };
}
