import { compare, workerOn } from '../compare.ts';
import { loadedDatabase } from '../database.ts';
import { startStub } from '../eventbridge-stub.ts';
import type { Scenario } from '../report.ts';
import { sdkAlone } from '../sdk-alone.ts';

/**
 * One row, updated over and over. Events of a key never share a request and are never in flight together, so this is a round trip an event, whatever
 * the concurrency: the reference sends the same entries one by one.
 */
export const hotKey: Scenario = async (options) => {
  const rows = options.rows ?? 5_000;
  await using stub = await startStub();
  await using database = await loadedDatabase({ kind: 'one-key', rows });
  return await compare(
    {
      scenario: 'hot-key',
      unit: 'events/s',
      referenceIs: 'the SDK alone, sending the same entries one after the other',
      rows,
      runs: options.runs ?? 3,
      warmUps: 1,
      worker: () => workerOn(database, { endpoint: stub.endpoint }),
      reference: async () =>
        await sdkAlone({ endpoint: stub.endpoint, batches: await stub.recorded(), entries: rows, concurrency: 1 }),
    },
    options,
  );
};
