import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
  create table customers (id integer primary key, name text);
  create table orders (id integer primary key, customer_id integer references customers, status text, quantity integer);
  insert into customers values (1, 'one')`;

const apply = [
  {
    match: { source: ['shop.orders'], 'detail-type': ['OrderChanged'] },
    table: 'public.orders',
    operation: 'upsert',
    key: { id: 'detail.orderId' },
    set: { customer_id: 'detail.customerId', status: 'detail.status', quantity: 'detail.quantity' },
    version: 'detail.version',
  },
  {
    match: { source: ['shop.orders'], 'detail-type': ['CustomerChanged'] },
    table: 'public.customers',
    operation: 'upsert',
    key: { id: 'detail.customerId' },
    set: { name: 'detail.name' },
    version: 'detail.version',
  },
];

const capture = [{ table: 'public.orders' }, { table: 'public.customers' }];

interface Order {
  readonly orderId: number;
  readonly version: number;
  readonly status?: string;
  readonly customerId?: unknown;
  readonly quantity?: unknown;
}

function orderChanged({ orderId, version, status = `v${version}`, customerId = 1, quantity = 1 }: Order): string {
  return bodyOf({
    id: `order-${orderId}-${version}`,
    type: 'OrderChanged',
    detail: { orderId, version, status, customerId, quantity },
  });
}

function customerChanged(customerId: number, version: number): string {
  const detail = { customerId, version, name: `v${version}` };
  return bodyOf({ id: `customer-${customerId}-${version}`, type: 'CustomerChanged', detail });
}

const orders = (bed: ReverseWorkerBed) => bed.sql('select id, status, quantity from orders order by id');

interface LetterRow {
  readonly id: string;
  readonly kind: string;
  readonly group_key: string | null;
  readonly behind: boolean;
  readonly waits: boolean;
}

const letters = (bed: ReverseWorkerBed) =>
  bed.sql<LetterRow & Record<string, unknown>>(
    `select id, kind, group_key, behind, waits_until is not null as waits from banyan.dead_letter
     where direction = 'reverse' and status = 'parked' order by sequence, id`,
  );

async function parked(bed: ReverseWorkerBed, count: number): Promise<LetterRow[]> {
  return eventually(
    async () => {
      const found = await letters(bed);
      return found.length === count && found;
    },
    () => `not ${count} letters are parked`,
    { timeoutMs: 20_000 },
  );
}

describe('events of the queue', () => {
  test('become rows, each once, and do not come back as events', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_once', setup });
    const worker = await bed.startRunning({ capture, reverse: { apply } });
    const changes = [1, 2, 3].flatMap((orderId) => [1, 2, 3].map((version) => ({ orderId, version })));
    // Every one twice, in two messages with envelopes of their own, and out of order.
    const bodies = [...changes, ...changes.toReversed()].map(orderChanged);
    await bed.queue.send(...bodies);
    await bed.queue.empty();
    expect(await orders(bed)).toEqual([1, 2, 3].map((id) => ({ id, status: 'v3', quantity: 1 })));
    const { reverse } = worker.status();
    expect(reverse).toMatchObject({ state: 'running', received: 18, invalid: 0, unmatched: 0, parked: 0 });
    const { echo, correction, unchanged } = reverse!.applied;
    expect(correction).toBe(0);
    expect(echo + unchanged + reverse!.stale + reverse!.duplicate).toBe(18);
    expect(reverse!.duplicate).toBeGreaterThanOrEqual(9);
    // What the legacy side writes afterwards is the first thing that is published.
    await bed.sql(`insert into orders values (9, 1, 'legacy', 1)`);
    await bed.accepted(1);
    expect(bed.events.map(({ metadata }) => metadata.key)).toEqual([{ id: 9 }]);
  });

  test('that no entry takes are counted and deleted', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_unmatched', setup });
    const worker = await bed.startRunning({ capture, reverse: { apply } });
    await bed.queue.send(bodyOf({ id: 'x', type: 'SomethingElse', detail: { orderId: 1 } }));
    await bed.queue.empty();
    expect(worker.status().reverse).toMatchObject({ received: 1, unmatched: 1, invalid: 0 });
    expect(await letters(bed)).toEqual([]);
  });

  test('of a table whose stage takes none are skipped', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_skipped', setup });
    const worker = await bed.startRunning({ capture, reverse: { apply } });
    await (await bed.state()).stages.set('public.orders', 'shadow', 'test');
    await bed.queue.send(orderChanged({ orderId: 1, version: 1 }));
    await bed.queue.empty();
    expect(worker.status().reverse).toMatchObject({ skipped: 1 });
    expect(await orders(bed)).toEqual([]);
    expect(await bed.sql('select outcome from banyan.inbox')).toEqual([{ outcome: 'skipped' }]);
  });

  test('of several entries are one message: deleted when all of them are done', async () => {
    const both = {
      match: { source: ['shop.orders'] },
      operation: 'upsert',
      key: { id: 'detail.id' },
      version: 'detail.version',
    };
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_both', setup });
    const worker = await bed.startRunning({
      capture,
      reverse: {
        apply: [
          { ...both, table: 'public.customers', set: { name: 'detail.name' } },
          { ...both, table: 'public.orders', set: { status: 'detail.name' } },
        ],
      },
    });
    await bed.queue.send(bodyOf({ id: 'both', type: 'Both', detail: { id: 5, version: 1, name: 'five' } }));
    await bed.queue.empty();
    expect(await orders(bed)).toEqual([{ id: 5, status: 'five', quantity: null }]);
    expect(await bed.sql('select name from customers where id = 5')).toEqual([{ name: 'five' }]);
    expect(worker.status().reverse).toMatchObject({ received: 1, applied: { echo: 2 } });
  });
});

/** As another role could write it, without the secret. */
function forged(message: object): string {
  const content = JSON.stringify({ ...message, mac: 'A'.repeat(22) });
  return `select pg_logical_emit_message(true, 'banyan.reverse_forged.reverse', '${content}')`;
}

describe('what comes from outside', () => {
  test('ends in a counter or a dead letter, and nothing of it but ids is logged', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_hostile', setup });
    const worker = await bed.startRunning({ capture, reverse: { apply } });
    const evil = `'); drop table orders; -- $1 {{}} \\u0000`;
    const secret = 'row-value-4711';
    const deep = `{"a":`.repeat(5_000) + '1' + '}'.repeat(5_000);
    const invalid = [
      `no JSON ${secret}`,
      `["${secret}"]`,
      'null',
      `{"source":"shop.orders","detail":"${secret}"}`,
      deep,
      bodyOf({
        id: 'wrong',
        type: 'OrderChanged',
        detail: { orderId: { no: secret }, version: 1, status: 's', customerId: 1, quantity: 1 },
      }),
      orderChanged({ orderId: 50, version: 1, quantity: secret }),
      bodyOf({ id: 'absent', type: 'OrderChanged', detail: { note: secret } }),
      bodyOf({
        id: 'proto',
        type: 'OrderChanged',
        detail: JSON.parse(`{"__proto__":{"orderId":1},"version":1}`) as object,
      }),
    ];
    const harmless = [
      bodyOf({
        id: evil,
        type: 'OrderChanged',
        detail: { orderId: 1, version: 1, status: evil, customerId: 1, quantity: 1 },
      }),
      bodyOf({ id: 'unknown', type: evil, detail: { note: secret } }),
      orderChanged({ orderId: 2, version: 1, status: 'x'.repeat(1_000_000) }),
    ];
    await bed.queue.send(...invalid, ...harmless, orderChanged({ orderId: 3, version: 1 }));
    await bed.queue.empty();
    expect(worker.status()).toMatchObject({
      state: 'streaming',
      reverse: { state: 'running', received: 13, invalid: 9, unmatched: 1, applied: { echo: 3 } },
    });
    expect(await bed.sql('select id, length(status)::int as length from orders order by id')).toEqual([
      { id: 1, length: evil.length },
      { id: 2, length: 1_000_000 },
      { id: 3, length: 2 },
    ]);
    const kept = await letters(bed);
    expect(kept).toHaveLength(9);
    expect(new Set(kept.map(({ kind }) => kind))).toEqual(new Set(['envelope-invalid', 'row-refused']));
    // The one that tells its row waits there.
    expect(new Set(kept.map(({ group_key }) => group_key))).toEqual(new Set([null, 'public.orders:50']));
    const log = bed.logged.join('');
    expect(log).toContain('message parked');
    expect(log).not.toContain(secret);
    expect(log).not.toContain('drop table');
  });

  test('and carries a tag of its own making suppresses nothing', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_forged', setup });
    await bed.startRunning({ capture, reverse: { apply } });
    const [{ oid } = { oid: 0 }] = await bed.sql<{ oid: number }>(`select 'orders'::regclass::oid::int8::int as oid`);
    const tag = {
      v: 1,
      kind: 'tag',
      event: 'e',
      producer: 'p',
      hops: 0,
      table: oid,
      columns: ['id'],
      key: ['1'],
      op: 'insert',
    };
    const verdict = { v: 1, kind: 'echo', event: 'e' };
    await bed.sql(`begin; ${forged(tag)}; insert into orders values (1, 1, 'legacy', 1); ${forged(verdict)}; commit`);
    await bed.accepted(1);
    expect(bed.events.map(({ metadata }) => metadata.key)).toEqual([{ id: 1 }]);
  });
});

describe('an event that can not be applied', () => {
  test('waits for its parent, and is applied when it has come', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_parent', setup });
    const worker = await bed.startRunning({ capture, reverse: { apply } });
    await bed.queue.send(orderChanged({ orderId: 1, version: 1, customerId: 7 }));
    const [letter] = await parked(bed, 1);
    expect(letter).toMatchObject({ kind: 'parent-missing', waits: true, group_key: 'public.orders:1' });
    // It holds nothing up: a newer event of its row is tried, and waits as well.
    await bed.queue.send(
      orderChanged({ orderId: 1, version: 2, customerId: 7 }),
      orderChanged({ orderId: 2, version: 1 }),
    );
    await parked(bed, 2);
    await bed.queue.send(customerChanged(7, 1));
    await parked(bed, 0);
    expect(await orders(bed)).toEqual([
      { id: 1, status: 'v2', quantity: 1 },
      { id: 2, status: 'v1', quantity: 1 },
    ]);
    await worker.until('nothing waits', ({ reverse }) => reverse?.waiting === 0 && reverse.parked === 0);
  });

  test('is a dead letter past its deadline; later events of its row go behind, others do not, and a redrive applies them in order', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_deadline', setup });
    const worker = await bed.startRunning({ capture, reverse: { apply, waitFor: '1s' } });
    await bed.queue.send(orderChanged({ orderId: 1, version: 1, customerId: 7 }));
    await eventually(
      async () => (await letters(bed))[0]?.waits === false,
      () => 'its deadline never passed',
      { timeoutMs: 20_000 },
    );
    await bed.queue.send(
      orderChanged({ orderId: 1, version: 3 }),
      orderChanged({ orderId: 1, version: 2 }),
      orderChanged({ orderId: 2, version: 1 }),
    );
    const waiting = await parked(bed, 3);
    expect(waiting.map(({ behind }) => behind)).toEqual([false, true, true]);
    await bed.queue.empty();
    expect(await orders(bed)).toEqual([{ id: 2, status: 'v1', quantity: 1 }]);
    const stopped = await bed.ask('redrive', { direction: 'reverse', table: 'public.orders' });
    expect(stopped).toMatchObject({ sent: 0, stopped: [{ group: 'public.orders:1' }] });
    await bed.sql(`insert into customers values (7, 'seven')`);
    const report = await bed.ask('redrive', { direction: 'reverse', ids: [Number(waiting[2]?.id)] });
    expect(report).toEqual({ sent: 3, parked: 0, withoutEvent: 0, stopped: [] });
    expect(await orders(bed)).toContainEqual({ id: 1, status: 'v3', quantity: 1 });
    await bed.queue.send(orderChanged({ orderId: 1, version: 4 }));
    await bed.queue.empty();
    expect(await orders(bed)).toContainEqual({ id: 1, status: 'v4', quantity: 1 });
    await worker.until('nothing is parked', ({ reverse }) => reverse?.parked === 0);
  });

  test('waits over a restart as well', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_waits', setup });
    const first = await bed.startRunning({ capture, reverse: { apply } });
    await bed.queue.send(orderChanged({ orderId: 1, version: 1, customerId: 7 }));
    await parked(bed, 1);
    await first.stop();
    await bed.sql(`insert into customers values (7, 'seven')`);
    await bed.startRunning({ capture, reverse: { apply } });
    await parked(bed, 0);
    expect(await orders(bed)).toEqual([{ id: 1, status: 'v1', quantity: 1 }]);
  });

  test('holds its row over a restart, until it is discarded', async () => {
    const checked = `${setup}; alter table orders add constraint few check (quantity < 10)`;
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_restart', setup: checked });
    const first = await bed.startRunning({ capture, reverse: { apply } });
    await bed.queue.send(orderChanged({ orderId: 1, version: 1, quantity: 11 }));
    const [poison] = await parked(bed, 1);
    expect(poison).toMatchObject({ kind: 'row-refused', waits: false });
    await first.stop();
    const second = await bed.startRunning({ capture, reverse: { apply } });
    await bed.queue.send(orderChanged({ orderId: 1, version: 2 }), orderChanged({ orderId: 2, version: 1 }));
    const [, behind] = await parked(bed, 2);
    expect(behind).toMatchObject({ behind: true });
    await bed.queue.empty();
    expect(await orders(bed)).toEqual([{ id: 2, status: 'v1', quantity: 1 }]);
    expect(await bed.ask('discard', { direction: 'reverse', ids: [Number(poison?.id)] })).toEqual({ discarded: 1 });
    expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({ sent: 1, stopped: [] });
    expect(await orders(bed)).toContainEqual({ id: 1, status: 'v2', quantity: 1 });
    await second.until('nothing is parked', ({ reverse }) => reverse?.parked === 0);
  });

  test('because of another table than its entry was made for holds that table only, until it is mended', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'reverse_drift', setup });
    const worker = await bed.startRunning({ capture: [{ table: 'public.customers' }], reverse: { apply } });
    await bed.sql('alter table orders rename column quantity to amount');
    await bed.queue.send(orderChanged({ orderId: 1, version: 1 }), orderChanged({ orderId: 1, version: 2 }));
    await bed.queue.send(orderChanged({ orderId: 2, version: 1 }), customerChanged(2, 1));
    const held = await parked(bed, 3);
    expect(new Set(held.map(({ group_key }) => group_key))).toEqual(new Set(['table:public.orders']));
    await bed.queue.empty();
    expect(await bed.sql('select name from customers where id = 2')).toEqual([{ name: 'v1' }]);
    expect(worker.status().reverse).toMatchObject({ state: 'running', heldTables: ['public.orders'] });
    await bed.sql('alter table orders rename column amount to quantity');
    const report = await bed.ask('redrive', { direction: 'reverse', table: 'public.orders' });
    expect(report).toMatchObject({ sent: 3, stopped: [] });
    expect(await orders(bed)).toEqual([
      { id: 1, status: 'v2', quantity: 1 },
      { id: 2, status: 'v1', quantity: 1 },
    ]);
    expect(worker.status().reverse).toMatchObject({ heldTables: [] });
  });
});
