import { liveLatency, PER_SECOND } from '../live-latency.ts';
import type { Scenario } from '../report.ts';
import { quantile, rounded } from '../statistics.ts';
import { WORKER_FLAGS } from '../worker-flags.ts';

/** From commit to the bus's answer. The reference reads another slot at the same time: when the commit arrived there. */
export const latency: Scenario = async ({ rows = 20 * PER_SECOND, progress }) => {
  progress(`${rows} transactions, ${PER_SECOND} a second`);
  const { run, eventsMs, commitsMs } = await liveLatency({ rows, existing: 0, backfill: false });
  const value = quantile(eventsMs, 0.5);
  const reference = quantile(commitsMs, 0.5);
  return {
    scenario: 'latency',
    value: rounded(value),
    unit: 'ms (median, commit to accepted)',
    reference: rounded(reference),
    referenceIs: 'commit to the arrival of the Commit message, undecoded, at the same time',
    ratio: rounded(value / reference),
    peakRssMb: run.peakRssMb,
    p50Ms: rounded(value),
    p99Ms: rounded(quantile(eventsMs, 0.99)),
    referenceP99Ms: rounded(quantile(commitsMs, 0.99)),
    transactionsPerSecond: PER_SECOND,
    rows,
    workerFlags: WORKER_FLAGS.join(' '),
  };
};
