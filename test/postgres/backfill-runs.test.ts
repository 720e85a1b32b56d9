import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, type RunningWorker, seen, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const ROWS = 3_000;
const filled = (table: string) => `create table ${table} (id integer primary key, note text);
  insert into ${table} select n, 'old' from generate_series(1, ${ROWS}) n`;
/** Reads, and updates of few rows: a change of a key is silent. */
const emitOf = (name: string) => [
  { on: 'read', detailType: `${name}Read` },
  { on: 'update', when: `row.note == 'shipped'`, detailType: `${name}Shipped` },
];
const capture = (table: string) => ({ table: `public.${table}`, emit: emitOf(table) });

async function runOf(bed: WorkerBed, table: string): Promise<BackfillRun | undefined> {
  return (await (await bed.state()).backfills.latest(`public.${table}`))[0];
}

async function reaches(bed: WorkerBed, table: string, status: BackfillRun['status']): Promise<void> {
  await eventually(
    async () => (await runOf(bed, table))?.status === status,
    () => `the backfill of ${table} never came to be ${status}`,
    { timeoutMs: 20_000 },
  );
}

/** Until the worker has looked: what follows meets what it made of the run then. */
const knows = (worker: RunningWorker, table: string, status: BackfillRun['status']) =>
  worker.until(`${table} is ${status}`, ({ backfills }) =>
    backfills.some((each) => each.table === `public.${table}` && each.status === status),
  );

const ask = (bed: WorkerBed, action: string, table: string, more: object = {}) =>
  bed.ask('backfill', { action, table: `public.${table}`, ...more });

test('a run that was paused before it began keeps nothing of the stream', async () => {
  await using bed = await makeBed(server, { name: 'runs_paused', setup: filled('orders') });
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  const worker = await bed.start({ capture: [capture('orders')] });
  await client.query(`begin; update orders set note = 'x' where id = 5`);
  await ask(bed, 'start', 'orders');
  await eventually(async () => (await runOf(bed, 'orders'))?.reason?.startsWith('waiting for a transaction'));
  await ask(bed, 'pause', 'orders');
  await knows(worker, 'orders', 'paused');
  await client.query('commit');
  await client.end();
  await bed.sql('update orders set id = 9000 where id = 6');
  await bed.confirmed();
  await ask(bed, 'resume', 'orders');
  await reaches(bed, 'orders', 'completed');
  expect(new Set(bed.events.map(({ data }) => data['id'])).has(9000)).toBe(true);
});

test('a run whose turn others have still sends what moves', async () => {
  const tables = ['a', 'b', 'c'];
  await using bed = await makeBed(server, { name: 'runs_three', setup: tables.map(filled).join(';') });
  const held = new Set(['aRead 600', 'bRead 1', 'cRead 1']);
  const publisher = new ScriptedPublisher((event) =>
    held.has(`${event.detailType} ${String(seen(event).data['id'])}`) ? { do: 'hold' } : { do: 'accept' },
  );
  const worker = await bed.start({ capture: tables.map(capture) }, { publisher });
  await ask(bed, 'start', 'a');
  await eventually(async () => ((await runOf(bed, 'a'))?.rowsSent ?? 0) > 0);
  await ask(bed, 'pause', 'a');
  for (const table of ['b', 'c']) await ask(bed, 'start', table);
  for (const table of ['b', 'c']) await reaches(bed, table, 'running');
  await ask(bed, 'resume', 'a');
  await knows(worker, 'a', 'running');
  // Behind where each of them is: `c` has no turn any more, and owes its own all the same.
  await bed.sql(tables.map((table) => `update ${table} set id = -1 where id = 2900`).join(';'));
  await publisher.until(() =>
    tables.every((table) =>
      publisher.requests.flat().some((event) => event.detailType === `${table}Read` && seen(event).data['id'] === -1),
    ),
  );
  await bed.confirmed();
  held.clear();
  publisher.release();
  for (const table of tables) await reaches(bed, table, 'completed');
  for (const table of tables) {
    const ids = publisher.accepted
      .filter(({ detailType }) => detailType === `${table}Read`)
      .map((event) => seen(event).data['id']);
    expect(new Set(ids).size).toBeGreaterThanOrEqual(ROWS);
  }
});

test('a run that failed is not gone on with where it was, but begun anew', async () => {
  await using bed = await makeBed(server, { name: 'runs_failed', setup: filled('orders') });
  await bed.start({ capture: [capture('orders')] });
  await ask(bed, 'start', 'orders', { where: '100000 / (id - 1500) is not null' });
  await reaches(bed, 'orders', 'failed');
  await bed.sql('update orders set id = -1 where id = 2900; delete from orders where id = 1500');
  await bed.confirmed();
  await expect(ask(bed, 'resume', 'orders')).rejects.toThrow('failed');
  await ask(bed, 'restart', 'orders');
  await reaches(bed, 'orders', 'completed');
  const { id } = (await runOf(bed, 'orders')) ?? { id: 0 };
  const reads = bed.events.filter(
    ({ metadata }) => metadata.operation === 'read' && Number((metadata as { run?: number }).run) === id,
  );
  expect(new Set(reads.map(({ data }) => data['id']))).toEqual(
    new Set([-1, ...Array.from({ length: ROWS }, (_, n) => n + 1).filter((n) => n !== 1500 && n !== 2900)]),
  );
});

test('a table that is held in the middle of its run pins nothing, and is read from its beginning once it is released', async () => {
  await using bed = await makeBed(server, { name: 'runs_held', setup: filled('orders') });
  let holds = true;
  const publisher = new ScriptedPublisher((event) =>
    holds && event.detailType === 'ordersRead' && seen(event).data['id'] === 1 ? { do: 'hold' } : { do: 'accept' },
  );
  const mapped = { ...capture('orders'), detail: { id: 'id', note: 'note' }, backfill: true };
  const worker = await bed.start({ capture: [mapped] }, { publisher });
  await publisher.until(() => publisher.requests.flat().some(({ detailType }) => detailType === 'ordersRead'));
  await bed.sql('alter table orders rename column note to remark; update orders set id = -1 where id = 2900');
  await worker.until('held', ({ tables }) => tables.some(({ held }) => held !== undefined));
  await bed.confirmed();
  holds = false;
  publisher.release();
  await bed.sql('alter table orders rename column remark to note; update orders set id = -2 where id = 2901');
  // What was set aside has no `note`, and the run reads it again anyway.
  await bed.ask('discard', { table: 'public.orders' });
  await bed.ask('redrive', { table: 'public.orders' });
  await reaches(bed, 'orders', 'completed');
  const ids = new Set(publisher.accepted.map((event) => seen(event).data['id']));
  expect([-1, -2].every((id) => ids.has(id))).toBe(true);
  expect(Array.from({ length: 2899 }, (_, n) => n + 1).filter((id) => !ids.has(id))).toEqual([]);
}, 90_000);

test('rows that share their ordering key have ids of their own', async () => {
  await using bed = await makeBed(server, {
    name: 'runs_key',
    setup: `create table orders (tenant int, id int, note text, primary key (tenant, id));
      insert into orders select n % 3, n, 'old' from generate_series(1, 30) n`,
  });
  const publisher = new ScriptedPublisher(({ detailType }) =>
    detailType === 'OrdersImported' ? { do: 'reject', kind: 'event-rejected' } : { do: 'accept' },
  );
  await bed.start({ capture: [{ table: 'public.orders', backfill: true, key: ['tenant'] }] }, { publisher });
  await reaches(bed, 'orders', 'completed');
  expect(
    await bed.sql('select count(*)::int as letters, count(distinct event_id)::int as ids from banyan.dead_letter'),
  ).toEqual([{ letters: 30, ids: 30 }]);
});

test('a transaction that is prepared while it is waited for is waited for on', async () => {
  await using other = await EmbeddedPostgres.start({ settings: { max_prepared_transactions: '2' } });
  await using bed = await makeBed(other, { name: 'prepared', setup: filled('orders') });
  await bed.start({ capture: [capture('orders')] });
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  await client.query(`begin; update orders set note = 'prepared' where id = 5`);
  await ask(bed, 'start', 'orders');
  await eventually(async () =>
    (await runOf(bed, 'orders'))?.reason?.startsWith('waiting for a transaction that wrote'),
  );
  await client.query(`prepare transaction 'two phases'`);
  await client.end();
  await eventually(async () => (await runOf(bed, 'orders'))?.reason?.includes('pg_prepared_xacts'));
  expect((await runOf(bed, 'orders'))?.status).toBe('waiting');
  await bed.sql(`commit prepared 'two phases'`);
  await reaches(bed, 'orders', 'completed');
  expect(bed.events.filter(({ data }) => data['id'] === 5).at(-1)?.data['note']).toBe('prepared');
});

test('what state can not answer for a while ends neither the session nor a run', { timeout: 60_000 }, async () => {
  await using bed = await makeBed(server, { name: 'runs_state', setup: filled('orders') });
  await bed.start({ capture: [capture('orders')] });
  const session = async () =>
    (
      await bed.sql<{ pid: number }>(
        `select active_pid as pid from pg_replication_slots where slot_name = '${bed.slot}'`,
      )
    )[0]?.pid;
  const before = await session();
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await client.query('begin; lock table banyan.backfill_run in access exclusive mode');
    // One that waited has given up when another one waits.
    const waits = new Set<string>();
    await eventually(
      async () => {
        const found = await bed.sql<{ since: string }>(
          'select waitstart::text as since from pg_locks where not granted',
        );
        for (const { since } of found) waits.add(since);
        return waits.size > 1;
      },
      () => 'nobody asked a second time',
      { timeoutMs: 30_000 },
    );
    await bed.sql(`update orders set note = 'shipped' where id = 7`);
    await bed.accepted(1);
  } finally {
    await client.query('rollback');
    await client.end();
  }
  await ask(bed, 'start', 'orders');
  await reaches(bed, 'orders', 'completed');
  expect(await session()).toBe(before);
});
