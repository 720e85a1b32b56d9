import { againstRawStream } from '../compare.ts';
import type { Scenario } from '../report.ts';

/** One transaction of two million rows: what counts is `peakRssMb`, which must not grow with the transaction. */
export const hugeTransaction: Scenario = (options) =>
  againstRawStream(
    {
      scenario: 'huge-transaction',
      load: { kind: 'one-transaction', rows: options.rows ?? 2_000_000 },
      runs: options.runs ?? 1,
      warmUps: 0,
    },
    options,
  );
