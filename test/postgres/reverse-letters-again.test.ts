import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { letters, lettersWhen, orderConfig, orderEvent, orderIds, parentSetup } from '../support/letter-scenario.ts';
import { makeReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

describe('an event whose letter was settled, and which comes again', () => {
  test('is set aside again where it fails again, and applied when it can be', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'again_waits', setup: parentSetup });
    const worker = await bed.startRunning(orderConfig());
    await bed.queue.send(orderEvent(1, { customer: 7 }));
    const [first] = await lettersWhen(bed, 'it waits', (found) => found[0]?.waits === true);
    await bed.ask('discard', { direction: 'reverse', ids: [first?.id] });
    await bed.queue.send(orderEvent(1, { customer: 7 }));
    await bed.queue.empty();
    expect(await letters(bed)).toEqual([first]);
    await worker.until('it is counted', ({ reverse }) => reverse?.waiting === 1);
    await bed.sql('insert into customers values (7)');
    await lettersWhen(bed, 'it is applied', ([letter]) => letter?.status === 'redriven');
    expect(await orderIds(bed)).toEqual([1]);
  });

  test('goes behind what stands before it', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'again_behind', setup: parentSetup });
    await bed.startRunning(orderConfig());
    await bed.queue.send(orderEvent(1, { version: 2, note: 'bad' }));
    const [given] = await lettersWhen(bed, 'it is parked', (found) => found.length === 1);
    await bed.ask('discard', { direction: 'reverse', ids: [given?.id] });
    await bed.queue.send(orderEvent(1, { version: 1, note: 'bad' }));
    await lettersWhen(bed, 'the older one is parked', (found) => found.length === 2);
    await bed.queue.send(orderEvent(1, { version: 2, note: 'bad' }));
    await bed.queue.empty();
    expect((await letters(bed)).map(({ status }) => status)).toEqual(['parked', 'parked']);
  });
});
