import { connectClient } from '../../src/postgres/connection.ts';
import { installSql } from '../../src/postgres/writer-trigger.ts';
import { startBenchServer } from '../bench-server.ts';
import type { Scenario } from '../report.ts';
import { alternate, median, rounded } from '../statistics.ts';

/** Rows that one statement changes, where what a statement costs should not be felt. */
const MANY = 100_000;

/**
 * What the statement trigger of `observe: writers` costs the application: transactions of one update of one row, the smallest there are, and without the wait for the
 * disk, which would hide it. Then one statement that changes many rows.
 */
export const writerTrigger: Scenario = async ({ rows = 20_000, runs = 5, progress }) => {
  await using server = await startBenchServer();
  for (const table of ['plain', 'observed']) {
    await server.query(`create table ${table} (id integer primary key, quantity integer);
      insert into ${table} select n, 0 from generate_series(1, ${MANY}) n`);
    await server.query(`vacuum analyze ${table}`);
  }
  const observed = { schema: 'public', name: 'observed' };
  await server.query(installSql({ connector: 'bench', schema: 'banyan', table: observed }));
  const client = await connectClient({ url: server.url, name: 'bench' });
  try {
    await client.query('set synchronous_commit = off');
    const one = async (table: string): Promise<number> => {
      const begin = performance.now();
      const text = `update ${table} set quantity = quantity + 1 where id = $1`;
      for (let row = 0; row < rows; row += 1) await client.query({ name: table, text, values: [1 + (row % MANY)] });
      return (rows / (performance.now() - begin)) * 1_000;
    };
    const many = async (table: string): Promise<number> => {
      const begin = performance.now();
      await client.query(`update ${table} set quantity = quantity + 1`);
      const seconds = (performance.now() - begin) / 1_000;
      await client.query(`vacuum ${table}`);
      return MANY / seconds;
    };
    progress(`writer-trigger: ${rows} updates of one row; ${runs} runs of each side, in turns`);
    const turns = { runs, warmUps: 1 };
    const small = await alternate(turns, { a: () => one('observed'), b: () => one('plain') });
    progress(`writer-trigger: updates of ${MANY} rows`);
    const large = await alternate(turns, { a: () => many('observed'), b: () => many('plain') });
    const value = median(small.a);
    const reference = median(small.b);
    return {
      scenario: 'writer-trigger',
      value: rounded(value),
      unit: 'updates of one row/s, with the trigger',
      reference: rounded(reference),
      referenceIs: 'the same without the trigger',
      ratio: rounded(value / reference),
      peakRssMb: Math.round(process.memoryUsage.rss() / 1e6),
      microsPerStatement: rounded(1e6 / value - 1e6 / reference),
      ratioOfManyRows: rounded(median(large.a) / median(large.b)),
      rows,
      runs,
    };
  } finally {
    await client.end();
  }
};
