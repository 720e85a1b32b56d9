import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeReverseWorkerBed, ORDERS } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const { setup, capture, entry, order } = ORDERS;

test('an event of a FIFO queue that can not be applied yet holds up its own group only, in order', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_fifo', setup });
  await bed.bus.invokeQueues('CreateQueue', {
    QueueName: 'back.fifo',
    Attributes: { FifoQueue: 'true', ContentBasedDeduplication: 'true' },
  });
  const queue = `${bed.bus.queuesUrl}/000000000000/back.fifo`;
  const send = (group: string, body: string) =>
    bed.bus.invokeQueues('SendMessage', { QueueUrl: queue, MessageBody: body, MessageGroupId: group });
  await bed.sql(`insert into orders values (1, 'legacy')`);
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await bed.startRunning({ capture, reverse: { apply: [entry], queue } });
    await client.query('begin');
    await client.query('select from orders where id = 1 for update');
    await send('a', order(1));
    await send('a', order(2));
    await send('a', order(3));
    await send('b', order(4));
    await send('b', order(5));
    const rows = () => bed.sql<{ id: number; status: string }>('select id, status from orders order by id');
    await eventually(
      async () => (await rows()).some(({ id }) => id === 5),
      () => 'another group is held up',
      { timeoutMs: 20_000 },
    );
    // The other group went all the way while the first message of this one waits.
    expect(await rows()).toEqual([
      { id: 1, status: 'legacy' },
      { id: 4, status: 'good' },
      { id: 5, status: 'good' },
    ]);
    await client.query('rollback');
    await eventually(
      async () => (await rows()).length === 5,
      () => 'its own group does not go on',
      { timeoutMs: 20_000 },
    );
    const applied = await bed.sql<{ event_id: string }>(
      `select event_id from banyan.inbox where event_id ~ '-[123]-' order by received_at`,
    );
    expect(applied.map(({ event_id }) => event_id)).toEqual(['order-1-1', 'order-2-1', 'order-3-1']);
  } finally {
    await client.end();
  }
});

test('what is behind the horizon is forgotten in batches, and nothing younger', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_purge', setup });
  const config = { capture, reverse: { apply: [entry], horizon: '2h' } };
  const first = await bed.startRunning(config);
  await bed.queue.send(order(1), order(2));
  await bed.queue.empty();
  await first.stop();
  await bed.sql(`
    update banyan.inbox set received_at = now() - interval '119 minutes' where event_id = 'order-2-1';
    insert into banyan.inbox (connector, producer, event_id, target, outcome, received_at)
    select 'reverse_purge', 'shop.orders', 'old-' || n, 'public.orders#1', 'applied', now() - interval '121 minutes'
    from generate_series(1, 2500) n;
    insert into banyan.inbox (connector, producer, event_id, target, outcome, received_at)
    values ('another', 'shop.orders', 'old', 'public.orders#1', 'applied', now() - interval '121 minutes')`);
  await bed.startRunning(config);
  const left = () => bed.sql<{ event_id: string }>('select event_id from banyan.inbox order by event_id');
  await eventually(
    async () => (await left()).length <= 3,
    () => 'old events are never forgotten',
    { timeoutMs: 20_000 },
  );
  expect((await left()).map(({ event_id }) => event_id)).toEqual(['old', 'order-1-1', 'order-2-1']);
});
