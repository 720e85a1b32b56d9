import { compare, workerOn } from '../compare.ts';
import { loadedDatabase } from '../database.ts';
import { startStub } from '../eventbridge-stub.ts';
import type { Scenario } from '../report.ts';
import { sdkAlone } from '../sdk-alone.ts';

const CONCURRENCY = 16;

/** The whole way, to an EventBridge in another process. The reference sends the requests that the worker sent, without a database. */
export const forwardBus: Scenario = async (options) => {
  const rows = options.rows ?? 100_000;
  await using stub = await startStub();
  await using database = await loadedDatabase({ kind: 'mixed', rows });
  return await compare(
    {
      scenario: 'forward-bus',
      unit: 'rows/s',
      referenceIs: 'the SDK alone, sending full batches of the same entries at the same concurrency',
      rows,
      runs: options.runs ?? 5,
      warmUps: 1,
      worker: () => workerOn(database, { endpoint: stub.endpoint, concurrency: CONCURRENCY }),
      reference: async () => {
        const entries = (await stub.recorded()).flat();
        const batches = Array.from({ length: Math.floor(entries.length / 10) }, (_, i) =>
          entries.slice(i * 10, i * 10 + 10),
        );
        return await sdkAlone({ endpoint: stub.endpoint, batches, entries: rows, concurrency: CONCURRENCY });
      },
    },
    options,
  );
};
