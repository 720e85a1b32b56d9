import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { CLASSED_CAPTURE, CLASSED_SETUP, type Committed, startClassedLoad } from '../support/classed-load.ts';
import { eventually } from '../support/eventually.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';
import { isStreaming, spawnWorker } from '../support/worker-process.ts';

const KILLS = 5;

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

async function counted(bed: WorkerBed): Promise<Committed> {
  const sums = await (await bed.state()).traffic.sums({ seconds: 86_400 });
  const writes = [...sums].map(([table, { legacy, reverse, trigger, foreign }]) => {
    const counts = { legacy, reverse, trigger, foreign };
    return [table, counts] as const;
  });
  return Object.fromEntries(writes);
}

test('over kills and lost connections the counts of every class are those of what was committed, to the row', async () => {
  await using bed = await makeBed(server, { name: 'exact', setup: CLASSED_SETUP });
  await using proxy = await startTcpProxy(Number(new URL(bed.url).port));
  const config = {
    name: 'exact',
    legacy: { url: proxy.through(bed.url), heartbeat: '300ms' },
    bus: { type: 'local', name: 'shop-legacy', endpoint: bed.bus.url },
    capture: CLASSED_CAPTURE,
  };
  {
    // The secret of its own writes is made by the first worker.
    await using first = await spawnWorker(config);
    await first.until(isStreaming);
  }
  const load = await startClassedLoad(bed, 'exact');
  const moreTransactions = async (count: number) => {
    const before = load.transactions;
    await eventually(() => load.transactions >= before + count);
  };
  for (let kill = 0; kill < KILLS; kill += 1) {
    await using worker = await spawnWorker(config);
    await worker.until(isStreaming);
    await moreTransactions(50 + 150 * kill);
    if (kill % 2 === 1) {
      proxy.cut();
      await worker.until((status) => status.stream.reconnects > 0 && isStreaming(status));
      await moreTransactions(100);
    }
    await worker.kill();
  }
  const committed = await load.stop();
  await using last = await spawnWorker(config);
  await last.until(isStreaming);
  await bed.confirmed();

  expect(load.transactions).toBeGreaterThan(1_000);
  expect(await counted(bed)).toEqual(committed);
  for (const one of ['legacy', 'reverse', 'trigger', 'foreign'] as const) {
    expect(Object.values(committed).reduce((sum, counts) => sum + counts[one], 0)).toBeGreaterThan(50);
  }
}, 180_000);

test('a state database that is away delays the counts, and what is not counted is not confirmed', async () => {
  const elsewhere = await server.createDatabase('away_state');
  await using proxy = await startTcpProxy(Number(new URL(elsewhere).port));
  await using bed = await makeBed(server, { name: 'away', setup: CLASSED_SETUP });
  await using worker = await spawnWorker({
    name: 'away',
    legacy: { url: bed.url, heartbeat: '300ms' },
    state: { url: proxy.through(elsewhere) },
    bus: { type: 'local', name: 'shop-legacy', endpoint: bed.bus.url },
    capture: CLASSED_CAPTURE,
  });
  await worker.until(isStreaming);
  await bed.confirmed();
  proxy.freeze();
  await bed.sql(`insert into scratch select generate_series(1, 30)`);
  await bed.accepted(30);
  const [end] = await bed.sql<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
  const heard = (await worker.status())?.traffic.countedUntil;
  await bed.sql(`insert into scratch select generate_series(31, 40)`);
  await bed.accepted(40);
  const confirmed = () =>
    bed.sql(
      `select 1 from pg_replication_slots where slot_name = '${bed.slot}' and confirmed_flush_lsn >= '${end?.lsn}'`,
    );
  expect(await confirmed()).toEqual([]);
  proxy.thaw();
  await bed.confirmed();
  await worker.until(({ traffic }) => traffic.countedUntil !== undefined && traffic.countedUntil > (heard ?? ''));
  await worker.stop();
  const client = new pg.Client({ connectionString: elsewhere });
  await client.connect();
  const { rows } = await client.query(
    'select table_name, sum(legacy)::int as legacy from banyan.traffic group by table_name',
  );
  await client.end();
  expect(rows).toEqual([{ table_name: 'public.scratch', legacy: 40 }]);
}, 60_000);
