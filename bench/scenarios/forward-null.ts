import { againstRawStream } from '../compare.ts';
import type { Scenario } from '../report.ts';

/**
 * Everything but the bus: stream, decode, transactions, mapping, ledger, lanes, batches, into a publisher that accepts at once. Transactions of
 * many sizes, inserts and updates.
 */
export const forwardNull: Scenario = (options) =>
  againstRawStream(
    {
      scenario: 'forward-null',
      load: { kind: 'mixed', rows: options.rows ?? 500_000 },
      runs: options.runs ?? 5,
      warmUps: 1,
    },
    options,
  );
