import type { HealthPoint } from '../core/progress.ts';
import { queryState, type StateScope } from './scope.ts';
import { thinHealth, type Thinning } from './thinning.ts';

/** What the connector as a whole was like, per minute, later per hour. */
export interface HealthStore {
  /** Adds to what the minute of `at` has: worst values and sums. */
  add(sample: HealthPoint): Promise<void>;
  /** By whole steps; only those that have something, in order of time. A step below a minute is a minute. */
  points(filter: { readonly from: Date; readonly to: Date; readonly stepSeconds: number }): Promise<HealthPoint[]>;
  /** As `TrafficStore.thin`. */
  thin(keep: Thinning): Promise<boolean>;
}

interface HealthRow {
  at: Date;
  lag_seconds: number | null;
  lag_bytes: string | null;
  held_bytes: string | null;
  accepted: string;
  throttled: string;
  parked: string;
  applied: string;
}

export function healthStore(scope: StateScope): HealthStore {
  return {
    async add(sample) {
      await queryState(
        scope,
        `insert into {health} as known (connector, period_seconds, starts_at, lag_seconds, lag_bytes, held_bytes,
           accepted, throttled, parked, applied)
         values ($1, 60, date_trunc('minute', $2::timestamptz), $3, $4, $5, $6, $7, $8, $9)
         on conflict (connector, period_seconds, starts_at) do update set
           lag_seconds = greatest(known.lag_seconds, excluded.lag_seconds),
           lag_bytes = greatest(known.lag_bytes, excluded.lag_bytes),
           held_bytes = greatest(known.held_bytes, excluded.held_bytes),
           accepted = known.accepted + excluded.accepted, throttled = known.throttled + excluded.throttled,
           parked = known.parked + excluded.parked, applied = known.applied + excluded.applied`,
        [
          scope.connector,
          sample.at,
          sample.lagSeconds ?? null,
          sample.lagBytes ?? null,
          sample.heldBytes ?? null,
          sample.accepted,
          sample.throttled,
          sample.parked,
          sample.applied,
        ],
      );
    },

    async points({ from, to, stepSeconds }) {
      const rows = await queryState<HealthRow>(
        scope,
        `select to_timestamp(floor(extract(epoch from starts_at) / $4) * $4) as at, max(lag_seconds) as lag_seconds,
                max(lag_bytes) as lag_bytes, max(held_bytes) as held_bytes, sum(accepted) as accepted,
                sum(throttled) as throttled, sum(parked) as parked, sum(applied) as applied
         from {health} where connector = $1 and starts_at >= to_timestamp(floor(extract(epoch from $2::timestamptz) / $4) * $4)
           and starts_at < $3 group by 1 order by 1`,
        [scope.connector, from, to, Math.max(60, stepSeconds)],
      );
      return rows.map((row) => ({
        at: row.at.toISOString(),
        lagSeconds: row.lag_seconds ?? undefined,
        lagBytes: optional(row.lag_bytes),
        heldBytes: optional(row.held_bytes),
        accepted: Number(row.accepted),
        throttled: Number(row.throttled),
        parked: Number(row.parked),
        applied: Number(row.applied),
      }));
    },

    thin: (keep) => thinHealth(scope, keep),
  };
}

function optional(number: string | null): number | undefined {
  return number === null ? undefined : Number(number);
}
