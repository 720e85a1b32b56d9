import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeReverseWorkerBed, type ReverseWorkerBed, ORDERS } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const { setup, capture, entry, order } = ORDERS;

const letters = async (bed: ReverseWorkerBed): Promise<number> =>
  (await bed.sql(`select from banyan.dead_letter where status = 'parked'`)).length;

test('a flood of bad events stops the reading of the queue, says why, and ends with what a person does', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_flood', setup });
  const worker = await bed.startRunning({
    capture,
    reverse: { apply: [entry], concurrency: 1, maxParkedPerMinute: 5 },
  });
  const bad = Array.from({ length: 60 }, (_, index) => index + 1);
  await bed.queue.send(...bad.map((id) => (id < 4 ? `no JSON ${id}` : order(id, 'bad'))));
  const { reverse } = await worker.until('it reads no more', (status) => status.reverse?.state === 'refused');
  expect(reverse?.problem).toMatchObject({ kind: 'parking-flood' });
  expect(reverse?.problem?.message).toContain('more than 5 events had to be set aside within a minute');
  expect(reverse?.problem?.remedy).toContain('banyan dead-letters list');
  await worker.until('what is in hand is done', (status) => status.reverse?.inHand === 0);
  // Ten in hand at most, and what calls brought that were on their way.
  const parked = await letters(bed);
  expect(parked).toBeLessThan(30);
  await bed.queue.send(order(100));
  // Capture goes on meanwhile, and the count of letters is looked at again.
  await bed.sql(`insert into orders values (200, 'legacy')`);
  await bed.accepted(1);
  await worker.until('they are counted', (status) => status.reverse?.parked === parked);
  expect(await letters(bed)).toBe(parked);
  expect(await bed.sql('select from orders where id = 100')).toEqual([]);
  expect(bed.logged.filter((line) => line.includes('reads the queue no more'))).toHaveLength(1);

  // What is left in the queue is good now.
  await bed.sql('alter table orders drop constraint orders_status_check');
  expect(await bed.ask('redrive', { direction: 'reverse', all: true })).toMatchObject({ parked: 0 });
  await eventually(
    async () => (await bed.sql('select from orders where id = 100')).length === 1,
    () => 'the queue is not read again',
    { timeoutMs: 20_000 },
  );
});
