import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RequestBell } from '../../src/capture/request-bell.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { requestStore } from '../../src/state/requests.ts';
import { openState } from '../../src/state/state.ts';
import { eventually } from '../support/eventually.ts';

let server: EmbeddedPostgres;
let pool: pg.Pool;
let elsewhere: pg.Pool;
const log = pino({ level: 'silent' });

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  pool = new pg.Pool({ connectionString: await server.createDatabase('rings') });
  elsewhere = new pg.Pool({ connectionString: await server.createDatabase('deaf') });
});

afterAll(async () => {
  await pool?.end();
  await elsewhere?.end();
  await server?.stop();
});

const request = { command: 'redrive', arguments: { all: true }, requestedBy: 'test' };

test('a request rings the bell of its connector at once, and no other', async () => {
  const { scope } = await openState({ pool, connector: 'shop', schema: 'banyan' });
  const stop = new AbortController();
  const bell = new RequestBell({ pool, connector: 'shop', log });
  const listener = bell.bell.listener();
  const listening = bell.listen(stop.signal);
  await eventually(() => bell.isHeard);
  // What came before is looked for.
  expect(await listener.waits(1_000, stop.signal)).toBe(true);
  await requestStore({ ...scope, connector: 'other' }).insert(request);
  expect(await listener.waits(200, stop.signal)).toBe(false);
  const rung = listener.waits(5_000, stop.signal);
  await requestStore(scope).insert(request);
  expect(await rung).toBe(true);
  // One that nobody heard: it is not to be trusted any more.
  bell.missed();
  await eventually(() => !bell.isHeard);
  stop.abort();
  await listening;
});

test('a connection that is lost, or that hears nothing, is not trusted', async () => {
  const stop = new AbortController();
  const lost = new RequestBell({ pool, connector: 'lost', log });
  // As behind a pooler: what listens is not where others are heard.
  const deafPool = { connect: () => elsewhere.connect(), query: pool.query.bind(pool) } as unknown as pg.Pool;
  const deaf = new RequestBell({ pool: deafPool, connector: 'lost', log });
  const listening = Promise.all([lost.listen(stop.signal), deaf.listen(stop.signal)]);
  await eventually(() => lost.isHeard);
  expect(deaf.isHeard).toBe(false);
  pool.on('error', () => undefined);
  await elsewhere.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen%' and datname = 'rings'`,
  );
  await eventually(() => !lost.isHeard);
  expect(deaf.isHeard).toBe(false);
  stop.abort();
  await listening;
});
