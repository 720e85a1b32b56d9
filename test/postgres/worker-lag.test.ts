import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start({ settings: { autovacuum: 'off', checkpoint_timeout: '1h' } });
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, note text); create table elsewhere (note text)`;
const capture = [{ table: 'public.orders' }];

test('a stream that is held up lags by as long as it is, and is calm again when it has come through', async () => {
  await using bed = await makeBed(server, { name: 'lags', setup });
  const publisher = new ScriptedPublisher(() => ({ do: 'hold' }));
  const running = await bed.start({ capture, legacy: { heartbeat: '200ms' } }, { publisher });
  const before = await running.until('calm', ({ stream }) => stream.calmSince !== undefined);
  expect(before.stream.lagSeconds).toBeLessThan(2);
  // More than may wait for the bus: what comes behind stays in the stream, and moves the WAL enough for a heartbeat.
  await bed.sql(`insert into orders select n, repeat('x', 100) from generate_series(1, 20000) n`);
  const late = await running.until('lag', ({ stream }) => (stream.lagSeconds ?? 0) > 5);
  expect(late.stream.calmSince).toBeUndefined();
  publisher.decide = () => ({ do: 'accept' });
  publisher.release();
  const after = await running.until('calm again', ({ stream }) => stream.calmSince !== undefined);
  expect(after.stream.lagSeconds).toBeLessThan(5);
  expect(Date.parse(after.stream.calmSince ?? '')).toBeGreaterThan(Date.parse(before.stream.calmSince ?? ''));
}, 60_000);

test('in an idle database there is no lag, and up to when everything is counted goes on', async () => {
  await using bed = await makeBed(server, { name: 'lagless', setup });
  const running = await bed.start({ capture, legacy: { heartbeat: '200ms' } });
  await bed.sql(`insert into orders values (1)`);
  const written = new Date().toISOString();
  const { traffic } = await running.until(
    'everything counted',
    (status) => (status.traffic.countedUntil ?? '') > written && status.stream.lagSeconds === 0,
  );
  const later = await running.until(
    'later',
    (status) => (status.traffic.countedUntil ?? '') > (traffic.countedUntil ?? ''),
  );
  expect(later.stream.lagSeconds).toBe(0);
  const sums = await (await bed.state()).traffic.sums({ seconds: 60 });
  expect(sums.get('public.orders')).toMatchObject({ legacy: 1, reverse: 0 });
}, 60_000);
