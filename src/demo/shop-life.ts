import type pg from 'pg';
import type { Accounting, Expectation } from './accounting.ts';
import type { History, Order } from './history.ts';
import { between, cardNumber, person, pick, PRODUCTS } from './shop.ts';

type Step = 'pay' | 'ship' | 'deliver' | 'cancel';

/** What is remembered once the transaction is committed. */
type Afterwards = (() => void) | undefined;

/** What happens in a shop, one transaction at a time, written into the books as it is committed. */
export class Shop {
  readonly #pool: pg.Pool;
  readonly #accounting: Accounting;
  readonly #reschedules: () => boolean;
  readonly #customers: string[];
  /** Orders wait here for their next step; who takes one out is the only one to work on it. */
  readonly #placed: Order[];
  readonly #paid: Order[] = [];
  readonly #shipped: Order[] = [];
  #signUps: number;

  constructor(
    pool: pg.Pool,
    { accounting, history, reschedules }: { accounting: Accounting; history: History; reschedules: () => boolean },
  ) {
    this.#pool = pool;
    this.#reschedules = reschedules;
    this.#accounting = accounting;
    this.#customers = [...history.customers];
    this.#placed = [...history.placed];
    this.#signUps = history.customers.length;
  }

  /** One transaction, by the dice. */
  async act(): Promise<void> {
    const dice = between(0, 99);
    if (this.#customers.length < 3 || dice < 12) return this.#signUp();
    if (dice < 16) return this.#changePrice();
    if (dice < 20) return this.#changeCustomer();
    if (dice < 21 && this.#customers.length > 20) return this.#forgetCustomer();
    if (dice < 25 && this.#reschedules() && (await this.#reschedule())) return undefined;
    if (dice < 69 && (await this.#step(pick(['pay', 'pay', 'ship', 'deliver', 'cancel'])))) return undefined;
    return this.#placeOrder();
  }

  async #commit(work: (transaction: Transaction) => Promise<Afterwards>): Promise<void> {
    const client = await this.#pool.connect();
    try {
      const transaction = new Transaction(client);
      await client.query('begin');
      const afterwards = await work(transaction);
      await client.query('commit');
      this.#accounting.committed(transaction.changes, transaction.expectations);
      afterwards?.();
      client.release();
    } catch (error) {
      // Its transaction may still be open: it is not used again.
      client.release(true);
      throw error;
    }
  }

  #signUp(): Promise<void> {
    const { name, email, phone, interests, address } = person((this.#signUps += 1));
    return this.#commit(async (transaction) => {
      const [row] = await transaction.write(
        `insert into shop.customers (name, email, phone, interests, address) values ($1, $2, $3, $4, $5) returning id`,
        [name, email, phone, interests, JSON.stringify(address)],
      );
      const id = String(row?.['id']);
      transaction.expect('CustomerSignedUp', { table: 'shop.customers', key: [id], version: 1 });
      return () => this.#customers.push(id);
    });
  }

  #changeCustomer(): Promise<void> {
    const id = pick(this.#customers);
    return this.#commit(async (transaction) => {
      const [row] = await transaction.write(
        `update shop.customers set tier = $2, interests = $3, version = version + 1 where id = $1 returning version`,
        [id, pick(['standard', 'silver', 'gold']), ['sale', pick(['tea "grand cru"', 'coffee, light', 'gifts'])]],
      );
      // Forgotten by somebody else meanwhile: then nothing was changed.
      if (row === undefined) return undefined;
      const version = Number(row['version']);
      transaction.expect('CustomerChanged', { table: 'shop.customers', key: [id], version });
      return undefined;
    });
  }

  #forgetCustomer(): Promise<void> {
    const id = this.#customers.splice(between(0, this.#customers.length - 1), 1)[0] ?? '';
    return this.#commit(async (transaction) => {
      await transaction.write('delete from shop.customers where id = $1', [id]);
      transaction.expect('CustomerForgotten', { table: 'shop.customers', key: [id], version: '-' });
      return undefined;
    });
  }

  #changePrice(): Promise<void> {
    const [sku] = pick(PRODUCTS);
    return this.#commit(async (transaction) => {
      const [row] = await transaction.write(
        `update shop.products set price = greatest(price + $2, 1.01), version = version + 1 where sku = $1
          returning version`,
        [sku, pick(['0.10', '0.25', '0.40', '-0.05'])],
      );
      const version = Number(row?.['version']);
      transaction.expect('ProductPriceChanged', { table: 'shop.products', key: [sku], version });
      return undefined;
    });
  }

  #placeOrder(): Promise<void> {
    // By sku, so that two orders at once lock the same products in the same order.
    const basket = PRODUCTS.map(([sku]) => sku).filter(() => Math.random() < 0.25);
    if (basket.length === 0) basket.push(pick(PRODUCTS)[0]);
    basket.sort();
    return this.#commit(async (transaction) => {
      const [order] = await transaction.write(
        'insert into shop.orders (customer_id, note) values ($1, $2) returning id',
        [pick(this.#customers), pick([null, null, 'leave it with the neighbour', 'the bell is “quiet”: ring twice'])],
      );
      const id = String(order?.['id']);
      transaction.expect('OrderPlaced', { table: 'shop.orders', key: [id], version: 1 });
      for (const [i, sku] of basket.entries()) {
        const quantity = between(1, 4);
        // A change of the stock alone makes no event: the mapping asks for a changed price.
        await transaction.write('update shop.products set stock = stock - $2, version = version + 1 where sku = $1', [
          sku,
          quantity,
        ]);
        await transaction.write(
          `insert into shop.order_lines (order_id, line_no, sku, quantity, unit_price)
            select $1, $2, sku, $4, price from shop.products where sku = $3`,
          [id, i + 1, sku, quantity],
        );
        transaction.expect('OrderLineAdded', { table: 'shop.order_lines', key: [id, `${i + 1}`], version: '-' });
      }
      const amount = await transaction.amountOf(id);
      return () => this.#placed.push({ id, amount, lines: basket.length });
    });
  }

  /**
   * A customer rings who has just paid: the clerk moves the delivery to a later day, whatever the new service has in mind. False where nobody
   * is on the phone, or nothing was promised yet.
   */
  async #reschedule(): Promise<boolean> {
    const order = this.#paid.at(-between(1, 30));
    if (order === undefined) return false;
    let isDone = false;
    await this.#commit(async (transaction) => {
      const [row] = await transaction.write(
        `update shop.deliveries set promised_on = promised_on + $2::integer, promised_by = 'clerk',
            rescheduled = coalesce(rescheduled, 0) + 1
          where order_id = $1 returning rescheduled`,
        [order.id, between(1, 3)],
      );
      isDone = row !== undefined;
      if (!isDone) return undefined;
      const version = Number(row?.['rescheduled']);
      transaction.expect('DeliveryRescheduled', { table: 'shop.deliveries', key: [order.id], version });
      const logged = await transaction.loggedOf(order.id);
      transaction.expect('OrderLogged', { table: 'shop.order_log', key: [logged], version: '-' });
      return undefined;
    });
    return isDone;
  }

  /** Takes the oldest order that waits for this step; false where none does. */
  async #step(step: Step): Promise<boolean> {
    const waiting = { pay: this.#placed, cancel: this.#placed, ship: this.#paid, deliver: this.#shipped }[step];
    const order = waiting.shift();
    if (order === undefined) return false;
    await this.#commit(async (transaction) => {
      await steps[step](transaction, order);
      const next = { pay: this.#paid, ship: this.#shipped, deliver: undefined, cancel: undefined }[step];
      return () => next?.push(order);
    });
    return true;
  }
}

const steps: Readonly<Record<Step, (transaction: Transaction, order: Order) => Promise<void>>> = {
  pay,
  ship: (transaction, order) => move(transaction, { order, status: 'shipped', detailType: 'OrderShipped' }),
  deliver: (transaction, order) => move(transaction, { order, status: 'delivered', detailType: 'OrderDelivered' }),
  cancel,
};

/** What one transaction did, as far as the books are concerned. */
class Transaction {
  changes = 0;
  readonly expectations: Expectation[] = [];
  readonly #client: pg.PoolClient;

  constructor(client: pg.PoolClient) {
    this.#client = client;
  }

  /** Runs one statement and counts the rows that it changed. */
  async write(sql: string, values: unknown[]): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const result = await this.#client.query<Record<string, unknown>>(sql, values);
    this.changes += result.rowCount ?? 0;
    return result.rows;
  }

  async amountOf(orderId: string): Promise<string> {
    const result = await this.#client.query<{ amount: string }>(
      'select sum(quantity * unit_price)::text as amount from shop.order_lines where order_id = $1',
      [orderId],
    );
    return result.rows[0]?.amount ?? '0';
  }

  /** The row that a trigger has just written into the log, which counts like one of ours: nobody else can, while we hold the delivery's row. */
  async loggedOf(orderId: string): Promise<string> {
    this.changes += 1;
    const result = await this.#client.query<{ id: string }>(
      'select max(id)::text as id from shop.order_log where order_id = $1',
      [orderId],
    );
    return result.rows[0]?.id ?? '';
  }

  expect(detailType: string, expectation: Omit<Expectation, 'detailType'>): void {
    this.expectations.push({ ...expectation, detailType });
  }
}

async function pay(transaction: Transaction, order: Order): Promise<void> {
  const method = pick(['card', 'card', 'transfer', 'invoice']);
  const [payment] = await transaction.write(
    'insert into shop.payments (order_id, method, amount, card_number) values ($1, $2, $3, $4) returning id',
    [order.id, method, order.amount, method === 'card' ? cardNumber() : null],
  );
  transaction.expect('PaymentReceived', { table: 'shop.payments', key: [String(payment?.['id'])], version: '-' });
  // No event of its own: PaymentReceived says it.
  await setStatus(transaction, { id: order.id, status: 'paid' });
}

async function move(
  transaction: Transaction,
  { order, status, detailType }: { order: Order; status: string; detailType: string },
): Promise<void> {
  const version = await setStatus(transaction, { id: order.id, status });
  transaction.expect(detailType, { table: 'shop.orders', key: [order.id], version });
}

async function cancel(transaction: Transaction, order: Order): Promise<void> {
  await move(transaction, { order, status: 'cancelled', detailType: 'OrderCancelled' });
  await transaction.write('delete from shop.order_lines where order_id = $1', [order.id]);
  for (let line = 1; line <= order.lines; line += 1) {
    transaction.expect('OrderLineRemoved', { table: 'shop.order_lines', key: [order.id, `${line}`], version: '-' });
  }
}

async function setStatus(transaction: Transaction, { id, status }: { id: string; status: string }): Promise<number> {
  const [row] = await transaction.write(
    `update shop.orders set status = $2, changed_at = now(), version = version + 1 where id = $1 returning version`,
    [id, status],
  );
  return Number(row?.['version']);
}
