import { compare, workerOn } from '../compare.ts';
import { copyOut } from '../copy-out.ts';
import { TABLE } from '../bench-server.ts';
import { COLUMNS, loadedDatabase } from '../database.ts';
import type { Scenario } from '../report.ts';

/** The rows that a table holds already, into a publisher that accepts at once, chunk by chunk between marks in the stream. */
export const backfill: Scenario = async (options) => {
  const rows = options.rows ?? 1_000_000;
  await using database = await loadedDatabase({ kind: 'existing', rows });
  return await compare(
    {
      scenario: 'backfill',
      unit: 'rows/s',
      referenceIs: 'COPY of the same columns to stdout by pg alone, split into fields',
      rows,
      runs: options.runs ?? 5,
      warmUps: 1,
      worker: () => workerOn(database, { backfill: true }),
      reference: () => copyOut({ url: database.url, table: TABLE, columns: COLUMNS, rows }),
    },
    options,
  );
};
