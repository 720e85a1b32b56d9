import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  // A server that writes nothing of its own while it is watched.
  server = await EmbeddedPostgres.start({ settings: { autovacuum: 'off', checkpoint_timeout: '1h' } });
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, note text); create table elsewhere (note text)`;
const capture = [{ table: 'public.orders' }];

async function position(bed: WorkerBed, expression: string): Promise<boolean> {
  const [row] = await bed.sql<{ passed: boolean }>(
    `select (${expression}) as passed from pg_replication_slots where slot_name = '${bed.slot}'`,
  );
  return row?.passed === true;
}

test('traffic in a table that is not mapped pins no WAL: both positions of the slot follow it', async () => {
  await using bed = await makeBed(server, { name: 'unmapped', setup });
  await bed.start({ capture, legacy: { heartbeat: '1s' } });
  const [before] = await bed.sql<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
  const writing = new AbortController();
  const writer = (async () => {
    while (!writing.signal.aborted) {
      await bed.sql(`insert into elsewhere select repeat('x', 500) from generate_series(1, 200)`);
      await pause(50);
    }
  })();
  try {
    await eventually(
      () => position(bed, `pg_wal_lsn_diff(confirmed_flush_lsn, '${before?.lsn}') > 1000000`),
      undefined,
      {
        timeoutMs: 15_000,
      },
    );
    await eventually(() => position(bed, `pg_wal_lsn_diff(restart_lsn, '${before?.lsn}') > 0`), undefined, {
      timeoutMs: 60_000,
    });
  } finally {
    writing.abort();
    await writer;
  }
  await bed.confirmed();
  expect(bed.events).toEqual([]);
}, 90_000);

test('in an idle database our own book-keeping does not move the WAL', async () => {
  await using bed = await makeBed(server, { name: 'idle', setup });
  await bed.start({ capture, legacy: { heartbeat: '500ms' } });
  await bed.sql(`insert into orders values (1)`);
  await bed.confirmed();
  // The last event's position and the first heartbeat are still to be written.
  await pause(2_000);
  const walEnd = async () =>
    (await bed.sql<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn'))[0]?.lsn;
  const before = await walEnd();
  await pause(12_000);
  const [moved] = await bed.sql<{ bytes: string }>(
    `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '${before}') as bytes`,
  );
  // The server itself notes running transactions now and then.
  expect(Number(moved?.bytes)).toBeLessThan(1_000);
});

test('transactions that commit back to back are never skipped, wherever the worker stops between them', async () => {
  await using bed = await makeBed(server, { name: 'back_to_back', setup });
  for (let round = 0; round < 4; round += 1) {
    const running = await bed.start({ capture });
    // Sessions that commit at once: one's commit record starts where the last one's ends.
    await Promise.all(
      [0, 1, 2].map(async (session) => {
        for (let n = 0; n < 15; n += 1) await bed.sql(`insert into orders values (${round * 100 + session * 20 + n})`);
      }),
    );
    // Some rounds stop in the middle of it, others when all is confirmed and the next commit follows at once.
    if (round % 2 === 0) await bed.confirmed();
    else await bed.accepted(round * 45 + 10);
    await running.stop();
    await bed.sql(`insert into orders values (${round * 100 + 99})`);
  }
  await bed.start({ capture });
  await bed.confirmed();
  const ids = new Set(bed.events.map(({ data }) => data['id']));
  const stored = await bed.sql<{ id: number }>('select id from orders');
  expect(stored.filter(({ id }) => !ids.has(id))).toEqual([]);
  expect(stored).toHaveLength(4 * 46);
});
