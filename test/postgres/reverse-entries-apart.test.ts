import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeReverseWorkerBed } from '../support/reverse-worker-bed.ts';
import { bothCaptured as capture, copies, ordered, orders, twoTables as setup } from '../support/two-entries.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const apply = [orders, copies];

test('what one entry can not read holds up its row, and neither other rows nor other entries', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'apart_misfit', setup });
  const worker = await bed.startRunning({ capture, reverse: { apply } });
  await bed.queue.send(ordered(1, { quantity: 'many' }));
  await worker.until('it is parked', ({ reverse }) => reverse?.parked === 1 && reverse.inHand === 0);
  await bed.queue.send(ordered(1, { quantity: 5 }));
  await bed.queue.send(ordered(2, { quantity: 7 }));
  await worker.until('the next of the row waits', ({ reverse }) => reverse?.parked === 2 && reverse.inHand === 0);
  expect(await bed.sql('select * from orders')).toEqual([{ id: 2, quantity: 7 }]);
  expect(await bed.sql('select * from copies order by id')).toEqual([
    { id: 1, quantity: '5' },
    { id: 2, quantity: '7' },
  ]);
  const letters = await bed.sql('select id::int, entry, kind, group_key, behind from banyan.dead_letter order by id');
  expect(letters).toMatchObject([
    { entry: 0, kind: 'row-refused', group_key: 'public.orders:1', behind: false },
    { entry: 0, group_key: 'public.orders:1', behind: true },
  ]);
  // As it is, it can not be applied, and keeps its place.
  const report = await bed.ask('redrive', { direction: 'reverse', all: true });
  expect(report).toMatchObject({ sent: 0, stopped: [{ group: 'public.orders:1', letter: letters[0]?.['id'] }] });
  // Given up, it lets the others go on.
  await bed.ask('discard', { direction: 'reverse', ids: [letters[0]?.['id']] });
  await bed.ask('redrive', { direction: 'reverse', all: true });
  expect(await bed.sql('select * from orders order by id')).toEqual([
    { id: 1, quantity: 5 },
    { id: 2, quantity: 7 },
  ]);
});

test('an entry that does not fit its table holds that table, and no other that the event is for', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'apart_drift', setup });
  const worker = await bed.startRunning({ capture, reverse: { apply } });
  await bed.sql('alter table orders rename column quantity to amount');
  await bed.queue.send(ordered(1, { quantity: 5 }));
  await worker.until('the table is held', ({ reverse }) => reverse?.heldTables?.includes('public.orders') === true);
  // Held tables are compiled anew every ten seconds: from then on the entry is known not to fit.
  await eventually(
    async () => {
      await bed.queue.send(ordered(2, { quantity: 7 }));
      await bed.queue.empty();
      return (await bed.sql(`select from banyan.dead_letter where event_id like 'message %'`)).length > 0;
    },
    undefined,
    { timeoutMs: 30_000, everyMs: 500 },
  );
  expect(await bed.sql('select * from copies order by id')).toEqual([
    { id: 1, quantity: '5' },
    { id: 2, quantity: '7' },
  ]);
  await bed.sql('alter table orders rename column amount to quantity');
  await eventually(
    async () => (await bed.sql(`select from banyan.dead_letter where status = 'parked'`)).length === 0,
    () => 'the events of the mended table were not applied',
    { timeoutMs: 30_000 },
  );
  expect(await bed.sql('select * from orders order by id')).toEqual([
    { id: 1, quantity: 5 },
    { id: 2, quantity: 7 },
  ]);
});
