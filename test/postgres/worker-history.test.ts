import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LiveSession } from '../../src/capture/upkeep.ts';
import { configSchema } from '../../src/config/schema.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { openState, type State } from '../../src/state/state.ts';
import { openHistory } from '../../src/worker-history.ts';
import { eventually } from '../support/eventually.ts';
import { workerStatus } from '../support/worker-status.ts';

let server: EmbeddedPostgres;
let pool: pg.Pool;
let state: State;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  pool = new pg.Pool({ connectionString: await server.createDatabase('history') });
  state = await openState({ pool, connector: 'shop', schema: 'banyan' });
});

afterAll(async () => {
  await pool?.end();
  await server?.stop();
});

const config = configSchema.parse({ name: 'shop', legacy: { url: 'unused' }, capture: [{ table: 'public.orders' }] });
const status = workerStatus();
const quiet = { ...status, bus: { ...status.bus, queued: 0 }, stream: { ...status.stream, lagSeconds: 0 } };
const points = () => state.health.points({ from: new Date(0), to: new Date(Date.now() + 60_000), stepSeconds: 1e10 });

test('remembers the worst of what was seen and what was added, over sessions, and nothing while nothing happens', async () => {
  let now = quiet;
  let looks = 0;
  const history = openHistory({
    config,
    status: () => {
      looks += 1;
      return now;
    },
    intervals: { lookMs: 10, thinMs: 20 },
    log: pino({ level: 'silent' }),
  });
  const session = async (during: () => Promise<void>) => {
    const stop = new AbortController();
    const running = history.run({ state } as LiveSession, stop.signal);
    await during();
    stop.abort();
    await running;
  };
  const seen = async () => {
    const before = looks;
    await eventually(() => looks > before + 2);
  };
  const { bus } = quiet;
  await session(async () => {
    await seen();
    now = { ...quiet, stream: { ...quiet.stream, lagSeconds: 4 }, slot: { ...quiet.slot, heldBytes: 5_000 } };
    await seen();
    now = { ...quiet, bus: { ...bus, accepted: bus.accepted + 10 } };
    await seen();
  });
  const first = await points();
  expect(first).toMatchObject([{ lagSeconds: 4, heldBytes: 5_000, accepted: bus.accepted + 10 }]);
  await session(seen);
  expect(await points()).toEqual(first);
  await session(async () => {
    now = { ...now, bus: { ...now.bus, throttled: now.bus.throttled + 3 } };
    await seen();
  });
  expect(await points()).toMatchObject([{ accepted: bus.accepted + 10, throttled: bus.throttled + 3 }]);
});

/** A worker that looks after what is old all the time, and otherwise rests; until what it answers is called. */
function startThinning(): () => Promise<void> {
  const stop = new AbortController();
  const history = openHistory({
    config,
    status: () => quiet,
    intervals: { lookMs: 60_000, thinMs: 10 },
    log: pino({ level: 'silent' }),
  });
  const running = history.run({ state } as LiveSession, stop.signal);
  return () => {
    stop.abort();
    return running;
  };
}

test('makes hours of old minutes by itself', async () => {
  const before = await pool.query('select 1 from banyan.health where period_seconds = 3600');
  expect(before.rows).toEqual([]);
  const at = new Date(Date.now() - 8 * 86_400_000).toISOString();
  const none = { lagSeconds: undefined, lagBytes: undefined, heldBytes: undefined };
  await state.health.add({ at, ...none, accepted: 7, throttled: 0, parked: 0, applied: 0 });
  const stop = startThinning();
  await eventually(async () => {
    const { rows } = await pool.query('select accepted from banyan.health where period_seconds = 3600');
    return rows.length === 1;
  });
  await stop();
  const { rows } = await pool.query(
    `select sum(accepted)::int as accepted from banyan.health where starts_at < now() - interval '7d'`,
  );
  expect(rows).toEqual([{ accepted: 7 }]);
});

test('forgets requests a month after they were done, and none that is open or younger', async () => {
  const add = (connector: string, requested: string, finished: string | undefined) =>
    pool.query(
      `insert into banyan.request (connector, command, arguments, requested_by, requested_at, finished_at)
       values ($1, 'redrive', '{}', 'ada', now() - $2::interval, now() - $3::interval)`,
      [connector, requested, finished],
    );
  // More than one statement takes.
  await pool.query(
    `insert into banyan.request (connector, command, arguments, requested_by, finished_at)
     select 'shop', 'redrive', '{}', 'ada', now() - interval '31 days' from generate_series(1, 2500)`,
  );
  await add('shop', '60 days', '29 days');
  await add('shop', '60 days', undefined);
  await add('other', '60 days', '60 days');
  const left = async () => {
    const { rows } = await pool.query<{ connector: string; isOpen: boolean }>(
      'select connector, finished_at is null as "isOpen" from banyan.request order by connector, finished_at',
    );
    return rows;
  };
  const stop = startThinning();
  const wanted = [
    { connector: 'other', isOpen: false },
    { connector: 'shop', isOpen: false },
    { connector: 'shop', isOpen: true },
  ];
  await eventually(
    async () => (await left()).length <= wanted.length,
    () => 'they are never forgotten',
  );
  await stop();
  expect(await left()).toEqual(wanted);
});
