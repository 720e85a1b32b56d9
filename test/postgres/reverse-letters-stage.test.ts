import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { letters, lettersWhen, orderConfig, orderEvent, orderIds, parentSetup } from '../support/letter-scenario.ts';
import { makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const move = async (bed: ReverseWorkerBed, stage: 'dual' | 'shadow') =>
  (await bed.state()).stages.set('public.orders', stage, 'test');

describe('while the stage of the table takes no events', () => {
  test('an event that waits goes on waiting, and is applied once it takes some again', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'stage_waits', setup: parentSetup });
    const worker = await bed.startRunning(orderConfig());
    await bed.queue.send(orderEvent(1, { customer: 7 }));
    await lettersWhen(bed, 'it waits', (found) => found[0]?.waits === true);
    await move(bed, 'shadow');
    await bed.sql('insert into customers values (7)');
    expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({
      sent: 0,
      stopped: [{ group: 'public.orders:1', reason: expect.stringContaining('stage') as string }],
    });
    const retried = worker.status().reverse?.retried ?? 0;
    // Several rounds of what is tried each second.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(await letters(bed)).toMatchObject([{ status: 'parked', waits: true, kind: 'parent-missing' }]);
    expect(await bed.sql('select from banyan.inbox')).toEqual([]);
    expect(worker.status().reverse).toMatchObject({ skipped: 0, retried });
    await move(bed, 'dual');
    await lettersWhen(bed, 'it is applied', ([letter]) => letter?.status === 'redriven');
    expect(await orderIds(bed)).toEqual([1]);
  });

  test('a redrive leaves a parked event and its conflict as they are, and says why', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'stage_conflict', setup: parentSetup });
    await bed.startRunning(orderConfig({ conflict: 'park' }));
    await bed.sql(`insert into orders values (1, null, 'legacy')`);
    await bed.queue.send(orderEvent(1), orderEvent(1, { version: 2 }));
    await lettersWhen(bed, 'both are parked', (found) => found.length === 2);
    await move(bed, 'shadow');
    const redrive = () => bed.ask('redrive', { direction: 'reverse', all: true });
    expect(await redrive()).toMatchObject({
      sent: 0,
      stopped: [{ group: 'public.orders:1', reason: expect.stringContaining('stage') as string }],
    });
    expect((await letters(bed)).map(({ status }) => status)).toEqual(['parked', 'parked']);
    expect(await bed.sql('select resolution, resolved_at from banyan.conflict')).toEqual([
      { resolution: 'parked', resolved_at: null },
    ]);
    await move(bed, 'dual');
    await bed.sql('delete from orders');
    expect(await redrive()).toMatchObject({ sent: 2, stopped: [] });
    expect(await orderIds(bed)).toEqual([1]);
  });

  test('events that wait behind nothing stay, and a redrive of a held table says why', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'stage_behind', setup: parentSetup });
    await bed.startRunning(orderConfig());
    await bed.queue.send(orderEvent(1, { note: 'bad' }));
    await lettersWhen(bed, 'it is parked', (found) => found.length === 1);
    await bed.queue.send(orderEvent(1, { version: 2 }));
    await lettersWhen(bed, 'the next is behind it', (found) => found.length === 2);
    await bed.sql('alter table orders rename column note to remark');
    await bed.queue.send(orderEvent(2));
    await lettersWhen(bed, 'the table is held', (found) => found.length === 3);
    await move(bed, 'shadow');
    await bed.sql('alter table orders rename column remark to note');
    const [first] = await letters(bed);
    await bed.ask('discard', { direction: 'reverse', ids: [first?.id] });
    expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({
      sent: 0,
      stopped: [{ group: 'table:public.orders' }, { group: 'public.orders:1' }],
    });
    expect((await letters(bed)).slice(1).map(({ status }) => status)).toEqual(['parked', 'parked']);
    await move(bed, 'dual');
    await bed.ask('redrive', { direction: 'reverse', all: true });
    expect(await orderIds(bed)).toEqual([1, 2]);
  });
});
