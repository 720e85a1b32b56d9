import type { History } from '../core/progress.ts';
import type { State } from '../state/state.ts';

/** What was counted and measured in a span of time, in steps; only those in which something happened. */
export async function readHistory(
  { traffic, health }: Pick<State, 'traffic' | 'health'>,
  query: {
    /** undefined: all tables together, with what the connector was like. */
    readonly table: string | undefined;
    readonly from: Date;
    readonly to: Date;
    readonly stepSeconds: number;
  },
): Promise<History> {
  const { table, ...span } = query;
  if (table === undefined) {
    const [points, healthPoints] = await Promise.all([traffic.totals(span), health.points(span)]);
    return { table, stepSeconds: span.stepSeconds, traffic: points, health: healthPoints };
  }
  const points = await traffic.points({ ...span, table });
  return {
    table,
    stepSeconds: span.stepSeconds,
    traffic: points.map(({ table: _table, ...point }) => point),
    health: [],
  };
}
