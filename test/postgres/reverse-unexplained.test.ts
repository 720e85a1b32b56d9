import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { ApplyOutcome } from '../../src/reverse/intent.ts';
import { ReverseParking } from '../../src/reverse/parking.ts';
import { ReversePipeline } from '../../src/reverse/pipeline.ts';
import { noReverseProgress } from '../../src/reverse/progress.ts';
import { SetAside } from '../../src/reverse/set-aside.ts';
import { openState } from '../../src/state/state.ts';
import { eventBody, intentOf } from '../support/reverse-bed.ts';

let server: EmbeddedPostgres;
let pool: pg.Pool;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  pool = new pg.Pool({ connectionString: await server.createDatabase('reverse_unexplained') });
});
afterAll(async () => {
  await pool?.end();
  await server?.stop();
});

/** Takes one event, which fails in these ways before it is applied; returns the letters that were written until it was done. */
async function lettersAfter(connector: string, failures: readonly Error[]): Promise<unknown[]> {
  const { reverseLetters: store } = await openState({ pool, connector, schema: 'banyan' });
  const log = pino({ level: 'silent' });
  const parking = await ReverseParking.load({ store, waitForMs: 60_000, log });
  const progress = noReverseProgress();
  const stop = new AbortController();
  const left = [...failures];
  const pipeline = new ReversePipeline({
    read: (body) => ({ intents: [intentOf({}, body)], failures: [] }),
    apply: () => {
      const failure = left.shift();
      const outcome: ApplyOutcome = { status: 'applied', verdict: 'echo' };
      return failure === undefined ? Promise.resolve([outcome]) : Promise.reject(failure);
    },
    parking,
    progress,
    setAside: new SetAside({
      parking,
      progress,
      flood: { parked: () => undefined },
      place: 'queue:shop',
      missingGrants: () => Promise.resolve([]),
    }),
    concurrency: 1,
    stop: stop.signal,
    log,
  });
  const running = pipeline.run();
  const body = eventBody({ id: 1, status: 'new' });
  const message = { id: 'm-1', receipt: 'r-1', body, receives: 1, sentAtMs: undefined, group: undefined };
  await new Promise<void>((resolve) => {
    pipeline.take({ message, ownedUntilMs: Number.POSITIVE_INFINITY }, { done: () => resolve() });
  });
  stop.abort();
  await running;
  return await store.list({});
}

const away = new BanyanError('database-unavailable', 'the server starts');
const odd = new Error('nobody knows why');

test('what nobody understands is tried again, however often the event has failed for other reasons', async () => {
  expect(await lettersAfter('passes', [away, away, away, away, odd])).toEqual([]);
});

test('an event that fails again and again for a reason that nobody understands is set aside', async () => {
  expect(await lettersAfter('stays', [odd, odd, odd, odd])).toMatchObject([
    { kind: 'unknown', group: 'public.orders:1' },
  ]);
});
