import type { History } from '../core/progress.ts';
import type { State } from '../state/state.ts';
import { holdsHours } from '../state/thinning.ts';
import { laterOf } from './coverage.ts';
import { publishedSince } from './state-facts.ts';

const HOUR_SECONDS = 3_600;

export interface HistoryQuestion {
  /** undefined: all tables together, with what the connector was like. */
  readonly table: string | undefined;
  readonly from: Date;
  readonly to: Date;
  readonly stepSeconds: number;
  /** `progress.keepMinutes` */
  readonly keepMinutesMs: number;
  /** As the worker says it, ISO 8601. */
  readonly countedUntil: string | undefined;
  readonly now: Date;
}

/** What was counted and measured in a span of time, in whole steps; only those in which something happened. */
export async function readHistory(
  state: Pick<State, 'traffic' | 'health' | 'scope'>,
  question: HistoryQuestion,
): Promise<History> {
  const { traffic, health, scope } = state;
  const { table, from, to } = question;
  const [stepSeconds, position, published] = await Promise.all([
    stepOf(state, question),
    traffic.position(),
    table === undefined ? undefined : publishedSince(scope).then((tables) => ({ at: tables.get(table) })),
  ]);
  const begun = position?.countingSince;
  const isBegun = begun !== undefined && (published === undefined || published.at !== undefined);
  const about = {
    table,
    stepSeconds,
    countedSince: isBegun ? laterOf(begun, published?.at) : undefined,
    countedUntil: laterOf(question.countedUntil, position?.countedUntil),
  };
  const span = { from, to, stepSeconds };
  if (table === undefined) {
    const [points, healthPoints] = await Promise.all([traffic.totals(span), health.points(span)]);
    return { ...about, traffic: points, health: healthPoints };
  }
  const points = await traffic.points({ ...span, table });
  return { ...about, traffic: points.map(({ table: _table, ...point }) => point), health: [] };
}

/** Of what is older than minutes are kept there are hours: a point of one must not be taken for a minute's. Nor where they were once kept for a shorter time. */
async function stepOf(
  { scope }: Pick<State, 'scope'>,
  { from, to, stepSeconds, keepMinutesMs, now }: HistoryQuestion,
): Promise<number> {
  const isOld = from.getTime() < now.getTime() - keepMinutesMs;
  if (!isOld && !(await holdsHours(scope, { from, to }))) return stepSeconds;
  return Math.ceil(stepSeconds / HOUR_SECONDS) * HOUR_SECONDS;
}
