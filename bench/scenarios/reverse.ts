import { compare } from '../compare.ts';
import { driverAlone } from '../driver-alone.ts';
import { startQueueStub } from '../queue-stub.ts';
import type { Scenario } from '../report.ts';
import { reverseDatabase, type ReverseDatabase, type ReversePlace } from '../reverse-database.ts';
import { reverseRun } from '../reverse-run.ts';

const CONCURRENCY = 8;

/**
 * The way back: from a queue in another process, through envelope, mapping and lanes, into a table that is captured as well, until the last message is deleted. The reference
 * runs the same statements, as many events in a transaction, with nothing to receive, to decide and to recognize.
 */
export const reverse: Scenario = async (options) => {
  const events = options.rows ?? 20_000;
  await using database = await reverseDatabase();
  // What the worker did last: the reference does the same.
  let eventsPerTransaction = 1;
  const { eventsPerRequest, cpuMicrosPerRow, referenceCpuMicrosPerRow, ...report } = await compare(
    {
      scenario: 'reverse',
      unit: 'events/s',
      referenceIs: 'pg alone, running the same statements on as many connections',
      rows: events,
      runs: options.runs ?? 5,
      warmUps: 1,
      worker: () =>
        inPlace(database, async (place) => {
          await using stub = await startQueueStub(events);
          const job = { ...place, url: database.url, queueUrl: stub.queueUrl, concurrency: CONCURRENCY };
          const usage = await reverseRun(job);
          const applied = await database.applied(place);
          if (applied.events !== events) throw new Error(`${applied.events} of ${events} events were applied`);
          eventsPerTransaction = Math.max(1, Math.round(events / applied.transactions));
          return {
            ...usage,
            latenciesMs: [],
            batchSize: Math.round((events / applied.transactions) * 10) / 10,
            otherEvents: 0,
          };
        }),
      reference: () =>
        inPlace(database, (place) =>
          driverAlone({
            ...place,
            url: database.url,
            queueUrl: 'http://127.0.0.1:9/000000000000/bench',
            concurrency: CONCURRENCY,
            events,
            eventsPerTransaction,
          }),
        ),
    },
    options,
  );
  return {
    ...report,
    cpuMicrosPerEvent: cpuMicrosPerRow ?? 0,
    referenceCpuMicrosPerEvent: referenceCpuMicrosPerRow ?? 0,
    eventsPerTransaction: eventsPerRequest ?? 0,
    concurrency: CONCURRENCY,
  };
};

async function inPlace<T>(database: ReverseDatabase, use: (place: ReversePlace) => Promise<T>): Promise<T> {
  const place = await database.fresh();
  try {
    return await use(place);
  } finally {
    await database.done(place);
  }
}
