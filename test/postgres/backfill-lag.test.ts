import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, seen, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id int primary key, note text); create table visits (id int primary key);
  insert into orders select n, 'old' from generate_series(1, 20000) n`;
const config = { capture: [{ table: 'public.orders' }, { table: 'public.visits' }] };

async function run(bed: WorkerBed): Promise<BackfillRun | undefined> {
  return (await (await bed.state()).backfills.latest('public.orders'))[0];
}

test('a backfill whose marks do not arrive says that live changes lag', { timeout: 60_000 }, async () => {
  await using bed = await makeBed(server, { name: 'lag_real', setup });
  let holds = true;
  const publisher = new ScriptedPublisher((event) =>
    holds && seen(event).metadata.table === 'public.visits' ? { do: 'hold' } : { do: 'accept' },
  );
  await bed.start(config, { publisher });
  // More than the worker takes in before the bus has some of it.
  await bed.sql('insert into visits select generate_series(1, 5000)');
  await publisher.until(() => publisher.inFlight.size > 0);
  await bed.ask('backfill', { action: 'start', table: 'public.orders' });
  await eventually(
    async () => (await run(bed))?.reason?.startsWith('waiting: live changes lag by') === true,
    () => 'nobody said why the backfill does not go on',
    { timeoutMs: 20_000 },
  );
  expect((await run(bed))?.rowsSent).toBe(0);
  holds = false;
  publisher.release();
  await eventually(
    async () => (await run(bed))?.status === 'completed',
    () => 'the backfill never ended',
    { timeoutMs: 30_000 },
  );
  expect((await run(bed))?.reason).toBeUndefined();
});
