import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `
  create table orders (id integer primary key, status text);
  create table customers (id integer primary key, status text)`;
const capture = [{ table: 'public.orders' }, { table: 'public.customers' }];

const entryOf = (type: string, table: string) => ({
  match: { source: ['shop.orders'], 'detail-type': [type] },
  table,
  operation: 'upsert',
  key: { id: 'detail.id' },
  set: { status: 'detail.status' },
  version: 'detail.version',
});
const apply = [entryOf('Order', 'public.orders'), entryOf('Customer', 'public.customers')];

const event = (type: string, id: number, version = 1): string =>
  bodyOf({ id: `${type}-${id}-${version}`, type, detail: { id, version, status: `v${version}` } });

const letters = (bed: ReverseWorkerBed) =>
  bed.sql<{ group_key: string; kind: string; code: string; message: string; behind: boolean }>(
    `select group_key, kind, code, message, behind from banyan.dead_letter where status = 'parked' order by behind, id`,
  );

test('a table that a right is missing for is held with what would mend it, other tables go on, and its events are applied once it is granted', async () => {
  const name = 'reverse_missing_right';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  const worker = await bed.startRunning({ capture, reverse: { apply, concurrency: 1 } });
  await bed.sql(`revoke all on orders from "${name} worker"`);
  // More than the worker takes in hand.
  const ids = Array.from({ length: 15 }, (_, index) => index + 1);
  await bed.queue.send(event('Order', 1, 2), ...ids.map((id) => event('Order', id)), event('Customer', 1));
  await worker.until('it says so', ({ reverse }) => reverse?.problem?.kind === 'database-privilege');
  await eventually(
    async () => (await bed.sql('select from customers')).length === 1,
    () => 'a table without fault is held up',
    { timeoutMs: 20_000 },
  );
  await bed.queue.empty();
  expect(worker.status().reverse).toMatchObject({ state: 'running', heldTables: ['public.orders'] });
  const held = await letters(bed);
  expect(held).toHaveLength(16);
  expect(new Set(held.map(({ group_key }) => group_key))).toEqual(new Set(['table:public.orders']));
  const [first] = held;
  expect(first).toMatchObject({ kind: 'database-privilege', code: '42501', behind: false });
  const said = bed.logged.map((line) => JSON.parse(line) as { msg: string; remedy?: string });
  const grants = /grant .*;/.exec(first?.message ?? '')?.[0] ?? '';
  expect(said.find(({ msg }) => msg.startsWith('public.orders is held'))?.remedy).toContain(grants);
  await bed.sql(grants);
  await eventually(
    async () => (await letters(bed)).length === 0,
    () => 'the right is there, and the events are not applied',
    { timeoutMs: 30_000 },
  );
  expect(await bed.sql('select id, status from orders order by id')).toEqual(
    ids.map((id) => ({ id, status: id === 1 ? 'v2' : 'v1' })),
  );
  await worker.until('nothing is held', ({ reverse }) => reverse?.heldTables?.length === 0 && reverse.parked === 0);
  await bed.queue.send(event('Order', 20));
  await bed.queue.empty();
  expect(await letters(bed)).toEqual([]);
});

test('a redrive of such a table says what is missing, and leaves it held', async () => {
  const name = 'reverse_still_missing';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  const worker = await bed.startRunning({ capture, reverse: { apply } });
  await bed.sql(`revoke all on orders from "${name} worker"`);
  await bed.queue.send(event('Order', 1));
  await worker.until('it is held', ({ reverse }) => reverse?.heldTables?.length === 1);
  expect(await bed.ask('redrive', { direction: 'reverse', table: 'public.orders' })).toMatchObject({
    sent: 0,
    stopped: [{ group: 'table:public.orders', reason: expect.stringContaining('42501') as string }],
  });
  expect(worker.status().reverse).toMatchObject({ heldTables: ['public.orders'] });
  expect(await letters(bed)).toHaveLength(1);
});
