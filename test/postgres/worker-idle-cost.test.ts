import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { UPKEEP } from '../../src/capture/upkeep.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { tapQueries } from '../support/query-tap.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { makeBed } from '../support/worker-harness.ts';

const TABLES = Array.from({ length: 50 }, (_, number) => `table_${number}`);
/** More than a minute, so that what is done once a minute is in it. */
const WATCHED_MS = 75_000;
/** Running transactions, noted now and then; and row versions that the beginning left dead, which goes once with whoever reads their page first. */
const OF_THE_SERVER = `'RUNNING_XACTS', 'PRUNE_ON_ACCESS'`;

let server: EmbeddedPostgres;

beforeAll(async () => {
  // A server that writes nothing of its own while it is watched.
  server = await EmbeddedPostgres.start({ settings: { autovacuum: 'off', checkpoint_timeout: '1h' } });
});

afterAll(async () => {
  await server?.stop();
});

test('with fifty tables and no traffic a worker asks less than once a second, writes no WAL, and still answers at once', async () => {
  await using bed = await makeBed(server, {
    name: 'idle_cost',
    setup: TABLES.map((table) => `create table ${table} (id integer primary key);`).join('\n'),
    queues: true,
  });
  const queries = tapQueries();
  await using proxy = await startTcpProxy(Number(new URL(bed.url).port), queries.tap);
  const apply = TABLES.map((table) => ({
    match: { source: ['shop'], 'detail-type': [table] },
    table: `public.${table}`,
    operation: 'insert',
    key: { id: 'detail.id' },
  }));
  const worker = await bed.start(
    {
      capture: TABLES.map((table) => ({ table: `public.${table}`, observe: 'writers' })),
      legacy: { url: proxy.through(bed.url) },
      reverse: { apply },
      stages: 'as they are',
    },
    { intervals: UPKEEP },
  );
  await worker.until('reverse sync runs', ({ reverse }) => reverse?.state === 'running');
  const inShadow = `select 1 from banyan.table_stage where stage = 'shadow'`;
  await eventually(() => bed.sql(inShadow).then((rows) => rows.length === TABLES.length));
  // What the beginning left to autovacuum: it would come in the minutes that are looked at.
  await bed.sql('vacuum analyze');
  await bed.sql('insert into table_0 values (1)');
  await bed.confirmed();
  // What is to be remembered of that row comes with the end of its minute; position and heartbeat are written before.
  await eventually(() => bed.sql(`select 1 from banyan.health`).then((rows) => rows.length > 0), undefined, {
    timeoutMs: 90_000,
    everyMs: 500,
  });
  // Who reads is looked at 15 s after the beginning, which notes what it sees first of each table; then every five minutes.
  await eventually(() => bed.sql(`select 1 from banyan.read_watch`).then((rows) => rows.length === TABLES.length));
  await bed.sql('create extension pg_walinspect');
  queries.take();
  const walEnd = async () =>
    (await bed.sql<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn'))[0]?.lsn;
  const before = await walEnd();
  await pause(WATCHED_MS);
  const asked = queries.take();
  const written = await bed.sql(
    `select resource_manager, record_type, xid::text, record_length from pg_get_wal_records_info('${before}', pg_current_wal_insert_lsn())
     where xid <> '0' or record_type not in (${OF_THE_SERVER})`,
  );
  const counts = Map.groupBy(asked, (text) => text.slice(0, 110));
  const listed = [...counts].map(([text, each]) => `${each.length} ${text}`).toSorted();
  expect(asked.length < WATCHED_MS / 1_000 ? [] : listed).toEqual([]);
  // It is seen at all.
  expect(asked.length).toBeGreaterThan(5);
  // Not one record by a transaction, and of the others none that the server does not write by itself.
  expect(written).toEqual([]);

  const began = performance.now();
  await bed.ask('discard', { ids: [1] });
  expect(performance.now() - began).toBeLessThan(1_000);
}, 240_000);
