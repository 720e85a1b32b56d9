import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { fieldOf, makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
let folder: string;
/** A JSON Schema by which quantities below zero are poison. */
let contract: string;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  folder = await mkdtemp(join(tmpdir(), 'banyan-contract-'));
  contract = join(folder, 'order.json');
  await writeFile(
    contract,
    JSON.stringify({ type: 'object', properties: { quantity: { type: 'integer', minimum: 0 } } }),
  );
});

afterAll(async () => {
  await server?.stop();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

const setup = `create table orders (id integer primary key, quantity integer, note text);
  create table customers (id integer primary key, name text)`;
const everything = [{ table: 'public.orders' }, { table: 'public.customers' }];

function withContract(): object[] {
  return [
    { table: 'public.orders', emit: [{ on: ['insert', 'update'], detailType: 'OrderChanged', schema: contract }] },
    { table: 'public.customers' },
  ];
}

async function waitingLetters(bed: WorkerBed): Promise<{ kind: string; behind: boolean; group_key: string }[]> {
  return bed.sql(`select kind, behind, group_key from banyan.dead_letter where status = 'parked' order by sequence`);
}

async function parked(bed: WorkerBed, count: number) {
  return eventually(
    async () => {
      const letters = await waitingLetters(bed);
      return letters.length === count && letters;
    },
    () => `never ${count} letters`,
    { timeoutMs: 15_000 },
  );
}

/** Three ways a row of `orders` with quantity -1 is poison, and what mends each. */
const poisons = [
  {
    kind: 'contract-violated',
    name: 'violates_contract',
    broken: () => ({ capture: withContract() }),
    mended: { capture: everything },
  },
  {
    kind: 'mapping-failed',
    name: 'fails_in_cel',
    broken: () => ({
      capture: [
        { table: 'public.orders', detail: { quantity: 'quantity', share: { cel: '100 / (row.quantity + 1)' } } },
      ],
    }),
    mended: { capture: everything },
  },
  {
    kind: 'event-too-large',
    name: 'is_too_large',
    broken: () => ({ capture: everything, bus: { maxRequest: '2kB' } }),
    mended: { capture: everything },
    note: "repeat('x', 3000)",
  },
];

describe('a poison row', () => {
  test.each(poisons)('holds only its key when it $name, across a restart, until a redrive', async (poison) => {
    await using bed = await makeBed(server, { name: poison.name, setup });
    const first = await bed.start(poison.broken());
    await bed.sql(`insert into orders values (1, 5), (2, 5)`);
    await bed.sql(`update orders set quantity = -1, note = ${poison.note ?? 'null'} where id = 1`);
    await bed.sql(
      `update orders set quantity = 7, note = null where id = 1; update orders set quantity = 8 where id = 1`,
    );
    await bed.sql(`update orders set quantity = 6 where id = 2`);
    expect(await parked(bed, 3)).toMatchObject([
      { kind: poison.kind, behind: false },
      { behind: true },
      { behind: true },
    ]);
    await bed.confirmed();
    expect(fieldOf(bed.events, { key: 1, field: 'quantity' })).toEqual([5]);
    expect(fieldOf(bed.events, { key: 2, field: 'quantity' })).toEqual([5, 6]);
    expect(first.status().state).toBe('streaming');
    await first.stop();

    const second = await bed.start(poison.mended);
    await bed.sql(`update orders set quantity = 9 where id = 1; update orders set quantity = 7 where id = 2`);
    await parked(bed, 4);
    await bed.confirmed();
    expect(fieldOf(bed.events, { key: 1, field: 'quantity' })).toEqual([5]);
    expect(fieldOf(bed.events, { key: 2, field: 'quantity' })).toEqual([5, 6, 7]);

    expect(await bed.ask('redrive', { all: true })).toEqual({
      sent: 4,
      parked: 0,
      withoutEvent: 0,
      stopped: [],
    });
    await bed.sql(`update orders set quantity = 10 where id = 1`);
    await bed.confirmed();
    expect(fieldOf(bed.events, { key: 1, field: 'quantity' })).toEqual([5, -1, 7, 8, 9, 10]);
    const sequences = bed.events
      .filter(({ metadata }) => metadata.key['id'] === 1)
      .map((event) => event.metadata.sequence);
    expect(sequences).toEqual(sequences.toSorted());
    expect(await waitingLetters(bed)).toEqual([]);
    await second.until('no dead letters', (status) => status.deadLetters?.parked === 0);
  });

  test('is parked when the bus refuses it for its own fault, and nothing of another key is', async () => {
    await using bed = await makeBed(server, { name: 'refused', setup });
    await bed.start({ capture: everything });
    bed.bus.faults.set({ failEntries: { next: 1, code: 'MalformedDetail' } });
    await bed.sql(`insert into orders values (1, 1)`);
    await parked(bed, 1);
    await bed.sql(`insert into orders values (2, 1); update orders set quantity = 2`);
    expect(await parked(bed, 2)).toMatchObject([{ kind: 'event-rejected', behind: false }, { behind: true }]);
    await bed.confirmed();
    expect(fieldOf(bed.events, { key: 2, field: 'quantity' })).toEqual([1, 2]);
    await bed.ask('redrive', { table: 'public.orders' });
    expect(fieldOf(bed.events, { key: 1, field: 'quantity' })).toEqual([1, 2]);
  });

  test('that is still poison stays with what is behind it when it is redriven', async () => {
    await using bed = await makeBed(server, { name: 'still_poison', setup });
    await bed.start({ capture: withContract() });
    await bed.sql(`insert into orders values (1, -1); update orders set quantity = 1`);
    await parked(bed, 2);
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 0, stopped: [{}] });
    expect(await waitingLetters(bed)).toHaveLength(2);
    expect(bed.events).toEqual([]);
  });

  test('blocks both keys of a primary-key update, and a redrive keeps their common order', async () => {
    await using bed = await makeBed(server, { name: 'moved_key', setup });
    const first = await bed.start({ capture: withContract() });
    await bed.sql(`insert into orders values (1, -1)`);
    await parked(bed, 1);
    await bed.sql(
      `update orders set id = 2, quantity = 2; insert into orders values (1, 3); update orders set quantity = 4`,
    );
    await parked(bed, 5);
    await first.stop();
    await bed.start({ capture: everything });
    await bed.ask('redrive', { all: true });
    await bed.confirmed();
    expect(bed.events.map(({ metadata, data }) => [metadata.operation, data['id'], data['quantity']])).toEqual([
      ['insert', 1, -1],
      ['update', 2, 2],
      ['insert', 1, 3],
      ['update', 2, 4],
      ['update', 1, 4],
    ]);
  });

  test('can be discarded, and its key flows again', async () => {
    await using bed = await makeBed(server, { name: 'discarded', setup });
    await bed.start({ capture: withContract() });
    await bed.sql(`insert into orders values (1, -1); update orders set quantity = 1`);
    await parked(bed, 2);
    expect(await bed.ask('discard', { table: 'public.orders' })).toEqual({ discarded: 2 });
    await bed.sql(`update orders set quantity = 2`);
    await bed.accepted(1);
    expect(fieldOf(bed.events, { key: 1, field: 'quantity' })).toEqual([2]);
  });

  test('is one of too many: the worker halts before all traffic is copied into the database', async () => {
    await using bed = await makeBed(server, { name: 'flood', setup });
    const running = await bed.start({ capture: withContract(), bus: { maxParkedPerMinute: 5 } });
    await bed.sql(`insert into orders select g, -1 from generate_series(1, 200) g`);
    const { problem } = await running.reaches('halted');
    expect(problem?.kind).toBe('parking-flood');
    expect((await waitingLetters(bed)).length).toBeLessThanOrEqual(5);
    await running.stop();
    // What was not parked was not confirmed: it comes again, and nothing is lost.
    await bed.start({ capture: everything });
    await bed.confirmed();
    await bed.ask('redrive', { all: true });
    expect(new Set(bed.events.map(({ metadata }) => metadata.key['id'])).size).toBe(200);
  });

  test('in a logical message holds only the messages of its prefix and key', async () => {
    await using bed = await makeBed(server, { name: 'bad_message', setup });
    await bed.start({ capture: [{ messages: 'outbox' }, { table: 'public.orders' }] });
    await bed.sql(`select pg_logical_emit_message(true, 'outbox', 'no json')`);
    expect(await parked(bed, 1)).toMatchObject([{ kind: 'mapping-failed', behind: false }]);
    await bed.sql(`insert into orders values (1, 1)`);
    await bed.sql(`select pg_logical_emit_message(true, 'outbox', '{"detail-type":"A","detail":{"n":1},"key":"k"}')`);
    await bed.confirmed();
    expect(await waitingLetters(bed)).toMatchObject([{ group_key: 'message:outbox' }]);
    expect(bed.events.map(({ detailType }) => detailType).toSorted()).toEqual(['A', 'OrdersInserted']);
  });
});

describe('a fault of the set-up parks nothing, is said, and is over by itself', () => {
  const faults: { name: string; kind: string; set: (bed: WorkerBed) => void; mend: (bed: WorkerBed) => void }[] = [
    {
      name: 'denied',
      kind: 'bus-unauthorized',
      set: (bed) => bed.bus.faults.set({ deny: true }),
      mend: (bed) => bed.bus.faults.clear(),
    },
    {
      name: 'expired',
      kind: 'bus-credentials',
      set: (bed) => bed.bus.faults.set({ expiredCredentials: true }),
      mend: (bed) => bed.bus.faults.clear(),
    },
  ];

  test.each(faults)('$name: $kind', async ({ name, kind, set, mend }) => {
    await using bed = await makeBed(server, { name: `setup_${name}`, setup });
    const running = await bed.start({ capture: everything });
    set(bed);
    await bed.sql(`insert into orders select g, 1 from generate_series(1, 50) g; update orders set quantity = 2`);
    const { problem } = await running.reaches('waiting');
    expect(problem?.kind).toBe(kind);
    const ready = await fetch(`${running.worker.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.text()).toContain(problem?.remedy);
    mend(bed);
    await running.reaches('streaming');
    await bed.confirmed();
    expect(bed.events).toHaveLength(100);
    expect(new Set(bed.events.map(({ metadata }) => metadata.id)).size).toBe(100);
    for (let id = 1; id <= 50; id += 1) expect(fieldOf(bed.events, { key: id, field: 'quantity' })).toEqual([1, 2]);
    expect(await bed.sql('select 1 from banyan.dead_letter')).toEqual([]);
    expect(running.status().problem).toBeUndefined();
  });

  test('a bus that is not there at the start: no slot is made, and nothing is sent into the void', async () => {
    await using bed = await makeBed(server, { name: 'no_bus', setup });
    bed.bus.invoke('DeleteEventBus', { Name: 'shop-legacy' });
    const running = await bed.start({ capture: everything }, { dontWait: true });
    expect((await running.reaches('waiting')).problem?.kind).toBe('bus-missing');
    expect(await bed.sql(`select 1 from pg_replication_slots where slot_name = '${bed.slot}'`)).toEqual([]);
    bed.bus.invoke('CreateEventBus', { Name: 'shop-legacy' });
    await running.reaches('streaming');
    await bed.sql(`insert into orders values (1, 1)`);
    await bed.confirmed();
    expect(bed.bus.counters.dropped).toBe(0);
    expect(bed.events).toHaveLength(1);
  });

  test('a bus that is deleted while the worker runs is noticed before its next look has passed', async () => {
    await using bed = await makeBed(server, { name: 'bus_deleted', setup });
    const running = await bed.start({ capture: everything });
    bed.bus.invoke('DeleteEventBus', { Name: 'shop-legacy' });
    expect((await running.reaches('waiting')).problem?.kind).toBe('bus-missing');
    await bed.sql(`insert into orders values (1, 1)`);
    bed.bus.invoke('CreateEventBus', { Name: 'shop-legacy' });
    await running.reaches('streaming');
    await bed.confirmed();
    expect(bed.bus.counters.dropped).toBe(0);
    expect(bed.events).toHaveLength(1);
    expect(await bed.sql('select 1 from banyan.dead_letter')).toEqual([]);
  });
});

test('an event that fails now and then is sent again while its key waits', async () => {
  await using bed = await makeBed(server, { name: 'transient', setup });
  const publisher = new ScriptedPublisher((_event, attempt) =>
    attempt < 2 ? { do: 'reject', kind: 'bus-transient' } : { do: 'accept' },
  );
  await bed.start({ capture: everything }, { publisher });
  await bed.sql(`insert into orders values (1, 1); update orders set quantity = 2; update orders set quantity = 3`);
  await bed.confirmed();
  expect(
    publisher.accepted.map(({ detail }) => (JSON.parse(detail) as { data: { quantity: number } }).data.quantity),
  ).toEqual([1, 2, 3]);
  expect(await bed.sql('select 1 from banyan.dead_letter')).toEqual([]);
});
