import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';
import { eventually } from '../support/eventually.ts';
import { ReferenceConsumer } from '../support/reference-consumer.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, seen, type SeenEvent, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const TABLE = 'public.orders';
const setup = `create table orders (year int, id int, note text, primary key (year, id)) partition by range (year);
  create table orders_2024 partition of orders for values from (2024) to (2025);
  create table orders_2025 partition of orders for values from (2025) to (2026);
  insert into orders select 2024 + n % 2, n, 'row ' || n from generate_series(1, 1200) n`;
const config = { capture: [{ table: TABLE, backfill: true }] };

/** A table of its own, filled before it becomes a partition: nobody was told of its rows. */
const attach = (year: number, rows = 50) => `create table orders_${year} (like orders including all);
  insert into orders_${year} select ${year}, n, 'archived' from generate_series(1, ${rows}) n;
  ${attachAgain(year)}`;
const attachAgain = (year: number) =>
  `alter table orders attach partition orders_${year} for values from (${year}) to (${year + 1})`;

async function runs(bed: WorkerBed): Promise<readonly BackfillRun[]> {
  const { backfills } = await bed.state();
  const ids = await bed.sql<{ id: number }>('select id::int from banyan.backfill_run order by id');
  const found = await Promise.all(ids.map(({ id }) => backfills.get(id)));
  return found.filter((run) => run !== undefined);
}

/** Until so many runs are completed, and no other is open. */
async function completed(bed: WorkerBed, count: number): Promise<readonly BackfillRun[]> {
  return eventually(
    async () => {
      const found = await runs(bed);
      const isOver = found.length === count && found.every(({ status }) => status === 'completed');
      return isOver ? found : undefined;
    },
    () => `the runs never were ${count} completed ones`,
    { timeoutMs: 20_000 },
  );
}

/** Two looks for partitions more: a look that has recorded an empty one was there, and the first of two is over. */
async function lookedAt(bed: WorkerBed): Promise<void> {
  for (const year of [2098, 2099]) {
    await bed.sql(
      `create table if not exists orders_${year} partition of orders for values from (${year}) to (${year + 1})`,
    );
    await eventually(
      async () =>
        (await bed.sql(`select from banyan.backfill_part where relation = 'public.orders_${year}' and done`)).length >
        0,
      () => `nobody saw the partition of ${year}`,
    );
  }
}

function readsOf(events: readonly SeenEvent[], run: number): readonly SeenEvent[] {
  return events.filter(({ metadata }) => (metadata as { run?: number }).run === run && metadata.operation === 'read');
}

/** What a consumer of all events has, against what is in the table. */
async function expectCopied(bed: WorkerBed, events: readonly SeenEvent[] = bed.events): Promise<void> {
  const consumer = new ReferenceConsumer();
  for (const event of events) consumer.apply(event);
  const stored = await bed.sql<{ row: object }>('select to_json(o) as row from orders o order by year, id');
  const copied = consumer
    .rows(TABLE)
    .toSorted((a, b) => Number(a['year']) - Number(b['year']) || Number(a['id']) - Number(b['id']));
  expect(copied).toEqual(stored.map(({ row }) => row));
}

test('a filled partition that is attached later is read by a run of its own, and sweeps nothing else', async () => {
  await using bed = await makeBed(server, { name: 'attached_later', setup });
  const worker = await bed.start(config);
  await completed(bed, 1);
  await bed.sql(attach(2026));
  const [, own] = await completed(bed, 2);
  expect(own).toMatchObject({ partition: 'public.orders_2026', rowsSent: 50, requestedBy: 'configuration' });
  expect(new Set(readsOf(bed.events, own?.id ?? 0).map(({ data }) => data['year']))).toEqual(new Set([2026]));
  const said = bed.events.filter(({ metadata, data }) => metadata.operation === 'backfill' && data['run'] === own?.id);
  expect(said.map(({ detailType, data }) => [detailType, data])).toEqual([
    ['BackfillStarted', { run: own?.id, table: TABLE, partition: 'public.orders_2026' }],
    ['BackfillCompleted', { run: own?.id, table: TABLE, partition: 'public.orders_2026', rows: 50 }],
  ]);
  await worker.until('the status names the partition', ({ backfills }) =>
    backfills.some(({ partition, status }) => partition === 'public.orders_2026' && status === 'completed'),
  );
  await expectCopied(bed);
  // A whole run begins anew with the whole table, whatever the last one was.
  await bed.ask('backfill', { action: 'restart', table: TABLE });
  const [, , whole] = await completed(bed, 3);
  expect(whole).toMatchObject({ partition: undefined, where: undefined, rowsSent: 1_250 });
  await lookedAt(bed);
  expect(await runs(bed)).toHaveLength(3);
});

test('one that is attached while the table is being read is read behind that', async () => {
  await using bed = await makeBed(server, { name: 'attached_meanwhile', setup });
  let holds = true;
  const publisher = new ScriptedPublisher((event) =>
    holds && event.detailType === 'OrdersImported' ? { do: 'hold' } : { do: 'accept' },
  );
  await bed.start(config, { publisher });
  await publisher.until(() => publisher.requests.flat().some(({ detailType }) => detailType === 'OrdersImported'));
  await bed.sql(attach(2026));
  await bed.sql(attach(2027));
  holds = false;
  publisher.release();
  const found = await completed(bed, 3);
  expect(found.map(({ partition }) => partition)).toEqual([undefined, 'public.orders_2026', 'public.orders_2027']);
  await expectCopied(bed, publisher.accepted.map(seen));
});

test('one that is attached while no worker runs is read by the next one, leaf by leaf', async () => {
  await using bed = await makeBed(server, { name: 'attached_between', setup });
  const before = await bed.start(config);
  await completed(bed, 1);
  await before.stop();
  await bed.sql(`create table orders_2026 (like orders including all) partition by range (id);
    create table orders_2026_low partition of orders_2026 for values from (minvalue) to (1000);
    create table orders_2026_high partition of orders_2026 for values from (1000) to (maxvalue);
    insert into orders_2026 select 2026, n * 100, 'archived' from generate_series(1, 20) n; ${attachAgain(2026)}`);
  await bed.start(config, { intervals: { inspectMs: 60_000 } });
  const found = await completed(bed, 3);
  expect(found.map(({ partition, rowsSent }) => [partition, rowsSent])).toEqual([
    [undefined, 1_200],
    ['public.orders_2026_high', 11],
    ['public.orders_2026_low', 9],
  ]);
  await expectCopied(bed);
});

test('one that is detached, changed and attached again is read again, and an empty one never', async () => {
  await using bed = await makeBed(server, { name: 'attached_again', setup });
  await bed.start(config);
  await completed(bed, 1);
  await bed.sql('create table orders_2026 partition of orders for values from (2026) to (2027)');
  await bed.sql('alter table orders detach partition orders_2025');
  await bed.sql(`update orders_2025 set note = 'mended aside'; ${attachAgain(2025)}`);
  const [, own] = await completed(bed, 2);
  expect(own).toMatchObject({ partition: 'public.orders_2025', rowsSent: 600 });
  await bed.sql(`insert into orders values (2026, 1, 'live')`);
  await lookedAt(bed);
  expect(await runs(bed)).toHaveLength(2);
  const parts = await (await bed.state()).backfills.parts((await runs(bed))[0]?.id ?? 0);
  expect(parts.map(({ relation, done }) => [relation, done])).toContainEqual(['public.orders_2026', true]);
  await expectCopied(bed);
});

test('one whose run failed is asked for again by the next session, and not before', async () => {
  await using bed = await makeBed(server, { name: 'attached_failed', setup });
  let holds = true;
  const publisher = new ScriptedPublisher((event) =>
    holds && event.detailType === 'OrdersImported' && seen(event).data['year'] === 2026
      ? { do: 'hold' }
      : { do: 'accept' },
  );
  const before = await bed.start(config, { publisher });
  await completed(bed, 1);
  await bed.sql(attach(2026));
  await publisher.until(() => publisher.requests.flat().some((event) => seen(event).data['year'] === 2026));
  const { backfills } = await bed.state();
  const [own] = await backfills.latest(TABLE);
  expect(await backfills.move(own?.id ?? 0, 'failed', ['running'], 'for a test')).toBe(true);
  await lookedAt(bed);
  expect((await runs(bed)).map(({ status }) => status)).toEqual(['completed', 'failed']);
  holds = false;
  publisher.release();
  await before.stop();
  await bed.start(config, { publisher });
  await eventually(async () => (await runs(bed)).map(({ status }) => status).join() === 'completed,failed,completed');
  await expectCopied(bed, publisher.accepted.map(seen));
});
