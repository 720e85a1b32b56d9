import pg from 'pg';
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
  create table customers (id integer primary key);
  create table orders (id integer primary key, customer_id integer references customers, note text)`;
const capture = [{ table: 'public.orders' }];
const entry = {
  match: { source: ['shop.orders'] },
  table: 'public.orders',
  operation: 'upsert',
  key: { id: 'detail.orderId' },
  set: { customer_id: 'detail.customerId' },
  version: 'detail.version',
  conflict: 'new-wins',
};

const orderOf = (orderId: number, customerId: number): string =>
  bodyOf({ id: `order-${orderId}`, type: 'OrderChanged', detail: { orderId, customerId, version: 1 } });

/** Without a parent, if not said otherwise. */
const body = (id: number, version: number, more: object): string =>
  bodyOf({
    id: `order-${id}-${version}`,
    type: 'OrderChanged',
    detail: { orderId: id, customerId: null, note: 'yes', version, ...more },
  });

const letterOf = async (bed: ReverseWorkerBed, key: number) =>
  (
    await bed.sql<{ status: string; waits: boolean }>(
      `select status, waits_until is not null as waits from banyan.dead_letter where group_key = 'public.orders:${key}'`,
    )
  )[0];

async function waits(bed: ReverseWorkerBed, ...keys: readonly number[]): Promise<void> {
  for (const key of keys) {
    await eventually(
      async () => (await letterOf(bed, key))?.waits,
      () => `the event of order ${key} does not wait`,
      { timeoutMs: 20_000 },
    );
  }
}

test('waiting events are tried and expire while a row of another one is locked', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'letters_locked', setup });
  await bed.sql('insert into orders values (1)');
  // Longer than this test waits for anything.
  const legacy = { lockTimeout: '60s' };
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await bed.startRunning({ capture, legacy, reverse: { apply: [entry], waitFor: '6s' } });
    await bed.queue.send(orderOf(1, 7), orderOf(2, 8), orderOf(3, 9));
    await waits(bed, 1, 2, 3);
    await client.query('begin');
    await client.query('select from orders where id = 1 for update');
    await eventually(
      async () =>
        (
          await bed.sql(
            `select from pg_stat_activity where datname = current_database() and application_name like 'banyan %' and wait_event_type = 'Lock'`,
          )
        ).length > 0,
      () => 'no attempt waits for the lock',
      { timeoutMs: 20_000 },
    );
    await bed.sql('insert into customers values (8)');
    await eventually(
      async () => (await letterOf(bed, 2))?.status === 'redriven',
      () => 'the event whose parent has come is not tried',
      { timeoutMs: 15_000 },
    );
    await eventually(
      async () => (await letterOf(bed, 3))?.waits === false,
      () => 'the event whose parent does not come never expires',
      { timeoutMs: 15_000 },
    );
    expect(await bed.sql('select customer_id from orders where id = 2')).toEqual([{ customer_id: 8 }]);
  } finally {
    await client.end();
  }
});

test('an event that fails for good does not keep waiting events of other rows from being tried', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'letters_behind', setup });
  await bed.sql(`
    create function deny() returns trigger language plpgsql as
      $$ begin if new.note = 'no' then raise lock_not_available; end if; return new; end $$;
    create trigger deny before insert on orders for each row execute function deny()`);
  const set = { ...entry.set, note: 'detail.note' };
  const worker = await bed.startRunning({ capture, reverse: { apply: [{ ...entry, set }] } });
  const keys = [1, 2, 3, 4, 5, 6];
  await bed.queue.send(...keys.map((id) => body(id, 1, { customerId: 7 })));
  await waits(bed, ...keys);
  // More than are tried at a time.
  await bed.queue.send(...keys.map((id) => body(id, 2, { note: 'no' })));
  // Several rounds' worth, so that one has run into them.
  await worker.until('they fail again and again', ({ reverse }) => (reverse?.retried ?? 0) > 40);
  await bed.queue.send(body(9, 1, { customerId: 8 }));
  await waits(bed, 9);
  await bed.sql('insert into customers values (8)');
  await eventually(
    async () => (await letterOf(bed, 9))?.status === 'redriven',
    () => 'the event whose parent has come is not tried',
    { timeoutMs: 15_000 },
  );
  expect((await bed.sql('select id from orders')).map(({ id }) => id as number)).toEqual([9]);
});

test('an expired event that can not be read any more does not keep others from being told', async () => {
  const update = { ...entry, operation: 'update' };
  await using bed = await makeReverseWorkerBed(server, { name: 'letters_unreadable', setup });
  const first = await bed.startRunning({ capture, reverse: { apply: [update] } });
  await bed.queue.send(orderOf(1, 7));
  await waits(bed, 1);
  await bed.queue.send(
    bodyOf({ id: 'order-2', type: 'OrderChanged', detail: { orderId: 2, customerId: 7, note: 'n', version: 1 } }),
  );
  await waits(bed, 2);
  await first.stop();
  await bed.sql(
    `update banyan.dead_letter set waits_until = now() - case group_key when 'public.orders:1' then interval '2s' else interval '1s' end`,
  );
  // Today's entry finds nothing of the first event.
  const set = { ...update.set, note: 'detail.note' };
  await bed.startRunning({ capture, reverse: { apply: [{ ...update, set }] } });
  await eventually(
    async () =>
      (await bed.sql(`select from banyan.conflict where kind = 'update_missing' and key ->> 'id' = '2'`)).length === 1,
    () => 'the second event is not recorded as a conflict',
    { timeoutMs: 15_000 },
  );
  await bed.queue.send(
    bodyOf({ id: 'order-2-2', type: 'OrderChanged', detail: { orderId: 2, customerId: null, note: 'n', version: 2 } }),
  );
  await bed.queue.empty();
  expect(
    await bed.sql(`select behind from banyan.dead_letter where group_key = 'public.orders:2' order by id`),
  ).toEqual([{ behind: false }, { behind: true }]);
});
