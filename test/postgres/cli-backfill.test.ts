import { Writable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countRows } from '../../src/cli/backfill-condition.ts';
import type { Estimate } from '../../src/cli/backfill-estimate.ts';
import { runCli } from '../../src/cli/program.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { leavesOf } from '../../src/postgres/backfill-facts.ts';
import { loadTables } from '../../src/postgres/catalog.ts';
import { withClient } from '../../src/postgres/connection.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';
import type { Finished } from '../support/banyan-process.ts';
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

const ROWS = 2_000;
const setup = `create table orders (id integer primary key, status text);
  insert into orders select n, case when n % 100 = 0 then 'open' else 'shipped' end from generate_series(1, ${ROWS}) n;
  create table "Order.Items" (id integer primary key, sku text);
  create table log (what text); alter table log replica identity full;
  analyze`;
const capture: readonly object[] = [
  { table: 'public.orders' },
  { table: 'public."Order.Items"' },
  { table: 'public.log' },
];

class Recorder extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

interface Case extends AsyncDisposable {
  readonly bed: WorkerBed;
  run(...args: readonly string[]): Promise<Finished>;
  latest(): Promise<BackfillRun | undefined>;
}

async function open(name: string, options: { capture?: readonly object[]; setup?: string } = {}): Promise<Case> {
  const bed = await makeBed(server, { name, setup: options.setup ?? setup });
  const config = {
    name,
    legacy: { url: bed.url },
    bus: { type: 'local', name: 'shop-legacy', endpoint: bed.bus.url },
    http: { port: 0 },
    capture: options.capture ?? capture,
  };
  const env = { BANYAN_CONFIG_YAML: JSON.stringify(config) };
  return {
    bed,
    run: async (...args) => {
      const [stdout, stderr] = [new Recorder(), new Recorder()];
      const code = await runCli(['backfill', ...args], { env, stdout, stderr });
      return { code, stdout: stdout.text, stderr: stderr.text };
    },
    latest: async () => (await (await bed.state()).backfills.latest('public.orders'))[0],
    [Symbol.asyncDispose]: () => bed[Symbol.asyncDispose](),
  };
}

async function reaches(place: Case, status: BackfillRun['status']): Promise<BackfillRun> {
  return eventually(
    async () => {
      const run = await place.latest();
      return run?.status === status && run;
    },
    () => `the run never was ${status}; ${place.bed.events.length} events came`,
    { timeoutMs: 20_000 },
  );
}

function reads(bed: WorkerBed): unknown[] {
  return bed.events.filter(({ metadata }) => metadata.operation === 'read').map(({ data }) => data['id']);
}

test('a backfill is asked for, and the list says how far it came', async () => {
  await using place = await open('asks');
  await place.bed.start({ capture });
  expect((await place.run()).stdout).toBe('no table had a backfill\n');

  const asked = await place.run('public.orders');
  expect(asked).toMatchObject({ code: 0, stderr: '' });
  expect(asked.stdout).toContain('✓ run 1 of public.orders is waiting: it begins within a few seconds');
  expect(asked.stdout).toContain('banyan backfill public.orders --pause');
  await reaches(place, 'completed');
  expect(reads(place.bed)).toHaveLength(ROWS);

  const list = await place.run();
  expect(list.stdout).toMatch(/^TABLE +RUN +STATUS +ROWS SENT +ROWS\/S +ETA$/m);
  expect(list.stdout).toMatch(/^public\.orders +1 +completed +2,000 of ~2,000 +[\d,]+ +-$/m);
  const { runs } = JSON.parse((await place.run('--json')).stdout) as { runs: object[] };
  expect(runs).toMatchObject([{ id: 1, table: 'public.orders', rowsSent: ROWS, rowsPerSecond: expect.any(Number) }]);
});

test('--where sends those rows only, and --restart keeps it', async () => {
  await using place = await open('somerows');
  await place.bed.start({ capture });
  const asked = await place.run('public.orders', '--where', `status = 'open' -- not yet sent`, '--json');
  expect(JSON.parse(asked.stdout)).toMatchObject({ id: 1, where: `status = 'open' -- not yet sent` });
  await reaches(place, 'completed');
  expect(reads(place.bed)).toHaveLength(ROWS / 100);

  const again = await place.run('public.orders', '--restart');
  expect(again.stdout).toContain(`✓ run 2 of public.orders is waiting, of the rows where status = 'open'`);
  await eventually(async () => (await place.latest())?.id === 2);
  await reaches(place, 'completed');
  expect(reads(place.bed)).toHaveLength((2 * ROWS) / 100);
});

test('a run is paused, does not begin twice, goes on where it was, and is given up for a new one', async () => {
  await using place = await open('pauses');
  const held = new Set<string>();
  const publisher = new ScriptedPublisher((event) => {
    if (event.detailType !== 'OrdersImported' || Number(seen(event).data['id']) <= 1_000 || held.has('let go'))
      return { do: 'accept' };
    return { do: 'hold' };
  });
  await place.bed.start({ capture }, { publisher });
  await place.run('public.orders');
  await publisher.until(() => publisher.requests.flat().some((event) => seen(event).data['id'] === 1_001));

  const running = await place.run();
  expect(running.stdout).toMatch(/^public\.orders +1 +running +[\d,]+ of ~2,000 +[\d,]+ +\d+ (s|min)/m);
  const twice = await place.run('public.orders');
  expect(twice.code).toBe(2);
  expect(twice.stderr).toContain('public.orders has a backfill already: run 1 is running');
  expect(twice.stderr).toContain('--restart');

  const paused = await place.run('public.orders', '--pause');
  expect(paused.code).toBe(0);
  expect(paused.stdout).toMatch(/✓ run 1 of public\.orders is paused after [\d,]+ of ~2,000 rows/);
  expect(paused.stdout).toContain('banyan backfill public.orders --resume');
  expect((await place.latest())?.status).toBe('paused');
  expect((await place.run('public.orders', '--pause')).stderr).toContain('can not be paused');

  held.add('let go');
  publisher.release();
  expect((await place.run('public.orders', '--resume')).stdout).toContain('✓ run 1 of public.orders is running again');
  await reaches(place, 'completed');
  const ids = new Set(
    publisher.accepted.filter((event) => event.detailType === 'OrdersImported').map((event) => seen(event).data['id']),
  );
  expect(ids.size).toBe(ROWS);

  held.clear();
  await place.run('public.orders');
  const second = await reaches(place, 'running');
  const restarted = await place.run('public.orders', '--restart');
  const third = await place.latest();
  expect(third?.id).toBeGreaterThan(second.id);
  expect(restarted.stdout).toContain(`✓ run ${third?.id} of public.orders is waiting`);
  const { backfills } = await place.bed.state();
  expect(await backfills.get(second.id)).toMatchObject({ status: 'replaced', reason: 'restarted' });
});

test('a run whose table may not be read waits, says so, and goes on when it may', async () => {
  await using place = await open('grants', {
    setup: `${setup}; create role clerk login replication; alter database grants owner to clerk;
      alter schema public owner to clerk; alter table orders owner to clerk; revoke select on orders from clerk`,
  });
  await place.bed.start({
    legacy: { url: server.url('grants', 'clerk') },
    capture: [{ table: 'public.orders' }],
  });
  await place.run('public.orders');
  await eventually(async () => (await place.latest())?.reason?.includes('permission denied'));
  expect((await place.run()).stdout).toMatch(
    /^public\.orders +1 +running .* waiting: .*permission denied for table orders/m,
  );
  await place.bed.sql('grant select on orders to clerk');
  await reaches(place, 'completed');
  expect(reads(place.bed)).toHaveLength(ROWS);
});

test('a mistake is told at once, without a worker', async () => {
  await using place = await open('mistakes', {
    capture: [
      ...capture,
      { table: 'public.bare' },
      { table: 'public.silent', emit: [{ on: 'insert', detailType: 'Made' }] },
    ],
    setup: `${setup}; create table bare (what text); create table silent (id integer primary key)`,
  });
  const stderrOf = async (...args: readonly string[]) => {
    const { code, stderr } = await place.run(...args);
    return `${code} ${stderr}`;
  };
  expect(await stderrOf('public.ordrs')).toMatch(
    /^2 .*no entry of `capture` takes a table public\.ordrs\n.*did you mean public\.orders\?/,
  );
  expect(await stderrOf('public.orders', '--where', 'status =')).toMatch(/^2 .*--where is no condition.*syntax error/);
  expect(await stderrOf('public.orders', '--where', 'state = 1')).toMatch(/^2 .*column "state" does not exist/);
  expect(await stderrOf('public.orders', '--where', 'id = $1')).toMatch(/^2 .*--where is no condition/);
  expect(await stderrOf('public.orders', '--where', 'true) or (false')).toMatch(/^2 .*--where is not one condition/);
  expect(await stderrOf('public.orders', '--where', 'select true')).toMatch(/^2 .*--where is not one condition/);
  expect(await stderrOf('public.orders', '--where', '1=1); delete from orders; --')).toMatch(/^2 /);
  expect(await stderrOf('public.orders', '--dry-run', '--where', 'id')).toMatch(/^2 .*must be type boolean/);
  expect(await stderrOf('public.bare')).toMatch(/^5 .*nothing in the stream tells its rows apart/);
  expect(await stderrOf('public.silent')).toMatch(/^2 .*no rule of its emit takes `read`/);
  expect(await stderrOf('--pause')).toMatch(/^2 .*no table was named/);
  expect(await stderrOf('public.orders', '--pause', '--resume')).toMatch(/^2 .*are two things/);
  expect(await stderrOf('public.orders', '--resume', '--where', 'true')).toMatch(/^2 .*does not go with --resume/);
  expect(await place.bed.sql('select 1 from orders')).toHaveLength(ROWS);
  // No worker ever ran: there is nobody's state to ask through.
  expect(await stderrOf('public.orders')).toMatch(/^5 /);
});

test('nobody takes a request while no worker runs', async () => {
  await using place = await open('nobody');
  const worker = await place.bed.start({ capture });
  await worker.stop();
  const { code, stderr } = await place.run('public.orders', '--timeout', '1');
  expect(code).toBe(3);
  expect(stderr).toContain('no worker took the request within 1 s; it is withdrawn');
  expect(await place.latest()).toBeUndefined();
});

test('--dry-run says what would be sent and what it costs, and writes nothing', async () => {
  await using place = await open('dry');
  const { code, stdout, stderr } = await place.run('public.orders', '--dry-run');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^rows +~2,000, by the planner’s statistics$/m);
  expect(stdout).toMatch(/^events +~2,000, of \d+ bytes on average \(200 rows sampled\)$/m);
  expect(stdout).toMatch(/^requests +~200 PutEvents, each of up to 10 entries and 1,000,000 bytes$/m);
  expect(stdout).toMatch(/^cost +~0\.002 USD on EventBridge: ~2,000 units of 64 kB, assumed at 1\.00 USD per million/m);
  expect(stdout).toMatch(/^time +unknown until it runs$/m);
  expect(stderr).toBe('nothing was sent or written\n');
  expect(await place.bed.sql(`select 1 from pg_namespace where nspname = 'banyan'`)).toEqual([]);
  expect(place.bed.events).toEqual([]);

  const where = await place.run('public.orders', '--dry-run', '--json', '--where', `status = 'open'`);
  expect(JSON.parse(where.stdout)).toMatchObject({ rows: 20, exact: true, sampledRows: 20, events: 20, requests: 2 });

  const quoted = await place.run('public."Order.Items"', '--dry-run');
  expect(quoted.stdout).toMatch(/^events +none of 0 sampled rows$/m);
  await place.bed.sql(`insert into log values ('one'), ('two'); analyze log`);
  const keyless = await place.run('public.log', '--dry-run', '--json');
  expect(JSON.parse(keyless.stdout)).toMatchObject({ rows: 2, events: 2, requests: 1 });
});

test('--dry-run takes its time from the last run, and counts wide rows by units and by bytes of a request', async () => {
  await using place = await open('measured', {
    setup: `create table orders (id integer primary key, status text); create table "Order.Items" (id integer primary key);
      create table log (what text); alter table log replica identity full;
      insert into orders select n, repeat('x', 100000) from generate_series(1, 40) n; analyze`,
  });
  await place.bed.start({ capture });
  await place.run('public.orders');
  await reaches(place, 'completed');
  const { stdout } = await place.run('public.orders', '--dry-run', '--where', 'true', '--json');
  const estimate = JSON.parse(stdout) as Estimate;
  // 100 kB are two units, and nine of them fill a request.
  expect(estimate).toMatchObject({ rows: 40, exact: true, billedUnits: 80, requests: 5, run: 1 });
  expect(estimate.averageBytes).toBeGreaterThan(100_000);
  expect(estimate.rowsPerSecond).toBeGreaterThan(0);
  const text = await place.run('public.orders', '--dry-run', '--where', 'true');
  expect(text.stdout).toMatch(/^rows +40, counted$/m);
  expect(text.stdout).toMatch(/^time +~\d+ s, assuming the [\d,]+ rows? a second of run 1$/m);
});

test('--dry-run says what would be parked', async () => {
  await using place = await open('parks', {
    capture: [{ table: 'public.orders', detail: { part: { cel: '10 / row.id' } } }],
    setup: `create table orders (id integer primary key); insert into orders select n - 1 from generate_series(1, 20) n`,
  });
  const json = await place.run('public.orders', '--dry-run', '--json', '--where', 'id < 10');
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout)).toMatchObject({ rows: 10, events: 9, parked: { sampled: 1 } });
  const { stdout } = await place.run('public.orders', '--dry-run', '--where', 'id < 10');
  expect(stdout).toContain('✗ 1 change of 10 sampled rows would be parked: ');
});

test('what can not be counted in time is estimated by the planner', async () => {
  await using place = await open('slow');
  const settings = { url: place.bed.url, name: 'slow', statementTimeoutMs: 200 };
  await withClient(settings, async (client) => {
    const { rows } = await client.query<{ oid: number }>(`select 'orders'::regclass::oid::int8::float8 as oid`);
    const oid = rows[0]?.oid ?? 0;
    const [table] = await loadTables(client, [oid]);
    if (table === undefined) throw new Error('there is no table');
    const where = `status = 'open' and (id < 1900 or pg_sleep(10) is not null)`;
    const counted = await countRows(client, where, { table, leaves: await leavesOf(client, oid) });
    expect(counted.exact).toBe(false);
    expect(counted.rows).toBeGreaterThan(10);
    expect(counted.rows).toBeLessThan(30);
    // Nothing is left open behind it.
    expect((await client.query('show transaction_read_only')).rows).toEqual([{ transaction_read_only: 'off' }]);
  });
});

test('a partitioned table is estimated and sent leaf by leaf', async () => {
  await using place = await open('leaves', {
    setup: `create table orders (id integer primary key, status text) partition by range (id);
      create table orders_a partition of orders for values from (1) to (1000);
      create table orders_b partition of orders for values from (1000) to (9000);
      insert into orders select n, 'placed' from generate_series(1, 6000) n;
      create table "Order.Items" (id integer primary key); create table log (what text); alter table log replica identity full;
      analyze`,
  });
  await place.bed.start({ capture });
  const { stdout } = await place.run('public.orders', '--dry-run', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ rows: 6000, exact: false, sampledRows: 200, events: 6000, requests: 600 });
  const asked = await place.run('public.orders', '--where', 'id > 990 and id <= 1010');
  expect(asked.code).toBe(0);
  await reaches(place, 'completed');
  expect(reads(place.bed)).toHaveLength(20);
});
