import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import {
  letters,
  lettersWhen,
  orderConfig,
  orderEntry,
  orderEvent,
  orderIds,
  parentSetup,
} from '../support/letter-scenario.ts';
import { makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

/** As a worker has set it aside whose entry could not even tell the row. */
async function withMessage(bed: ReverseWorkerBed, body: string): Promise<void> {
  const without = { ...orderEntry, key: { id: 'detail.number' } };
  const first = await bed.startRunning({ ...orderConfig(), reverse: { apply: [without] } });
  await bed.queue.send(body);
  await lettersWhen(bed, 'it is parked', (found) => found.length === 1);
  await first.stop();
}

describe('a redrive of a message that no event could be read from when it came', () => {
  test('says that the event was refused', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'loose_refused', setup: parentSetup });
    await withMessage(bed, orderEvent(1, { note: 'bad' }));
    await bed.startRunning(orderConfig());
    expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toEqual({
      sent: 0,
      parked: 0,
      withoutEvent: 0,
      stopped: [
        {
          group: 'public.orders:1',
          letter: expect.any(Number) as number,
          reason: expect.stringMatching(/23514/) as string,
        },
      ],
    });
    expect(await letters(bed)).toMatchObject([
      { status: 'redriven' },
      { status: 'parked', kind: 'row-refused', group_key: 'public.orders:1' },
    ]);
    await bed.queue.send(orderEvent(1, { version: 2 }));
    await bed.queue.empty();
    expect(await letters(bed)).toHaveLength(3);
  });

  test('applies one that is older than what is remembered', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'loose_old', setup: parentSetup });
    await withMessage(bed, orderEvent(1, { time: '2020-01-01T00:00:00Z' }));
    const worker = await bed.startRunning(orderConfig());
    expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({ sent: 1, stopped: [] });
    expect(await letters(bed)).toMatchObject([{ status: 'redriven' }]);
    expect(await orderIds(bed)).toEqual([1]);
    expect(worker.status().reverse?.applied).toMatchObject({ echo: 1 });
  });

  test('leaves it as it is while its table takes no events', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'loose_stage', setup: parentSetup });
    await withMessage(bed, orderEvent(1));
    await bed.startRunning(orderConfig());
    const { stages } = await bed.state();
    await stages.set('public.orders', 'shadow', 'test');
    expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({
      sent: 0,
      stopped: [{ group: 'public.orders:1', reason: expect.stringContaining('stage') as string }],
    });
    expect(await letters(bed)).toMatchObject([{ status: 'parked' }]);
    await stages.set('public.orders', 'dual', 'test');
    expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({ sent: 1, stopped: [] });
    expect(await orderIds(bed)).toEqual([1]);
  });

  test('puts an event behind what is parked of its row, and says so', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'loose_behind', setup: parentSetup });
    await withMessage(bed, orderEvent(1, { version: 2 }));
    await bed.startRunning(orderConfig());
    await bed.queue.send(orderEvent(1, { note: 'bad' }));
    const [loose] = await lettersWhen(bed, 'the row has a dead letter', (found) => found.length === 2);
    expect(await bed.ask('redrive', { direction: 'reverse', ids: [loose?.id] })).toMatchObject({
      sent: 0,
      stopped: [{ group: 'public.orders:1', letter: expect.any(Number) as number }],
    });
    expect(await orderIds(bed)).toEqual([]);
  });
});
