import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { letters, lettersWhen, orderConfig, orderEvent, orderIds, parentSetup } from '../support/letter-scenario.ts';
import { makeReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

describe('an event that waits when its table turns out to be another one', () => {
  test.for(['by itself', 'by a redrive'])('is applied once that is mended, where it was tried %s', async (how) => {
    const name = `drift_${how.replaceAll(' ', '_')}`;
    await using bed = await makeReverseWorkerBed(server, { name, setup: parentSetup });
    const worker = await bed.startRunning(orderConfig());
    await bed.queue.send(orderEvent(1, { customer: 7 }));
    await lettersWhen(bed, 'it waits', (found) => found[0]?.waits === true);
    await bed.sql('alter table orders rename column note to remark');
    if (how === 'by a redrive') await bed.ask('redrive', { direction: 'reverse', all: true });
    await worker.until('it is held', ({ reverse }) => reverse?.heldTables?.length === 1);
    await bed.sql('insert into customers values (7); alter table orders rename column remark to note');
    await lettersWhen(bed, 'it is applied', ([letter]) => letter?.status === 'redriven');
    expect(await orderIds(bed)).toEqual([1]);
    await worker.until('nothing is held', ({ reverse }) => reverse?.heldTables?.length === 0);
  });

  test('waits anew where what it waits for has still not come', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'drift_waits', setup: parentSetup });
    const worker = await bed.startRunning(orderConfig());
    await bed.queue.send(orderEvent(1, { customer: 7 }));
    await lettersWhen(bed, 'it waits', (found) => found[0]?.waits === true);
    await bed.sql('alter table orders rename column note to remark');
    await worker.until('it is held', ({ reverse }) => reverse?.heldTables?.length === 1);
    await bed.sql('alter table orders rename column remark to note');
    await lettersWhen(bed, 'it waits again', ([letter]) => letter?.waits === true);
    expect(await letters(bed)).toMatchObject([{ kind: 'parent-missing', group_key: 'public.orders:1' }]);
    await bed.sql('insert into customers values (7)');
    await lettersWhen(bed, 'it is applied', ([letter]) => letter?.status === 'redriven');
  });
});
