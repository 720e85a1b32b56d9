import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeReverseWorkerBed, ORDERS, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const { setup, capture, entry, order } = ORDERS;

/** Cancels what waits for a lock, once it does. */
async function cancelBlocked(bed: ReverseWorkerBed): Promise<void> {
  await eventually(
    async () =>
      (
        await bed.sql(`select pg_cancel_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name like 'banyan %' and wait_event_type = 'Lock'`)
      ).length > 0,
    () => 'nothing waits for the lock',
    { timeoutMs: 20_000 },
  );
}

test('what held up an event is no problem any more when the event is set aside with its table', async () => {
  const name = 'reverse_trouble_aside';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  const worker = await bed.startRunning({
    capture,
    legacy: { lockTimeout: '60s' },
    reverse: { apply: [entry] },
  });
  await bed.sql(`insert into orders values (1, 'legacy')`);
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await client.query('begin');
    await client.query('select from orders where id = 1 for update');
    await bed.queue.send(order(1));
    for (const retried of [1, 2, 3]) {
      await cancelBlocked(bed);
      await worker.until('it is tried again', ({ reverse }) => reverse?.retried === retried);
    }
    await bed.sql(`revoke insert on orders from "${name} worker"`);
    await bed.queue.send(order(2));
    await worker.until('the table is held', ({ reverse }) => reverse?.heldTables?.length === 1);
    await cancelBlocked(bed);
    await worker.until('it is set aside', ({ reverse }) => reverse?.inHand === 0);
    expect(worker.status().reverse?.problem).toBeUndefined();
  } finally {
    await client.end();
  }
});
