import { liveLatency, PER_SECOND } from '../live-latency.ts';
import type { Scenario } from '../report.ts';
import { quantile, rounded } from '../statistics.ts';
import { WORKER_FLAGS } from '../worker-flags.ts';

/** More than the stub takes in the time. */
const EXISTING = 1_000_000;

/** What live changes wait while the same table is being backfilled to the same bus; the reference is the same worker without a backfill, just before. */
export const backfillLatency: Scenario = async ({ rows = 20 * PER_SECOND, progress }) => {
  progress(`${rows} transactions, ${PER_SECOND} a second, without a backfill and during one`);
  const without = await liveLatency({ rows, existing: EXISTING, backfill: false });
  const during = await liveLatency({ rows, existing: EXISTING, backfill: true });
  const { otherEvents } = during.run;
  if (otherEvents === 0 || otherEvents >= EXISTING) {
    throw new Error(`the backfill did not last as long as the transactions: ${otherEvents} of ${EXISTING} rows`);
  }
  const value = quantile(during.eventsMs, 0.99);
  const reference = quantile(without.eventsMs, 0.99);
  return {
    scenario: 'backfill-latency',
    value: rounded(value),
    unit: 'ms (99 %, commit to accepted)',
    reference: rounded(reference),
    referenceIs: 'the same worker without a backfill',
    ratio: rounded(value / reference),
    peakRssMb: during.run.peakRssMb,
    p50Ms: rounded(quantile(during.eventsMs, 0.5)),
    p99Ms: rounded(value),
    referenceP50Ms: rounded(quantile(without.eventsMs, 0.5)),
    backfilledRowsPerSecond: rounded(otherEvents / during.run.seconds),
    transactionsPerSecond: PER_SECOND,
    rows,
    workerFlags: WORKER_FLAGS.join(' '),
  };
};
