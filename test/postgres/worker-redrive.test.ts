import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { fieldOf, makeBed, seen, type SeenEvent, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
let folder: string;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  folder = await mkdtemp(join(tmpdir(), 'banyan-redrive-'));
});

afterAll(async () => {
  await server?.stop();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

const setup = `create table orders (id integer primary key, status text, quantity integer)`;
/** Of the worker under test. */
const SHUTDOWN_TIMEOUT_MS = 5_000;
const HELD_GROUP = 'table:public.orders';

/** Waits for so many parked letters. */
async function parked(bed: WorkerBed, count: number) {
  return eventually(
    async () => {
      const letters = await bed.sql<{ id: string; kind: string; group_key: string; behind: boolean; entry: number }>(
        `select id, kind, group_key, behind, entry from banyan.dead_letter where status = 'parked' order by sequence, entry, id`,
      );
      return letters.length === count && letters;
    },
    () => `never ${count} letters`,
    { timeoutMs: 15_000 },
  );
}

/** A transform module, as a file of its own. */
async function transform(name: string, body: string): Promise<string> {
  const path = join(folder, `${name}.mjs`);
  await writeFile(path, `export default (change) => { ${body} };`);
  return path;
}

/** Holds `orders` for a column that is there again: what is set aside from here on can be mapped without a restart. */
async function hold(bed: WorkerBed): Promise<void> {
  await bed.sql(`alter table orders rename column status to state; insert into orders values (99, 'z', 1)`);
  const letters = await eventually(
    async () => {
      const found = await bed.sql(
        `select id from banyan.dead_letter where status = 'parked' and group_key = '${HELD_GROUP}'`,
      );
      return found.length === 1 && found;
    },
    () => 'orders was never held',
    { timeoutMs: 15_000 },
  );
  await bed.sql(`alter table orders rename column state to status`);
  await bed.ask('discard', { ids: letters.map(({ id }) => Number(id)) });
}

const idsOf = (bed: WorkerBed): string[] => bed.events.map(({ metadata }) => metadata.id);

describe('several capture entries of one table', () => {
  test('never give two events one id, whatever a redrive makes of what one of them parked', async () => {
    await using bed = await makeBed(server, { name: 'two_entries', setup });
    const broken = await transform('broken', `throw new Error('poison');`);
    const mended = await transform(
      'mended',
      `return [{ detailType: 'A', data: { part: 1 } }, { detailType: 'A', data: { part: 2 } }];`,
    );
    const second = { table: 'public.orders', emit: [{ on: ['insert'], detailType: 'B' }], order: 'relaxed' };
    const first = await bed.start({ capture: [{ table: 'public.orders', transform: broken }, second] });
    await bed.sql(`insert into orders values (1, 'a', 1)`);
    await parked(bed, 1);
    await bed.accepted(1);
    await first.stop();
    await bed.start({ capture: [{ table: 'public.orders', transform: mended }, second] });
    await bed.ask('redrive', { all: true });
    expect(bed.events.map(({ detailType, data }) => [detailType, data['part']])).toEqual([
      ['B', undefined],
      ['A', 1],
      ['A', 2],
    ]);
    expect(new Set(idsOf(bed)).size).toBe(3);
  });

  test('of a held table send nothing of a change that one of them can not map', async () => {
    await using bed = await makeBed(server, { name: 'half_a_change', setup });
    await bed.start({
      capture: [
        { table: 'public.orders', detail: { all: 'id' } },
        { table: 'public.orders', detail: { state: 'status' }, emit: [{ on: ['insert'], detailType: 'State' }] },
      ],
    });
    await bed.sql(`alter table orders rename column status to state; insert into orders values (1, 'a', 1)`);
    await parked(bed, 2);
    await bed.sql(`alter table orders rename column state to status; insert into orders values (2, 'b', 1)`);
    const [, unmappable] = await parked(bed, 4);
    // What was stored while the column was away has it under another name.
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 0, stopped: [{ group: HELD_GROUP }] });
    expect(bed.events).toEqual([]);
    await bed.ask('discard', { ids: [Number(unmappable?.id)] });
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 3, stopped: [] });
    expect(fieldOf(bed.events, { key: 1, field: 'all' })).toEqual([1]);
    expect(new Set(idsOf(bed)).size).toBe(3);
  });
});

describe('a redrive whose events the bus does not answer', () => {
  /** A worker with one parked letter, whose redrive hangs in its first event. */
  async function hanging(bed: WorkerBed) {
    const publisher = new ScriptedPublisher(() => ({ do: 'reject', kind: 'event-rejected' }));
    const running = await bed.start(plain, { publisher });
    await bed.sql(`insert into orders values (1, 'a', 1)`);
    await parked(bed, 1);
    publisher.decide = () => ({ do: 'hold' });
    const { requests } = await bed.state();
    await requests.insert({ command: 'redrive', arguments: { all: true }, requestedBy: 'test' });
    await publisher.until(() => publisher.inFlight.size === 1);
    return { running, publisher };
  }
  const plain = { capture: [{ table: 'public.orders' }] };

  test('does not keep a gap from being reported', async () => {
    await using bed = await makeBed(server, { name: 'hanging_gap', setup });
    const { running } = await hanging(bed);
    await bed.sql(`alter publication ${bed.slot} drop table orders`);
    expect((await running.reaches('halted')).problem?.kind).toBe('gap');
  });

  test('does not hold up a stop, and its letters stay for the next', async () => {
    await using bed = await makeBed(server, { name: 'hanging_stop', setup });
    const { running } = await hanging(bed);
    const begun = performance.now();
    await running.stop();
    expect(performance.now() - begun).toBeLessThan(SHUTDOWN_TIMEOUT_MS);
    expect(await bed.sql('select error from banyan.request')).toEqual([
      { error: 'the worker stopped before it was done; ask again' },
    ]);
    await bed.start(plain);
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 1, stopped: [] });
    expect(fieldOf(bed.events, { key: 1, field: 'status' })).toEqual(['a']);
  });
});

describe('a held table that is redriven', () => {
  const naming = { table: 'public.orders', detail: { id: 'id', state: 'status', quantity: 'quantity' } };

  test('waits for what was on its way to the bus when the table was held', async () => {
    await using bed = await makeBed(server, { name: 'barrier', setup });
    const publisher = new ScriptedPublisher(({ detailType }) =>
      detailType === 'OrdersInserted' ? { do: 'hold' } : { do: 'accept' },
    );
    const running = await bed.start({ capture: [naming] }, { publisher });
    await bed.sql(`insert into orders values (1, 'a', 1)`);
    await publisher.until(() => publisher.inFlight.size === 1);
    await hold(bed);
    await bed.sql(`update orders set quantity = 2 where id = 1`);
    await parked(bed, 1);
    const answer = bed.ask('redrive', { table: 'public.orders' });
    await running.until(
      'the redrive waits, or is wrong',
      ({ bus }) => bus.queued === 2 || publisher.accepted.length > 0,
    );
    publisher.release();
    expect(await answer).toMatchObject({ sent: 1, stopped: [] });
    expect(fieldOf(publisher.accepted.map(seen), { key: 1, field: 'quantity' })).toEqual([1, 2]);
  });
});

describe('a held table with a row that can not be mapped', () => {
  const dividing = {
    table: 'public.orders',
    detail: { state: 'status', quantity: 'quantity', share: { cel: '100 / row.quantity' } },
  };

  test('is released, and the row is parked with what is behind it under its own key', async () => {
    await using bed = await makeBed(server, { name: 'held_poison', setup });
    const running = await bed.start({ capture: [dividing] });
    await bed.sql(`insert into orders values (1, 'a', 1), (2, 'a', 1)`);
    await bed.accepted(2);
    await hold(bed);
    await bed.sql(`update orders set quantity = 2 where id = 1; update orders set quantity = 0 where id = 1;
      update orders set quantity = 3 where id = 1; update orders set quantity = 4 where id = 2`);
    await parked(bed, 4);
    expect(await bed.ask('redrive', { table: 'public.orders' })).toEqual({
      sent: 2,
      parked: 2,
      withoutEvent: 0,
      stopped: [],
    });
    expect(running.table('public.orders').held).toBeUndefined();
    expect(await parked(bed, 2)).toMatchObject([
      { kind: 'mapping-failed', group_key: 'public.orders:1', behind: false },
      { group_key: 'public.orders:1', behind: true },
    ]);
    await bed.sql(`update orders set quantity = 5`);
    await parked(bed, 3);
    await bed.confirmed();
    expect(fieldOf(bed.events, { key: 1, field: 'quantity' })).toEqual([1, 2]);
    expect(fieldOf(bed.events, { key: 2, field: 'quantity' })).toEqual([1, 4, 5]);
  });
});

const isPoison = ({ metadata }: SeenEvent) => metadata.operation === 'insert' && metadata.key['id'] === 1;

describe('a letter that was given up and whose event comes again after a restart', () => {
  const plain = { capture: [{ table: 'public.orders' }] };

  test('stays so, and its key flows', async () => {
    await using bed = await makeBed(server, { name: 'given_up', setup });
    // The second row keeps the transaction of both from being confirmed.
    const before = new ScriptedPublisher((event) => ({
      do: 'reject',
      kind: isPoison(seen(event)) ? 'event-rejected' : 'bus-missing',
    }));
    const first = await bed.start(plain, { publisher: before });
    await bed.sql(`insert into orders values (1, 'a', 1), (2, 'a', 1)`);
    await parked(bed, 1);
    await bed.ask('discard', { table: 'public.orders' });
    await first.stop();

    await bed.sql(`update orders set quantity = 2; update orders set quantity = 3`);
    const after = new ScriptedPublisher((event) =>
      isPoison(seen(event)) ? { do: 'reject', kind: 'event-rejected' } : { do: 'accept' },
    );
    const second = await bed.start(plain, { publisher: after });
    await bed.confirmed();
    const sent = after.accepted.map(seen);
    expect(fieldOf(sent, { key: 1, field: 'quantity' })).toEqual([2, 3]);
    expect(fieldOf(sent, { key: 2, field: 'quantity' })).toEqual([1, 2, 3]);
    await parked(bed, 0);
    expect(after.requests.flat().filter((event) => isPoison(seen(event)))).toHaveLength(1);
    expect(second.table('public.orders').held).toBeUndefined();
  });
});

test('a table that was held and released may set aside as much again', async () => {
  await using bed = await makeBed(server, { name: 'held_twice', setup });
  const limited = { table: 'public.orders', detail: { state: 'status' }, holdLimit: { rows: 3 } };
  const running = await bed.start({ capture: [limited] });
  for (let round = 1; round <= 3; round += 1) {
    await hold(bed);
    await bed.sql(`insert into orders values (${round}, 'a', 1); update orders set status = 'b' where id = ${round}`);
    await parked(bed, 2);
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 2, stopped: [] });
    await bed.sql(`delete from orders`);
    await bed.confirmed();
  }
  expect(running.status().state).toBe('streaming');
});
