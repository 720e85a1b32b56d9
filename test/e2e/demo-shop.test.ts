import pg from 'pg';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Accounting } from '../../src/demo/accounting.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { openShop } from '../../src/demo/history.ts';
import { runTraffic } from '../../src/demo/traffic.ts';

test('the books hold what the database holds: every change of every transaction, once', async () => {
  await using server = await EmbeddedPostgres.start();
  const history = await openShop(server.url(), { customers: 200, orders: 600 });
  expect(history).toMatchObject({ customers: { length: 200 }, placed: { length: 30 }, rows: { length: 800 } });
  expect(new Set(history.rows.map((row) => JSON.stringify(row))).size).toBe(800);
  // As the new service does, for which nobody stands in here: a clerk can move what was promised only. The shop logs each promise.
  let promised = 0;
  const promise = async () => {
    const { rows } = await server.query(`insert into shop.deliveries (order_id, promised_on, slot, promised_by)
      select id, current_date, 'evening', 'service' from shop.orders as o
      where status = 'placed' and not exists (select from shop.deliveries where order_id = o.id) returning order_id`);
    promised += rows.length;
  };
  const before = await changesSeen(server);
  const count = async (sql: string) => Number((await server.query(sql)).rows[0]?.n);
  const lines = await count('select count(*) as n from shop.order_lines');
  const delivered = await count(`select count(*) as n from shop.orders where status = 'delivered'`);
  const books = new BooksOpenToAll();
  const stop = new AbortController();
  onTestFinished(() => stop.abort());

  const traffic = runTraffic(
    { url: server.url(), rate: 400, accounting: books, history, reschedules: () => true },
    stop.signal,
  );
  const isDone = async () => {
    await promise();
    expect(books.types.size).toBe(13);
  };
  await Promise.race([vi.waitFor(isDone, { timeout: 40_000 }), traffic]);
  stop.abort();
  await traffic;

  // The server counts rows of its own accord, in statistics that it flushes when a session ends.
  await vi.waitFor(async () => expect((await changesSeen(server)) - before).toBe(books.now.changes + 2 * promised), {
    timeout: 20_000,
  });
  expect(600 + books.of('OrderPlaced')).toBe(await count('select count(*) as n from shop.orders'));
  expect(books.of('PaymentReceived')).toBe(await count('select count(*) as n from shop.payments'));
  expect(lines + books.of('OrderLineAdded') - books.of('OrderLineRemoved')).toBe(
    await count('select count(*) as n from shop.order_lines'),
  );
  expect(200 + books.of('CustomerSignedUp') - books.of('CustomerForgotten')).toBe(
    await count('select count(*) as n from shop.customers'),
  );
  const rescheduled = 'select sum(rescheduled) as n from shop.deliveries';
  expect(books.of('DeliveryRescheduled')).toBe(await count(rescheduled));
  expect(promised + books.of('OrderLogged')).toBe(await count('select count(*) as n from shop.order_log'));
  expect(delivered + books.of('OrderDelivered')).toBe(
    await count(`select count(*) as n from shop.orders where status = 'delivered'`),
  );
});

class BooksOpenToAll extends Accounting {
  readonly types = new Map<string, number>();

  of(type: string): number {
    return this.types.get(type) ?? 0;
  }

  override committed(...[changes, expectations]: Parameters<Accounting['committed']>): void {
    super.committed(changes, expectations);
    for (const { detailType } of expectations) this.types.set(detailType, this.of(detailType) + 1);
  }
}

async function changesSeen(server: EmbeddedPostgres): Promise<number> {
  const client = new pg.Client({ connectionString: server.url() });
  await client.connect();
  try {
    const result = await client.query<{ n: string }>(
      `select sum(n_tup_ins + n_tup_upd + n_tup_del) as n from pg_stat_user_tables where schemaname = 'shop'`,
    );
    return Number(result.rows[0]?.n ?? 0);
  } finally {
    await client.end();
  }
}
