import pg from 'pg';
import { expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { banyan, type Finished } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';
import { isMissing } from '../support/majors.ts';
import { ownTransaction } from '../support/own-transaction.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

const SETUP = `
  create table orders (id int primary key, note text);
  create table parts (id int, at int, primary key (id, at)) partition by range (at);
  create table parts_1 partition of parts for values from (0) to (100);
`;
const capture = [
  { table: 'public.orders', observe: 'writers' },
  { table: 'public.parts', observe: 'writers' },
];

function commands(bed: WorkerBed, name: string, entries: readonly object[] = capture) {
  const config = {
    name,
    legacy: { url: bed.url },
    bus: { type: 'local', endpoint: bed.bus.url },
    capture: entries,
    // Nobody listens there.
    http: { port: 1 },
  };
  const env = { BANYAN_CONFIG_YAML: JSON.stringify(config) };
  return (...args: readonly string[]): Promise<Finished> => banyan(args, { env });
}

async function install(bed: WorkerBed, name: string, table: string): Promise<void> {
  const { stdout } = await commands(bed, name)('writers', table, '--sql');
  await bed.sql(stdout);
}

/** Everything in one session of that role and application. */
async function as(bed: WorkerBed, who: { role: string; application: string }, ...sql: string[]): Promise<void> {
  const url = new URL(bed.url);
  url.username = who.role;
  url.searchParams.set('application_name', who.application);
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    for (const each of sql) await client.query(each);
  } finally {
    await client.end();
  }
}

interface Seen {
  readonly trigger: string;
  readonly observed: boolean;
  readonly changes: number;
  readonly writers: readonly { readonly role: string; readonly application: string; readonly changes: number }[];
}

async function seen(bed: WorkerBed, name: string, table: string): Promise<Seen> {
  const { stdout, stderr } = await commands(bed, name)('writers', table, '--json');
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Seen;
}

for (const major of [14, 18] satisfies PostgresMajor[]) {
  test.skipIf(isMissing(major))(
    `PostgreSQL ${major}: each change has the role and application that made it, ours have none, and no write fails for want of a right`,
    async () => {
      await using server = await EmbeddedPostgres.start({ major });
      const name = `writers_${major}`;
      await using bed = await makeBed(server, { name, setup: SETUP });
      await bed.start({ capture });
      await install(bed, name, 'public.orders');
      await install(bed, name, 'public.orders');
      await install(bed, name, 'public.parts');
      await bed.sql(`create role billing login; create role crm login; create role clerk;
        grant clerk to crm; grant all on orders, parts, parts_1 to billing, clerk;
        revoke all on schema banyan from public;
        revoke execute on all functions in schema pg_catalog from billing, crm, clerk`);
      await bed.sql(`do $$ declare f regprocedure; begin
        for f in select oid::regprocedure from pg_proc where proname = 'pg_logical_emit_message' loop
          execute format('revoke execute on function %s from public', f); end loop; end $$`);

      await as(
        bed,
        { role: 'billing', application: 'invoices' },
        `insert into orders select n, 'a' from generate_series(1, 10) n`,
        `update orders set note = 'b' where id <= 4`,
        `update orders set note = 'c' where id > 1000`,
        'begin',
        'delete from orders where id = 1',
        'savepoint here',
        'delete from orders where id = 2',
        'rollback to savepoint here',
        'delete from orders where id = 3',
        'commit',
        'begin',
        'delete from orders',
        'rollback',
      );
      await as(
        bed,
        { role: 'crm', application: '' },
        'set role clerk',
        `insert into orders values (20, 'crm')`,
        'insert into parts values (1, 1), (2, 2)',
        // Past the root: nobody says whose it is.
        'insert into parts_1 values (3, 3)',
        'truncate orders',
      );
      await ownTransaction(bed, name, async (transaction) => {
        await transaction.write({
          event: 'e1',
          table: 'orders',
          op: 'insert',
          key: { id: '30' },
          sql: `insert into orders values (30, 'ours')`,
        });
      });
      await bed.confirmed();

      expect(await seen(bed, name, 'orders')).toMatchObject({
        trigger: 'enabled',
        observed: true,
        changes: 18,
        writers: [
          { role: 'billing', application: 'invoices', changes: 16 },
          { role: 'crm', application: '(none)', changes: 2 },
        ],
      });
      const parts = await seen(bed, name, 'parts');
      expect(parts).toMatchObject({ changes: 3, writers: [{ role: 'crm', changes: 2 }] });
      const { stdout } = await commands(bed, name)('writers', 'parts');
      expect(stdout).toMatch(/^1 +\(not known\)$/m);
    },
    60_000,
  );
}

test('fifty writers of a minute have a name, what a forger says counts for nothing, and the rest is one', async () => {
  await using server = await EmbeddedPostgres.start();
  await using bed = await makeBed(server, { name: 'many', setup: SETUP });
  await bed.start({ capture });
  await install(bed, 'many', 'orders');
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  // Each minute has fifty of its own: all of it is to be in one.
  await eventually(() => new Date().getSeconds() < 50);
  for (let n = 0; n < 60; n += 1) {
    await client.query(`set application_name = 'batch-${n}'; insert into orders values (${n})`);
  }
  for (const content of ['', '{', '[]', '{"t": 1}', '{"t": 999999, "r": "x", "a": "y"}', '{"t": "orders"}']) {
    await client.query(`select pg_logical_emit_message(true, 'banyan.many.writer', $1)`, [content]);
  }
  await client.end();
  await bed.confirmed();
  const { writers, changes } = await seen(bed, 'many', 'orders');
  expect(changes).toBe(60);
  expect(writers.reduce((sum, each) => sum + each.changes, 0)).toBe(60);
  const others = writers.filter(({ application }) => application === '(others)');
  expect([writers.length, others[0]?.changes]).toEqual([51, 10]);
}, 60_000);

test('of a time that was not counted nobody says that nobody wrote in it', async () => {
  await using server = await EmbeddedPostgres.start();
  await using bed = await makeBed(server, { name: 'uncounted', setup: SETUP });
  const running = await bed.start({ capture });
  await bed.confirmed();
  await running.stop();
  const say = async (set: string, ...more: readonly string[]) => {
    await bed.sql(`update banyan.table_record set recorded_at = now() - interval '9d';
      update banyan.traffic_position set ${set}`);
    const { stdout, stderr } = await commands(bed, 'uncounted')('writers', 'orders', ...more);
    return `${stdout}${stderr}`;
  };
  const never = await say('counted_until = null');
  expect(never).toMatch(
    /^who wrote to public\.orders in the last 24 h is not known: up to when is not known: no worker/,
  );
  const before = await say(`counting_since = now() - interval '3d', counted_until = now() - interval '25h'`);
  expect(before).toMatch(
    /^who wrote to .* is not known: counted up to 20\d\d-\S+\s+\S+\s+UTC\s+only:\s+no\s+worker\s+answered/,
  );
  expect(before).not.toContain('0 changes');
  const part = await say(`counted_until = now() - interval '1h'`);
  expect(part).toMatch(/^no write of the legacy side to public\.orders was counted in the last 24 h$/m);
  expect(part).toMatch(/^not all of that time is known: counted up to 20/m);
  expect(part).toMatch(/^0 changes by the legacy side, counted from 20\S+ \S+ UTC to 20\S+ \S+ UTC$/m);
  const whole = await say('counted_until = now()');
  expect(whole).toMatch(/^the legacy side did not write to public\.orders in the last 24 h$/m);
  expect(whole).not.toContain('known');
  expect(JSON.parse((await say(`counted_until = now() - interval '1h'`, '--json')).trim())).toMatchObject({
    covered: 'part',
    uncovered: expect.stringContaining('counted up to'),
    countingSince: expect.any(String),
    countedUntil: expect.any(String),
  });
}, 120_000);

test('names that no session can have, and no table could hold, stop nobody', async () => {
  await using server = await EmbeddedPostgres.start();
  await using bed = await makeBed(server, { name: 'forged', setup: SETUP });
  await bed.start({ capture });
  const oid = `'orders'::regclass::oid::int8`;
  const long = `(select string_agg(md5(n::text), '') from generate_series(1, 1000) n)`;
  for (const content of [
    `json_build_object('t', ${oid}, 'r', 'crm', 'a', ${long})::text`,
    `format('{"t": %s, "r": "cr\\u0000m", "a": "\\ud800"}', ${oid})`,
  ]) {
    await bed.sql(`begin; insert into orders select 1 + count(*) from orders;
      select pg_logical_emit_message(true, 'banyan.forged.writer', ${content}); commit`);
  }
  await bed.confirmed();
  const stored =
    await bed.sql(`select role, left(application, 4) as application, length(application) as letters, changes::int
    from banyan.writer_traffic order by letters`);
  expect(stored).toEqual([
    { role: 'cr\uFFFDm', application: '\uFFFD', letters: 1, changes: 1 },
    { role: 'crm', application: 'c4ca', letters: 63, changes: 1 },
  ]);
}, 60_000);

test('writers of what comes again after a restart are counted once, in the minute in which they wrote', async () => {
  await using server = await EmbeddedPostgres.start();
  await using bed = await makeBed(server, { name: 'again', setup: SETUP });
  const stalled = new ScriptedPublisher(() => ({ do: 'hold' }));
  const first = await bed.start({ capture }, { publisher: stalled });
  await install(bed, 'again', 'orders');
  await bed.sql(`insert into orders select n, 'a' from generate_series(1, 3) n`);
  const { traffic } = await bed.state();
  // The bus has taken nothing: all of it comes again, and is counted already.
  await eventually(async () => (await traffic.sums({ seconds: 3_600 })).get('public.orders')?.legacy === 3);
  await first.stop();
  await bed.start({ capture });
  await bed.sql(`insert into orders values (4, 'a')`);
  await bed.confirmed();
  const stored = await bed.sql(
    `select sum(changes)::int as changes, min(starts_at) > now() - interval '1 hour' as recent from banyan.writer_traffic`,
  );
  expect(stored).toEqual([{ changes: 4, recent: true }]);
}, 60_000);

test('check wants the trigger where it is asked for, and teardown leaves none', async () => {
  await using server = await EmbeddedPostgres.start();
  await using bed = await makeBed(server, { name: 'checked', setup: SETUP });
  const running = await bed.start({ capture });
  const codes = async (entries = capture) => {
    const { stdout } = await commands(bed, 'checked', entries)('check', '--json');
    const { findings } = JSON.parse(stdout) as { findings: { code: string; subject: string; remedy: string }[] };
    return findings.filter(({ code }) => code.startsWith('WRITERS'));
  };
  const missing = await codes();
  expect(missing.map(({ code, subject }) => `${code} ${subject}`)).toEqual([
    'WRITERS_TRIGGER_MISSING public.orders',
    'WRITERS_TRIGGER_MISSING public.parts',
  ]);
  for (const { remedy } of missing) await bed.sql(remedy);
  expect(await codes()).toEqual([]);
  await bed.sql('alter table orders disable trigger zz_banyan_writer_checked');
  expect((await codes()).map(({ code }) => code)).toEqual(['WRITERS_TRIGGER_DISABLED']);
  const unused = await codes([{ table: 'public.orders', observe: 'writers' }] as typeof capture);
  expect(unused.map(({ code, subject }) => `${code} ${subject}`).toSorted()).toEqual([
    'WRITERS_TRIGGER_DISABLED public.orders',
    'WRITERS_TRIGGER_UNUSED public.parts',
  ]);
  await running.stop();
  const { stdout } = await commands(bed, 'checked')('teardown', '--yes');
  expect(stdout).toContain('dropped writer trigger of public.orders');
  expect(stdout).toContain('nothing of Banyan is left in the database');
  expect(await bed.sql(`select 1 from pg_trigger where tgname like '%banyan%'`)).toEqual([]);
  expect(await bed.sql(`select 1 from pg_namespace where nspname = 'banyan'`)).toEqual([]);
}, 60_000);
