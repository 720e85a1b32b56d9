import pg from 'pg';
import type { Expectation } from './accounting.ts';
import { person, pick, PRODUCTS, SCHEMA_SQL } from './shop.ts';

/** An order that somebody still has to work on. */
export interface Order {
  readonly id: string;
  /** As PostgreSQL adds it up: money never passes through a JavaScript number. */
  readonly amount: string;
  readonly lines: number;
}

/** What the database holds before anybody captures it. */
export interface History {
  /** Ids. */
  readonly customers: readonly string[];
  /** Oldest first. */
  readonly placed: readonly Order[];
  /** Rows of the tables that config/demo.yaml backfills. */
  readonly rows: readonly Pick<Expectation, 'table' | 'key'>[];
}

export interface HistorySize {
  readonly customers: number;
  readonly orders: number;
}

/** Rows of one INSERT. */
const AT_ONCE = 5_000;
/** One order of so many is not delivered yet. */
const OPEN_SHARE = 20;

/** Makes the tables, fills the shelves, and writes the years before: customers, and their orders, of which the last ones are still open. */
export async function openShop(url: string, size: HistorySize): Promise<History> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(SCHEMA_SQL);
    for (const [sku, name, price, attributes] of PRODUCTS) {
      await client.query(
        'insert into shop.products (sku, name, price, stock, attributes) values ($1, $2, $3, 1000000, $4)',
        [sku, name, price, JSON.stringify(attributes)],
      );
    }
    const customers = await signUps(client, size.customers);
    const orders = customers.length === 0 ? [] : await pastOrders(client, { customers, count: size.orders });
    const placed = await linesOfOpen(client);
    // As any database that has been there for a while: the planner knows how many rows there are, about.
    await client.query('analyze shop.customers, shop.orders');
    const rows = [
      ...customers.map((id) => ({ table: 'shop.customers', key: [id] })),
      ...orders.map((id) => ({ table: 'shop.orders', key: [id] })),
    ];
    return { customers, placed, rows };
  } finally {
    await client.end();
  }
}

async function signUps(client: pg.Client, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    const from = ids.length;
    const people = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => person(from + i + 1));
    const { rows } = await client.query<{ id: string }>(
      `insert into shop.customers (name, email, phone, interests, address, created_at)
        select name, email, phone, array(select jsonb_array_elements_text(interests)), address, now() - random() * interval '9 years'
        from jsonb_to_recordset($1) as p(name text, email text, phone text, interests jsonb, address jsonb) returning id`,
      [JSON.stringify(people)],
    );
    for (const { id } of rows) ids.push(id);
  }
  return ids;
}

/** The last ones of them are open. Lines and payments of what was delivered long since are in the archive. */
async function pastOrders(
  client: pg.Client,
  { customers, count }: { customers: readonly string[]; count: number },
): Promise<string[]> {
  const ids: string[] = [];
  const open = Math.ceil(count / OPEN_SHARE);
  while (ids.length < count) {
    const from = ids.length;
    const orders = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => {
      const isOpen = from + i >= count - open;
      return { customer: pick(customers), status: isOpen ? 'placed' : 'delivered', version: isOpen ? 1 : 4 };
    });
    const { rows } = await client.query<{ id: string }>(
      `insert into shop.orders (customer_id, status, version, placed_at, changed_at)
        select customer, status, version, now() - interval '1 day', now() - interval '1 day'
        from jsonb_to_recordset($1) as o(customer uuid, status shop.order_status, version int) returning id`,
      [JSON.stringify(orders)],
    );
    for (const { id } of rows) ids.push(id);
  }
  return ids;
}

async function linesOfOpen(client: pg.Client): Promise<Order[]> {
  const { rows } = await client.query<Order>(
    `with line as (
       insert into shop.order_lines (order_id, line_no, sku, quantity, unit_price)
       select o.id, 1, p.sku, 1 + o.id % 3, p.price
       from shop.orders o
       join (select *, row_number() over (order by sku) - 1 as shelf, count(*) over () as shelves from shop.products) p
         on o.id % p.shelves = p.shelf
       where o.status = 'placed' returning order_id, quantity * unit_price as amount
     )
     select order_id::text as id, amount::text as amount, 1 as lines from line order by order_id`,
  );
  return rows;
}
