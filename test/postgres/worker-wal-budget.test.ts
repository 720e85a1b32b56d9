import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { BanyanError } from '../../src/core/errors.ts';
import { eventually } from '../support/eventually.ts';
import { ReferenceConsumer, type Detail } from '../support/reference-consumer.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, type RunningWorker, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, note text);
  create table elsewhere (filler text);
  insert into orders select n, 'old' from generate_series(1, 50) n`;
const capture = [{ table: 'public.orders', backfill: true }];
const dropping = { capture, legacy: { walBudget: '4MB', onWalBudget: 'drop-slot', heartbeat: '1h' } };
const warning = { capture, legacy: { walBudget: '4MB', onWalBudget: 'warn', heartbeat: '1h' } };

/** Answers nothing while it is stalled, as a bus behind a broken network. */
class StallingBus extends ScriptedPublisher {
  #isStalled = false;

  constructor() {
    super(() => (this.#isStalled ? { do: 'hold' } : { do: 'accept' }));
  }

  stall(): void {
    this.#isStalled = true;
  }

  goOn(): void {
    this.#isStalled = false;
    this.release();
  }

  /** What a consumer holds that has taken all of it in. */
  rows(): readonly unknown[] {
    const consumer = new ReferenceConsumer();
    for (const { detail } of this.accepted) consumer.apply(JSON.parse(detail) as Detail);
    return consumer.rows('public.orders').toSorted((a, b) => Number(a['id']) - Number(b['id']));
  }
}

/** One event after the other. */
const oneByOne = { maxEntries: 1, concurrency: 1 };

async function takesNext(bus: ScriptedPublisher): Promise<void> {
  await bus.until(() => bus.inFlight.size > 0);
  const { length } = bus.accepted;
  bus.release();
  await bus.until(() => bus.accepted.length > length);
}

/** A worker that has everything before it that was committed while none ran: more than its budget. */
async function behind(bed: WorkerBed, bus: ScriptedPublisher): Promise<RunningWorker> {
  const config = { ...dropping, bus: oneByOne };
  const first = await bed.start(config, { publisher: new ScriptedPublisher() });
  await backfilled(bed);
  await bed.confirmed();
  await first.stop();
  await bed.sql(`do $$ begin
    for n in 1..300 loop
      update orders set note = n where id = 1;
      insert into elsewhere select repeat('x', 1000) from generate_series(1, 40);
      commit;
    end loop; end $$`);
  return bed.start(config, { publisher: bus });
}

/** The worker has looked at the slot once more. */
async function looked(running: RunningWorker): Promise<void> {
  const { observedAt } = running.status().slot;
  await running.until('looked again', ({ slot }) => slot.observedAt !== observedAt);
}

/** WAL that nobody captures. */
async function fill(bed: WorkerBed, megabytes: number): Promise<void> {
  await bed.sql(`insert into elsewhere select repeat('x', 1000) from generate_series(1, ${megabytes * 1_000})`);
}

async function slotIsThere(bed: WorkerBed): Promise<boolean> {
  return (await bed.sql(`select from pg_replication_slots where slot_name = '${bed.slot}'`)).length > 0;
}

async function backfilled(bed: WorkerBed): Promise<void> {
  const { backfills } = await bed.state();
  await eventually(
    async () => (await backfills.latest('public.orders'))[0]?.status === 'completed',
    () => 'the backfill never completed',
    { timeoutMs: 20_000 },
  );
}

async function growing(running: RunningWorker, bed: WorkerBed): Promise<void> {
  await eventually(
    async () => {
      await bed.sql(`insert into elsewhere values (repeat('x', 20000))`);
      const { exhaustedInSeconds } = running.status().slot;
      return exhaustedInSeconds !== undefined && exhaustedInSeconds > 0;
    },
    () => `no time to exhaustion: ${JSON.stringify(running.status().slot)}`,
    { timeoutMs: 15_000, everyMs: 50 },
  );
}

describe('a stalled bus and a small budget', () => {
  test('the time that is left is told, the slot goes before the disk does, and recover brings a consumer back to what the table holds', async () => {
    await using bed = await makeBed(server, { name: 'wal_dropped', setup });
    const bus = new StallingBus();
    const running = await bed.start(dropping, { publisher: bus });
    await backfilled(bed);
    await bed.confirmed();
    bus.stall();
    await bed.sql(`update orders set note = 'on its way' where id = 1`);
    await growing(running, bed);
    await bed.sql(`delete from orders where id <= 10; update orders set note = 'in the gap' where id = 20;
      insert into orders values (100, 'in the gap')`);
    await fill(bed, 6);

    const { problem } = await running.reaches('halted');
    expect(problem?.kind).toBe('gap');
    expect(problem?.remedy).toContain('recover --accept-gap');
    await eventually(
      async () => !(await slotIsThere(bed)),
      () => 'the slot is still there',
    );
    const ready = await fetch(`${running.worker.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(((await ready.json()) as { remedy: string }).remedy).toBe(problem?.remedy);
    const { gaps, backfills } = await bed.state();
    const [gap, ...others] = await gaps.open();
    expect(others).toEqual([]);
    expect(gap).toMatchObject({
      kind: 'slot-dropped',
      subject: bed.slot,
      report: { tables: 'public.orders', budgetBytes: 4_000_000 },
    });
    await bed.sql(`delete from orders where id = 11`);

    bus.goOn();
    await bed.acceptGap(dropping);
    await running.until('streaming again', ({ state }) => state === 'streaming');
    expect((await backfills.latest('public.orders'))[0]?.id).toBeGreaterThan(1);
    await backfilled(bed);
    await bed.confirmed();
    expect(bus.rows()).toEqual(await bed.sql('select * from orders order by id'));
    expect(bus.rows().length).toBeGreaterThan(30);
  });

  test('a worker that starts anew gives the same reason, and records no second gap', async () => {
    await using bed = await makeBed(server, { name: 'wal_dropped_restart', setup });
    const bus = new StallingBus();
    const first = await bed.start(dropping, { publisher: bus });
    bus.stall();
    await bed.sql(`update orders set note = 'on its way'`);
    await fill(bed, 6);
    await first.reaches('halted');
    await eventually(
      async () => !(await slotIsThere(bed)),
      () => 'the slot is still there',
    );
    await first.stop();
    const second = await bed.start(dropping, { publisher: new ScriptedPublisher(), dontWait: true });
    const { problem } = await second.reaches('halted');
    expect(problem?.message).toContain('legacy.walBudget');
    const { gaps } = await bed.state();
    expect((await gaps.open()).map(({ kind }) => kind)).toEqual(['slot-dropped']);
  });

  test('a bus that is not even there when the worker starts: the slot is watched all the same', async () => {
    await using bed = await makeBed(server, { name: 'wal_no_session', setup });
    const first = await bed.start(dropping, { publisher: new ScriptedPublisher() });
    await first.stop();
    const bus = new ScriptedPublisher();
    bus.probeError = new BanyanError('bus-missing', 'the bus is not there');
    const running = await bed.start(dropping, { publisher: bus, dontWait: true });
    await running.reaches('waiting');
    await bed.sql(`insert into orders values (200, 'missed')`);
    await fill(bed, 6);
    await eventually(
      async () => !(await slotIsThere(bed)),
      () => 'the slot is still there',
      { timeoutMs: 20_000 },
    );
    bus.probeError = undefined;
    const { problem } = await running.reaches('halted');
    expect(problem?.kind).toBe('gap');
    expect((await (await bed.state()).gaps.open()).map(({ kind }) => kind)).toEqual(['slot-dropped']);
  });

  test('a slot that drains is kept, also where not every look shows it, and given up once the bus takes nothing more', async () => {
    await using bed = await makeBed(server, { name: 'wal_draining', setup });
    const bus = new ScriptedPublisher(() => ({ do: 'hold' }));
    const running = await behind(bed, bus);
    for (let look = 0; look < 60; look += 1) {
      await looked(running);
      expect(running.status().state).toBe('streaming');
      if (look % 2 === 0) await takesNext(bus);
    }
    const { slot } = running.status();
    expect(await slotIsThere(bed)).toBe(true);
    expect(slot.heldBytes).toBeGreaterThan(slot.budgetBytes);
    expect(await (await bed.state()).gaps.open()).toEqual([]);

    const { problem } = await running.reaches('halted');
    expect(problem?.message).toContain('nothing of it was confirmed');
    await eventually(
      async () => !(await slotIsThere(bed)),
      () => 'the slot is still there',
    );
    expect((await (await bed.state()).gaps.open()).map(({ kind }) => kind)).toEqual(['slot-dropped']);
  });

  test('a slot that drains more slowly than WAL is written is given up', async () => {
    await using bed = await makeBed(server, { name: 'wal_losing', setup });
    const running = await behind(bed, new ScriptedPublisher(() => ({ do: 'slow', ms: 100 })));
    await eventually(
      async () => {
        await fill(bed, 0.5);
        return running.status().state === 'halted';
      },
      () => `it was kept: ${JSON.stringify(running.status().slot)}`,
    );
    const { problem } = await running.reaches('halted');
    expect(problem?.message).toContain('held more and more');
    await eventually(
      async () => !(await slotIsThere(bed)),
      () => 'the slot is still there',
    );
  });

  test('without drop-slot it is said, and everything goes on when the bus does', async () => {
    await using bed = await makeBed(server, { name: 'wal_warned', setup });
    const bus = new StallingBus();
    const running = await bed.start(warning, { publisher: bus });
    await backfilled(bed);
    bus.stall();
    await bed.sql(`update orders set note = 'late' where id = 1`);
    await fill(bed, 6);
    const { slot } = await running.until(
      'over its budget',
      ({ slot: { exhaustedInSeconds } }) => exhaustedInSeconds === 0,
    );
    expect(slot.heldBytes).toBeGreaterThan(slot.budgetBytes);
    bus.goOn();
    await bed.confirmed();
    expect(bus.rows()).toEqual(await bed.sql('select * from orders order by id'));
    expect(await (await bed.state()).gaps.open()).toEqual([]);
  });

  test('a slot of that name which no worker of ours has read is left alone, whatever it holds', async () => {
    await using bed = await makeBed(server, { name: 'wal_foreign', setup });
    await bed.sql(`select pg_create_physical_replication_slot('${bed.slot}', true)`);
    const running = await bed.start(dropping, { publisher: new ScriptedPublisher(), dontWait: true });
    await running.reaches('halted');
    await fill(bed, 6);
    await running.until('over its budget', ({ slot: { exhaustedInSeconds } }) => exhaustedInSeconds === 0);
    // More looks than a slot of ours would have.
    for (let look = 0; look < 30; look += 1) await looked(running);
    expect(await slotIsThere(bed)).toBe(true);
    await running.stop();
    await bed.sql(`select pg_drop_replication_slot('${bed.slot}')`);
  });
});
