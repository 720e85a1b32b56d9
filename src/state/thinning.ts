import { queryState, type StateScope } from './scope.ts';

/** How long periods are kept, and how many rows of a table one call may take. */
export interface Thinning {
  readonly minutesMs: number;
  readonly hoursMs: number;
  readonly limit: number;
}

interface Kept {
  readonly table: string;
  /** What tells series apart, beside connector and period. */
  readonly keys: readonly string[];
  /** Each by how two of its values become one. */
  readonly values: Readonly<Record<string, 'sum' | 'max'>>;
}

const one = (how: 'sum' | 'max', columns: readonly string[]) =>
  Object.fromEntries(columns.map((column) => [column, how] as const));

const TRAFFIC: Kept = {
  table: 'traffic',
  keys: ['table_name'],
  values: one('sum', ['legacy', 'reverse', 'trigger', 'foreign_origin', 'events']),
};
const WRITERS: Kept = {
  table: 'writer_traffic',
  keys: ['table_name', 'role', 'application'],
  values: one('sum', ['changes']),
};
const HEALTH: Kept = {
  table: 'health',
  keys: [],
  values: {
    ...one('max', ['lag_seconds', 'lag_bytes', 'held_bytes']),
    ...one('sum', ['accepted', 'throttled', 'parked', 'applied']),
  },
};

/** Each resolves with whether nothing is left to do. */
export const thinTraffic = (scope: StateScope, keep: Thinning): Promise<boolean> => thin(scope, TRAFFIC, keep);
export const thinWriters = (scope: StateScope, keep: Thinning): Promise<boolean> => thin(scope, WRITERS, keep);
export const thinHealth = (scope: StateScope, keep: Thinning): Promise<boolean> => thin(scope, HEALTH, keep);

/** Whether of this time there is anything by hours. */
export async function holdsHours(
  scope: StateScope,
  { from, to }: { readonly from: Date; readonly to: Date },
): Promise<boolean> {
  const inside = `connector = $1 and period_seconds = 3600 and starts_at > $2::timestamptz - interval '1h' and starts_at < $3`;
  const [row] = await queryState<{ there: boolean }>(
    scope,
    `select exists (select from {traffic} where ${inside}) or exists (select from {health} where ${inside}) as there`,
    [scope.connector, from, to],
  );
  return row?.there === true;
}

/** Minutes that are old become part of their hour in the statement that takes them away, so that a sum over both is the same before and after. */
async function thin(scope: StateScope, kept: Kept, keep: Thinning): Promise<boolean> {
  const { table, keys, values } = kept;
  const columns = Object.keys(values);
  const named = keys.map((key) => `${key}, `).join('');
  const sums = Object.entries(values).map(([column, how]) => `${how}(${column})`);
  // greatest() leaves NULL out where the other is a number, as max() does.
  const added = Object.entries(values).map(([column, how]) =>
    how === 'sum'
      ? `${column} = known.${column} + excluded.${column}`
      : `${column} = greatest(known.${column}, excluded.${column})`,
  );
  const [taken] = await queryState<{ minutes: string; hours: string }>(
    scope,
    `with old as (
       select ctid from {${table}} where connector = $1 and period_seconds = 60
         and starts_at < date_trunc('hour', now() - make_interval(secs => $2), 'UTC')
       order by starts_at limit $4 for update skip locked
     ), minutes as (
       delete from {${table}} where ctid = any(array(select ctid from old)) returning *
     ), hours as (
       insert into {${table}} as known (connector, ${named}period_seconds, starts_at, ${columns.join(', ')})
       select connector, ${named}3600, date_trunc('hour', starts_at, 'UTC'), ${sums.join(', ')}
       from minutes group by connector, ${named}date_trunc('hour', starts_at, 'UTC')
       on conflict (connector, ${named}period_seconds, starts_at) do update set ${added.join(', ')}
     ), forgotten as (
       delete from {${table}} where ctid = any(array(
         select ctid from {${table}} where connector = $1 and period_seconds = 3600
           and starts_at < now() - make_interval(secs => $3) order by starts_at limit $4 for update skip locked)) returning 1
     )
     select (select count(*) from minutes) as minutes, (select count(*) from forgotten) as hours`,
    [scope.connector, keep.minutesMs / 1_000, keep.hoursMs / 1_000, keep.limit],
  );
  return Number(taken?.minutes) < keep.limit && Number(taken?.hours) < keep.limit;
}
