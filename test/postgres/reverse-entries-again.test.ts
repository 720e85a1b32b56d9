import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';
import { bothCaptured as capture, copies, ordered, orders, twoTables as setup } from '../support/two-entries.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const letters = (bed: ReverseWorkerBed) =>
  bed.sql('select entry, kind, group_key, behind, status from banyan.dead_letter order by id');

test('an event whose version can not be read holds up its row', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'again_version', setup });
  const apply = [{ ...orders, version: 'detail.version' }];
  await bed.startRunning({ capture, reverse: { apply } });
  await bed.queue.send(ordered(1, { quantity: 1, version: 'soon' }));
  await bed.queue.empty();
  await bed.queue.send(ordered(1, { quantity: 5, version: 5 }), ordered(2, { quantity: 7, version: 1 }));
  await bed.queue.empty();
  expect(await bed.sql('select * from orders')).toEqual([{ id: 2, quantity: 7 }]);
  expect(await letters(bed)).toMatchObject([
    { kind: 'row-refused', group_key: 'public.orders:1', behind: false },
    { group_key: 'public.orders:1', behind: true },
  ]);
});

test('what an entry could not read is applied by that entry, wherever it stands by then', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'again_moved', setup });
  const first = await bed.startRunning({ capture, reverse: { apply: [orders, copies] } });
  await bed.queue.send(ordered(1, { quantity: 'many' }));
  await bed.queue.empty();
  await first.stop();
  await bed.sql('alter table orders alter quantity type text');
  await bed.startRunning({ capture, reverse: { apply: [copies, orders] } });
  expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({ sent: 1, stopped: [] });
  expect(await bed.sql('select * from orders')).toEqual([{ id: 1, quantity: 'many' }]);
});

/** The entry is known not to fit its table: what comes for it is read as far as that goes. */
async function drift(bed: ReverseWorkerBed): Promise<void> {
  await bed.sql('alter table orders rename column quantity to amount');
  await bed.queue.send(ordered(9, { quantity: 9 }));
  await bed.queue.empty();
  await bed.ask('redrive', { direction: 'reverse', table: 'public.orders' });
}

test('what came while its entry did not fit the table is applied to that table, wherever its entry stands by then', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'again_drift', setup });
  const first = await bed.startRunning({ capture, reverse: { apply: [orders, copies] } });
  await drift(bed);
  await bed.queue.send(ordered(1, { quantity: 5 }));
  await bed.queue.empty();
  expect((await letters(bed)).at(-1)).toMatchObject({ group_key: 'table:public.orders', entry: 0 });
  await first.stop();
  await bed.startRunning({
    capture,
    reverse: { apply: [copies, { ...orders, set: { amount: 'detail.quantity' } }] },
  });
  await bed.ask('redrive', { direction: 'reverse', all: true });
  expect(await bed.sql('select * from orders order by id')).toMatchObject([
    { id: 1, amount: 5 },
    { id: 9, amount: 9 },
  ]);
});

test('what a mended table can not take of an event holds up its row', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'again_mended', setup });
  await bed.startRunning({ capture, reverse: { apply: [orders] } });
  await drift(bed);
  for (const [id, quantity] of [
    [1, 'many'],
    [1, 5],
    [2, 7],
  ] as const) {
    await bed.queue.send(ordered(id, { quantity }));
    await bed.queue.empty();
  }
  await bed.sql('alter table orders rename column amount to quantity');
  expect(await bed.ask('redrive', { direction: 'reverse', table: 'public.orders' })).toMatchObject({ stopped: [] });
  const applied = [
    { id: 2, quantity: 7 },
    { id: 9, quantity: 9 },
  ];
  expect(await bed.sql('select * from orders order by id')).toEqual(applied);
  const parked = { status: 'parked', group_key: 'public.orders:1' };
  expect((await letters(bed)).slice(1, 3)).toMatchObject([{ ...parked, kind: 'row-refused' }, parked]);
  await bed.queue.send(ordered(1, { quantity: 8 }));
  await bed.queue.empty();
  expect(await bed.sql('select * from orders order by id')).toEqual(applied);
});

test('what a mended table refuses of an event that could not be read keeps its place before later ones', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'again_place', setup });
  await bed.sql('alter table orders add constraint sane check (quantity >= 0)');
  await bed.startRunning({ capture, reverse: { apply: [orders] } });
  await drift(bed);
  for (const quantity of [-1, 5]) {
    await bed.queue.send(ordered(1, { quantity }));
    await bed.queue.empty();
  }
  await bed.sql('alter table orders rename column amount to quantity');
  await bed.ask('redrive', { direction: 'reverse', table: 'public.orders' });
  expect(await bed.sql('select id from orders')).toEqual([{ id: 9 }]);
  await bed.sql('alter table orders drop constraint sane');
  expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({ sent: 2, stopped: [] });
  expect(await bed.sql('select quantity from orders where id = 1')).toEqual([{ quantity: 5 }]);
});
