import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type RunningWorker, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, note text);
  create table customers (id integer primary key, note text)`;
const config = { capture: [{ table: 'public.orders' }, { table: 'public.customers' }] };

/** Waits for the halt, which must say what to do; returns the kinds of the gaps that are recorded and open. */
async function gapsAtHalt(bed: WorkerBed, running: RunningWorker): Promise<readonly string[]> {
  const { problem } = await running.reaches('halted');
  expect(problem?.kind).toBe('gap');
  const { gaps } = await bed.state();
  const open = await gaps.open();
  expect(open[0]?.report).toHaveProperty('message');
  const ready = await fetch(`${running.worker.url}/readyz`);
  expect(ready.status).toBe(503);
  expect(await ready.text()).toContain('recover');
  return open.map(({ kind }) => kind);
}

/** A halted worker goes on by itself, and what is written from then on arrives. */
async function goesOn(bed: WorkerBed, running: RunningWorker, options: { config?: typeof config } = {}): Promise<void> {
  await bed.acceptGap(options.config ?? config, { backfill: false });
  await running.until('streaming', ({ state }) => state === 'streaming');
  await bed.sql(`insert into orders values (100, 'after'); insert into customers values (100, 'after')`);
  await bed.confirmed();
  const after = bed.events.filter(({ data }) => data['note'] === 'after').map(({ metadata }) => metadata.table);
  expect(after.toSorted()).toEqual(['public.customers', 'public.orders']);
  expect(await (await bed.state()).gaps.open()).toEqual([]);
}

/** What the slot missed is missing: were it not, the test would prove nothing. */
function missed(bed: WorkerBed): boolean {
  return !bed.events.some(({ data }) => data['note'] === 'in the gap');
}

async function freeSlot(bed: WorkerBed): Promise<void> {
  await bed.sql(`select pg_drop_replication_slot('${bed.slot}')`);
}

describe('the slot', () => {
  test('dropped while no worker ran: halts, and goes on when the gap is accepted', async () => {
    await using bed = await makeBed(server, { name: 'slot_dropped', setup });
    const first = await bed.start(config);
    await bed.sql(`insert into orders values (1, 'before')`);
    await bed.confirmed();
    await first.stop();
    await freeSlot(bed);
    await bed.sql(`insert into orders values (2, 'in the gap')`);
    const running = await bed.start(config, { dontWait: true });
    expect(await gapsAtHalt(bed, running)).toContain('slot-missing');
    expect(await bed.sql(`select 1 from pg_replication_slots where slot_name = '${bed.slot}'`)).toEqual([]);
    await goesOn(bed, running);
    expect(missed(bed)).toBe(true);
  });

  test('dropped under a running worker: halts', async () => {
    await using bed = await makeBed(server, { name: 'slot_snatched', setup });
    const running = await bed.start(config);
    await bed.snatchSlot();
    expect(await gapsAtHalt(bed, running)).toContain('slot-missing');
    await goesOn(bed, running);
  });

  test('another one of an earlier time under its name: halts', async () => {
    await using bed = await makeBed(server, { name: 'slot_behind', setup });
    // Made before ours, and kept under another name meanwhile.
    await bed.sql(`select pg_create_logical_replication_slot('kept_slot_behind', 'pgoutput')`);
    const first = await bed.start(config);
    await bed.sql(`insert into orders values (1, 'x')`);
    await bed.confirmed();
    await first.stop();
    await freeSlot(bed);
    await bed.sql(`select pg_copy_logical_replication_slot('kept_slot_behind', '${bed.slot}');
      select pg_drop_replication_slot('kept_slot_behind')`);
    const running = await bed.start(config, { dontWait: true });
    expect(await gapsAtHalt(bed, running)).toContain('slot-behind');
  });

  test('of another name that begins behind what was read: halts', async () => {
    await using bed = await makeBed(server, { name: 'slot_renamed', setup });
    const first = await bed.start(config);
    await bed.sql(`insert into orders values (1, 'before')`);
    await bed.confirmed();
    await first.stop();
    await bed.sql(`insert into orders values (2, 'in the gap')`);
    const other = 'another_slot_renamed';
    await bed.sql(`select pg_create_logical_replication_slot('${other}', 'pgoutput')`);
    const renamed = { ...config, legacy: { slot: { name: other } } };
    const running = await bed.start(renamed, { dontWait: true });
    expect(await gapsAtHalt(bed, running)).toContain('slot-changed');
    await bed.acceptGap(renamed, { backfill: false });
    await running.until('streaming', ({ state }) => state === 'streaming');
    expect(missed(bed)).toBe(true);
    expect((await (await bed.state()).slots.get())?.slotName).toBe(other);
  });

  test('of another name that goes on where the one before was left: nothing is lost', async () => {
    await using bed = await makeBed(server, { name: 'slot_copied', setup });
    const first = await bed.start(config);
    await bed.sql(`insert into orders values (1, 'before')`);
    await bed.confirmed();
    await first.stop();
    const other = 'another_slot_copied';
    await bed.sql(`select pg_copy_logical_replication_slot('${bed.slot}', '${other}')`);
    await bed.sql(`update banyan.slot_record set confirmed_lsn =
      (select confirmed_flush_lsn from pg_replication_slots where slot_name = '${other}')`);
    await bed.sql(`insert into orders values (2, 'after')`);
    await bed.start({ ...config, legacy: { slot: { name: other } } });
    await eventually(
      () => bed.events.some(({ data }) => data['note'] === 'after'),
      () => 'it never came',
    );
    expect((await (await bed.state()).slots.get())?.slotName).toBe(other);
  });

  test('made anew is new until the tables are on record too, whatever comes between', async () => {
    await using bed = await makeBed(server, { name: 'slot_cut', setup });
    const first = await bed.start(config);
    await bed.confirmed();
    await first.stop();
    await freeSlot(bed);
    const running = await bed.start(config, { dontWait: true });
    await gapsAtHalt(bed, running);
    await bed.sql(`create function cut() returns trigger language plpgsql as $$ begin raise exception using errcode = '57P01'; end $$;
      create trigger cut before insert or update on banyan.table_record for each row when (new.published_since_lsn > '0/0')
      execute function cut()`);
    await bed.acceptGap(config, { backfill: false });
    await running.until('cut short', ({ stream }) => stream.reconnects > 0);
    await bed.sql('drop trigger cut on banyan.table_record');
    await running.until('streaming', ({ state }) => state === 'streaming');
    const [early] = await bed.sql(`select table_name from banyan.table_record
      where published_since_lsn < (select created_lsn from banyan.slot_record)`);
    expect(early).toBeUndefined();
  });

  test('of another plugin is refused and left alone', async () => {
    await using bed = await makeBed(server, { name: 'slot_foreign', setup });
    await bed.sql(`select pg_create_physical_replication_slot('${bed.slot}')`);
    const running = await bed.start(config, { dontWait: true });
    const { problem } = await running.reaches('halted');
    expect(problem?.kind).toBe('preflight');
    expect(problem?.message).toContain(bed.slot);
    await freeSlot(bed);
  });
});

describe('a table', () => {
  test('renamed under a running worker: halts', async () => {
    await using bed = await makeBed(server, { name: 'table_renamed', setup });
    const running = await bed.start(config);
    await bed.sql(`alter table orders rename to orders_old`);
    expect(await gapsAtHalt(bed, running)).toContain('table-missing');
    await bed.sql(`alter table orders_old rename to orders`);
    await goesOn(bed, running);
  });

  test.each(['running', 'stopped'])('swapped by renames while the worker is %s: halts', async (when) => {
    await using bed = await makeBed(server, { name: `table_swapped_${when}`, setup });
    let running = await bed.start(config);
    if (when === 'stopped') await running.stop();
    await bed.sql(`begin; create table orders_new (like orders including all); alter table orders rename to orders_old;
      alter table orders_new rename to orders; commit; insert into orders values (5, 'in the gap')`);
    if (when === 'stopped') running = await bed.start(config, { dontWait: true });
    expect(await gapsAtHalt(bed, running)).toContain('table-replaced');
    await goesOn(bed, running);
    expect(missed(bed)).toBe(true);
  });

  test.each(['running', 'stopped'])('taken out of the publication while the worker is %s: halts', async (when) => {
    await using bed = await makeBed(server, { name: `table_unpublished_${when}`, setup });
    let running = await bed.start(config);
    if (when === 'stopped') await running.stop();
    await bed.sql(`alter publication ${bed.slot} drop table orders; insert into orders values (5, 'in the gap')`);
    if (when === 'stopped') running = await bed.start(config, { dontWait: true });
    expect(await gapsAtHalt(bed, running)).toContain('table-unpublished');
    await goesOn(bed, running);
    expect(missed(bed)).toBe(true);
  });
});

describe('the publication', () => {
  test('dropped under a running worker: halts', async () => {
    await using bed = await makeBed(server, { name: 'publication_dropped', setup });
    const running = await bed.start(config);
    await bed.sql(`drop publication ${bed.slot}; insert into orders values (1, 'in the gap')`);
    const { problem } = await running.reaches('halted');
    expect(problem?.kind).toBe('gap');
    expect((await (await bed.state()).gaps.open()).length).toBeGreaterThan(0);
  });

  test('misspelt or missing where a DBA manages it: refused before a slot is made, with the statement', async () => {
    await using bed = await makeBed(server, { name: 'publication_misspelt', setup });
    await bed.sql(`create publication shop_pub for table orders, customers`);
    const legacy = { publication: { name: 'shop_pup', manage: false } };
    const running = await bed.start({ ...config, legacy }, { dontWait: true });
    const { problem } = await running.reaches('halted');
    expect(problem?.kind).toBe('preflight');
    expect(problem?.message).toContain('shop_pup');
    expect(problem?.remedy).toContain('create publication');
    expect(await bed.sql(`select 1 from pg_replication_slots where slot_name = '${bed.slot}'`)).toEqual([]);
    await running.stop();
    await bed.start({ ...config, legacy: { publication: { name: 'shop_pub', manage: false } } });
    await bed.sql(`insert into orders values (1, 'x')`);
    await bed.accepted(1);
  });

  test('that lacks a mapped table where a DBA manages it: refused', async () => {
    await using bed = await makeBed(server, { name: 'publication_lacks', setup });
    await bed.sql(`create publication ${bed.slot} for table orders`);
    const running = await bed.start({ ...config, legacy: { publication: { manage: false } } }, { dontWait: true });
    const { problem } = await running.reaches('halted');
    expect(`${problem?.message} ${problem?.remedy}`).toContain('customers');
  });
});

test('another cluster behind the same URL: halts, and the accepted gap raises the epoch', async () => {
  await using bed = await makeBed(server, { name: 'another_cluster', setup });
  const first = await bed.start(config);
  await bed.sql(`insert into orders values (1, 'before')`);
  await bed.accepted(1);
  await first.stop();
  // As a dump that was restored into a new cluster: the same state, which remembers another system identifier.
  await bed.sql(`update banyan.slot_record set system_id = '7000000000000000000'`);
  const running = await bed.start(config, { dontWait: true });
  expect(await gapsAtHalt(bed, running)).toContain('system-changed');
  await goesOn(bed, running);
  expect(running.status().server.epoch).toBe(2);
  const [before, ...after] = bed.events.map(({ metadata }) => metadata.sequence);
  for (const sequence of after) expect(sequence > (before ?? '')).toBe(true);
});
