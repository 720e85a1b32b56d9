import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

/** Each order takes so many milliseconds to write. */
const setupOf = (ms: number) => `
  create table orders (id integer primary key, status text);
  create table customers (id integer primary key, status text);
  create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(${ms / 1_000}); return new; end $$;
  create trigger slow before insert on orders for each row execute function slow()`;
const entryOf = (type: string, table: string) => ({
  match: { source: ['shop.orders'], 'detail-type': [type] },
  table,
  operation: 'upsert',
  key: { id: 'detail.id' },
  set: { status: 'detail.status' },
  version: 'detail.version',
});
const config = {
  capture: [{ table: 'public.orders' }, { table: 'public.customers' }],
  reverse: { concurrency: 2, apply: [entryOf('Order', 'public.orders'), entryOf('Customer', 'public.customers')] },
};
const event = (type: string, id: number): string =>
  bodyOf({ id: `${type}-${id}`, type, detail: { id, version: 1, status: 'new' } });
const orders = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => event('Order', from + index));

const rows = async (bed: ReverseWorkerBed, table: string) => (await bed.sql(`select from ${table}`)).length;
const parked = async (bed: ReverseWorkerBed) =>
  (await bed.sql(`select from banyan.dead_letter where status = 'parked'`)).length;

/** A table that is held with so many events, and just mended. */
async function mended(bed: ReverseWorkerBed, count: number) {
  const worker = await bed.startRunning(config);
  await bed.sql('alter table orders rename column status to state');
  await bed.queue.send(...orders(1, count));
  await bed.queue.empty();
  await worker.until('it is held', ({ reverse }) => reverse?.heldTables?.length === 1);
  await bed.sql('alter table orders rename column state to status');
  return worker;
}

test('other tables go on while the events of a mended table are applied, and new ones of that come', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'drain_others', setup: setupOf(20) });
  const worker = await mended(bed, 170);
  await eventually(async () => (await rows(bed, 'orders')) > 0, undefined, { timeoutMs: 20_000 });
  // More than the worker takes in hand.
  await bed.queue.send(...orders(1_001, 60));
  await worker.until('its hand is full', ({ reverse }) => (reverse?.inHand ?? 0) >= 40);
  await bed.queue.send(event('Customer', 1));
  await eventually(async () => (await rows(bed, 'customers')) > 0, undefined, { timeoutMs: 20_000, everyMs: 5 });
  expect(await parked(bed)).toBeGreaterThan(20);
  await bed.queue.empty();
  await eventually(async () => (await rows(bed, 'orders')) === 230, undefined, { timeoutMs: 30_000 });
  expect(await parked(bed)).toBe(0);
  await worker.until('nothing is held', ({ reverse }) => reverse?.heldTables?.length === 0);
});

test('a worker that is stopped meanwhile does not end them first', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'drain_stopped', setup: setupOf(300) });
  const worker = await mended(bed, 40);
  await eventually(async () => (await rows(bed, 'orders')) > 0, undefined, { timeoutMs: 20_000 });
  const began = performance.now();
  await worker.stop();
  expect(performance.now() - began).toBeLessThan(4_000);
  expect(await parked(bed)).toBeGreaterThan(20);
});
