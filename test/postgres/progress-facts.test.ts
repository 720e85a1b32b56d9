import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LiveSession } from '../../src/capture/upkeep.ts';
import { parseConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { parseLsn } from '../../src/core/lsn.ts';
import type { GateCode, Stage, TargetStage } from '../../src/core/progress.ts';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { remedyOf } from '../../src/progress/dependants.ts';
import { collectFacts, type Facts, type TableFacts } from '../../src/progress/facts.ts';
import { readersOf } from '../../src/progress/reads.ts';
import { migrationTables } from '../../src/progress/tables.ts';
import { usesOf } from '../../src/progress/uses.ts';
import { judge } from '../../src/progress/verdict.ts';
import { openState, type State } from '../../src/state/state.ts';
import { openReadWatch } from '../../src/worker-reads.ts';
import { eventually } from '../support/eventually.ts';
import { isMissing } from '../support/majors.ts';

const majors: readonly PostgresMajor[] = [14, 18];
const DAY_MS = 86_400_000;
/** Statements of functions are counted as well, in sessions that begin then. */
const trackAll = (database: string): string => `alter database ${database} set pg_stat_statements.track = 'all'`;
const PARTED = `create table parted (id int, part int, primary key (id, part)) partition by list (part);
  create table parted_1 partition of parted for values in (1); insert into parted values (1, 1)`;

interface Bed extends AsyncDisposable {
  readonly state: State;
  readonly config: Config;
  /** As the connector's own role, which owns nothing but its schema. */
  readonly pool: pg.Pool;
  readonly url: string;
  facts(): Promise<Facts>;
  table(name?: string): Promise<TableFacts>;
  /** As a superuser. */
  sql(text: string): Promise<pg.QueryResult>;
  /** One session of an application, as that role; its scans are in the statistics when it resolves. */
  as(role: string, text: string, options?: { readonly scans?: boolean }): Promise<void>;
  /** Sessions of ours begin anew, with the settings of now. */
  renew(): Promise<void>;
  /** Lets what is known be older, as if so many days had passed. */
  age(days: number): Promise<void>;
}

interface Options {
  readonly setup?: string;
  readonly config?: object;
  /** Not read_all_stats: then statements of others are hidden. */
  readonly mayReadStats?: boolean;
}

async function makeBed(server: EmbeddedPostgres, name: string, options: Options = {}): Promise<Bed> {
  const admin = await server.createDatabase(name);
  const ours = `${name}_banyan`;
  const sql: Bed['sql'] = (text) => server.query(text, name);
  await sql(`
    create role ${ours} login replication; create role ${name}_app login superuser; create role ${name}_billing login;
    grant create on database ${name} to ${ours};
    ${options.mayReadStats === false ? '' : `grant pg_read_all_stats to ${ours};`}
    create table orders (id int primary key, note text);
    insert into orders select generate_series(1, 100);
    grant select on orders to ${ours};
    ${options.setup ?? ''}`);
  // Up to PostgreSQL 14 statistics come a moment later, and with them what the database has at all.
  await eventually(
    async () =>
      (
        await sql(`select from pg_stat_user_tables where relname = 'orders' and n_tup_ins >= 100
          and (current_setting('server_version_num')::int >= 150000 or exists (
            select from pg_stat_database where datname = current_database() and stats_reset is not null))`)
      ).rowCount === 1,
    () => 'the statistics never come',
  );
  const url = new URL(admin);
  url.username = ours;
  const pool = new pg.Pool({ connectionString: url.href, max: 2 });
  pool.on('error', () => undefined);
  const text = JSON.stringify({
    name,
    legacy: { url: url.href },
    bus: { type: 'local' },
    capture: [{ table: 'public.orders' }],
    ...options.config,
  });
  const { config } = await parseConfig(text, { file: undefined, env: {} });
  const state = await openState({ pool, connector: name, schema: 'banyan' });
  const scansOf = async (): Promise<number> => {
    const { rows } = await sql(
      'select coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::float8 as scans from pg_stat_user_tables where schemaname <> $$banyan$$',
    );
    return (rows[0] as { scans: number }).scans;
  };
  const facts = async () => {
    const tables = await migrationTables(pool, config);
    return collectFacts({ state, pool, config, tables, live: undefined, liveAt: undefined });
  };
  return {
    state,
    config,
    pool,
    url: url.href,
    facts,
    async table(of = 'public.orders') {
      const found = (await facts()).tables.get(of);
      if (found === undefined) throw new Error(`no facts of ${of}`);
      return found;
    },
    sql,
    async as(role, statement, { scans = true } = {}) {
      const as = new URL(admin);
      as.username = `${name}_${role}`;
      const before = await scansOf();
      const client = new pg.Client({ connectionString: as.href });
      await client.connect();
      await client.query(statement);
      await client.end();
      await eventually(
        async () => !scans || (await scansOf()) > before,
        () => 'the statistics never show it',
      );
    },
    async renew() {
      await sql(`select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = '${ours}'`);
      await eventually(() => pool.totalCount === 0);
    },
    async age(days) {
      await sql(`update banyan.read_watch set
        watched_since = watched_since - make_interval(days => ${days}), moved_at = moved_at - make_interval(days => ${days}),
        read_at = read_at - make_interval(days => ${days}), unclear_at = unclear_at - make_interval(days => ${days})`);
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

async function gateOf(bed: Bed, code: GateCode, to: TargetStage = 'retired', from: Stage = 'new-primary') {
  await bed.state.stages.set('public.orders', from, 'test');
  const gate = judge(await bed.facts(), 'public.orders', to, new Date()).gates.find((each) => each.code === code);
  if (gate === undefined) throw new Error(`no gate ${code}`);
  return gate;
}

/** Its result, and why where that is another than is expected. */
async function readsAre(bed: Bed, result: 'pass' | 'fail' | 'unknown', what = ''): Promise<void> {
  const gate = await gateOf(bed, 'LEGACY_READS');
  expect({ what, result: gate.result, reason: gate.reason }).toEqual({ what, result, reason: gate.reason });
}

for (const major of majors) {
  describe.skipIf(isMissing(major))(`on PostgreSQL ${major}`, () => {
    let server: EmbeddedPostgres;
    beforeAll(async () => {
      server = await EmbeddedPostgres.start({
        major,
        settings: { shared_preload_libraries: 'pg_stat_statements', 'pg_stat_statements.max': '1000' },
      });
    });
    afterAll(() => server.stop());

    test('every kind of dependant is found, and those of ours are none', async () => {
      await using bed = await makeBed(server, 'depends', {
        setup: `
          create table parted (id int, part int, primary key (id, part)) partition by list (part);
          create table parted_1 partition of parted for values in (1);
          create table items (id int primary key, order_id int references orders, "no" int);
          create view seen as select id from orders;
          create view seen_again as select id from seen;
          create materialized view kept as select count(*) from seen_again;
          create view of_partition as select id from parted_1;
          create function of_partition_too() returns bigint language sql as 'select count(*) from parted_1';
          create function named() returns bigint language plpgsql as $$ begin return (select count(*) from orders); end $$;
          create function of_view() returns bigint language sql as 'select count(*) from seen';
          create function nothing_of_it() returns int language sql as 'select 1 /* reorders */';
          create function noted() returns trigger language plpgsql as $$ begin return null; end $$;
          create trigger noted after insert on orders for each row execute function noted();
          create table child () inherits (orders);
          alter table items enable row level security;
          create policy by_order on items using (exists (select from orders o where o.id = order_id));
          create rule logged as on insert to items do also update orders set note = 'x' where false;
          grant select, update on orders to depends_billing;
          grant select (id) on orders to public;
          create publication other for table orders;
          create publication banyan_depends for table orders;`,
        config: { capture: [{ table: 'public.orders' }, { table: 'public.parted' }] },
      });
      const found = await bed.table();
      const kinds = found.dependants.map(
        ({ kind, name, detail, foundBy }) => `${kind} ${name} ${detail ?? ''} ${foundBy}`,
      );
      expect(kinds).toEqual([
        'child table public.child  catalog',
        'foreign key items_order_id_fkey public.items catalog',
        'function named()  text',
        'function of_view()  text',
        'materialized view public.kept  catalog',
        'policy by_order public.items catalog',
        'privilege depends_billing select, update catalog',
        'privilege public select of columns catalog',
        'publication other  catalog',
        'rule logged public.items catalog',
        'trigger noted public.orders catalog',
        'view public.seen  catalog',
        'view public.seen_again  catalog',
      ]);
      expect((await bed.table('public.parted')).dependants.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
        'function of_partition_too()',
        'view public.of_partition',
      ]);
      expect((await gateOf(bed, 'DEPENDANTS')).result).toBe('fail');

      // What is said to take each away does so.
      const first = ['materialized view', 'view', 'function'];
      const ordered = [...found.dependants].toSorted((a, b) => first.indexOf(b.kind) - first.indexOf(a.kind));
      for (const dependant of [...ordered]
        .toReversed()
        .toSorted((a, b) => Number(b.name === 'public.kept') - Number(a.name === 'public.kept'))) {
        if (dependant.name === 'public.seen') continue;
        await bed.sql(remedyOf(dependant, 'public.orders'));
      }
      await bed.sql('drop view seen');
      expect((await bed.table()).dependants).toEqual([]);
      expect((await gateOf(bed, 'DEPENDANTS')).result).toBe('pass');
    });

    test('a table that nobody reads passes when it was watched for long enough, though nobody looked meanwhile', async () => {
      await using bed = await makeBed(server, 'quiet', { setup: 'create extension pg_stat_statements' });
      expect((await bed.table()).reads).toMatchObject({ source: 'pg_stat_statements', readAt: undefined });
      await readsAre(bed, 'unknown');
      await bed.age(36);
      await readsAre(bed, 'pass');
    });

    test('another role that reads fails it, with what is named: the table, a view, a function', async () => {
      await using bed = await makeBed(server, 'read', {
        setup: `create extension pg_stat_statements; create schema "Far Away";
          create view "Far Away"."Old Orders" as select * from orders;
          create function total() returns bigint language sql as 'select count(*) from orders'`,
      });
      for (const statement of [
        'select note from orders where id = 7',
        'select 1 from "Far Away"."Old Orders"',
        'select total()',
      ]) {
        await bed.facts();
        await bed.age(36);
        await bed.as('app', statement);
        await readsAre(bed, 'fail', statement);
        await bed.age(36);
        await readsAre(bed, 'pass', statement);
      }
      const [table] = await migrationTables(bed.pool, bed.config);
      if (table === undefined) throw new Error('no table');
      const readers = await readersOf(bed.pool, { ...table, names: ['orders'], workedSince: () => false });
      expect(readers).toContainEqual({ role: 'read_app', calls: 2, statements: 2, own: false });
    });

    test('what was read of a partition before it left is not known any more', async () => {
      await using bed = await makeBed(server, 'parted_from', {
        setup: `create extension pg_stat_statements; ${PARTED}; ${trackAll('parted_from')};
          create table parted_2 partition of parted for values in (2); create table parted_3 partition of parted for values in (3);
          grant select on parted to parted_from_banyan`,
        config: { capture: [{ table: 'public.parted' }] },
      });
      const passes = async () => {
        await bed.state.stages.set('public.parted', 'new-primary', 'test');
        const { gates } = judge(await bed.facts(), 'public.parted', 'retired', new Date());
        return gates.find(({ code }) => code === 'LEGACY_READS')?.result === 'pass';
      };
      for (const [partition, gone] of [
        ['parted_1', 'alter table parted detach partition parted_1'],
        ['parted_2', 'drop table parted_2'],
      ] as const) {
        await bed.facts();
        await bed.age(36);
        expect([gone, await passes()]).toEqual([gone, true]);
        await bed.as('app', `select * from ${partition}`);
        await bed.sql(gone);
        // More scans than those that are gone with it.
        await bed.as('banyan', 'select * from parted; '.repeat(5));
        expect([gone, await passes()]).toEqual([gone, false]);
        await bed.sql('delete from banyan.read_watch');
      }
    });

    test('who reads a parent of the table reads the table, and so does what the parent is in', async () => {
      await using bed = await makeBed(server, 'inherits', {
        setup: `create extension pg_stat_statements; create table everything (note text);
          alter table orders inherit everything; create view seen as select * from everything`,
      });
      expect((await bed.table()).dependants.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
        'parent table public.everything',
        'view public.seen',
      ]);
      for (const statement of ['select * from everything', 'select note from seen']) {
        await bed.facts();
        await bed.age(36);
        await bed.as('banyan', 'select * from orders');
        await bed.as('app', statement);
        await readsAre(bed, 'fail', statement);
      }
      for (const dependant of (await bed.table()).dependants) await bed.sql(remedyOf(dependant, 'public.orders'));
      expect((await gateOf(bed, 'DEPENDANTS')).result).toBe('pass');
    });

    test('what only manages the table is no read', async () => {
      await using bed = await makeBed(server, 'managed', { setup: 'create extension pg_stat_statements' });
      await bed.facts();
      await bed.age(36);
      await bed.as('app', 'grant select on orders to managed_billing', { scans: false });
      await bed.as('app', 'vacuum orders', { scans: false });
      await readsAre(bed, 'pass');
      expect((await bed.table()).reads).toMatchObject({ readAt: undefined, unclearAt: undefined });
    });

    test('our own reading is none by statements, and a read by a role that may be an application’s is unclear', async () => {
      await using bed = await makeBed(server, 'own', {
        setup: `create extension pg_stat_statements; ${trackAll('own')}`,
      });
      await bed.facts();
      await bed.age(36);
      await bed.as('banyan', 'select count(*) from orders');
      await readsAre(bed, 'pass');
      await bed.sql('alter role own_banyan superuser');
      await bed.as('banyan', 'select count(*) from orders where id > 0');
      const gate = await gateOf(bed, 'LEGACY_READS');
      expect(gate).toMatchObject({ result: 'unknown', reason: expect.stringContaining('an application’s') as string });
    });

    test('a read of ours explains none by a function that puts its SQL together', async () => {
      await using bed = await makeBed(server, 'nested', {
        setup: `create extension pg_stat_statements;
          create function asked(what text) returns void language plpgsql as $$ begin execute what; end $$`,
      });
      const read = async () => {
        await bed.facts();
        await bed.age(36);
        await bed.as('banyan', 'select * from orders');
        await bed.as('app', `select asked('select * from or' || 'ders')`);
        return gateOf(bed, 'LEGACY_READS');
      };
      expect(await read()).toMatchObject({
        result: 'unknown',
        reason: expect.stringContaining('pg_stat_statements.track') as string,
      });
      // Told apart, it is a read.
      await bed.sql(trackAll('nested'));
      await bed.renew();
      expect(await read()).toMatchObject({ result: 'fail' });
      // It need not be so for everybody.
      await bed.sql(`alter role nested_billing set pg_stat_statements.track = 'top'`);
      await bed.facts();
      await bed.age(36);
      await bed.as('banyan', 'select * from orders');
      expect(await gateOf(bed, 'LEGACY_READS')).toMatchObject({ result: 'unknown' });
      // Roles are the server's: it would be so for the tests after this one.
      await bed.sql('alter role nested_billing reset pg_stat_statements.track');
    });

    test('what the database looks up for a foreign key of ours is no read, and stays unclear where we did nothing', async () => {
      await using bed = await makeBed(server, 'looked_up', {
        setup: `create extension pg_stat_statements; ${trackAll('looked_up')};
          create table items (id int primary key, order_id int references orders on delete cascade);
          grant select, insert, delete on orders to looked_up_banyan; grant select, insert on items to looked_up_banyan`,
        config: { capture: [{ table: 'public.orders' }, { table: 'public.items' }] },
      });
      await bed.facts();
      await bed.age(36);
      await bed.as('banyan', 'insert into items values (1, 1); delete from orders where id = 1; select * from items');
      expect((await bed.table()).reads).toMatchObject({ readAt: undefined, unclearAt: undefined });
      expect((await bed.table('public.items')).reads).toMatchObject({ readAt: undefined, unclearAt: undefined });

      await bed.as('app', 'insert into items values (2, 2)');
      expect((await bed.table()).reads).toMatchObject({ readAt: undefined, unclearAt: expect.any(String) as string });
      // That we read since takes nothing back.
      await bed.as('banyan', 'select * from orders');
      expect((await bed.table()).reads).toMatchObject({ unclearAt: expect.any(String) as string });
    });

    test('without pg_stat_statements a scan is a read, and one while we read as well is not known whose', async () => {
      await using bed = await makeBed(server, 'scans', {
        config: {
          reverse: {
            queue: 'http://127.0.0.1:1/000000000000/back',
            region: 'eu-west-1',
            apply: [
              { match: { source: ['x'] }, table: 'public.orders', operation: 'delete', key: { id: 'detail.id' } },
            ],
          },
        },
      });
      await bed.facts();
      await bed.age(36);
      expect((await bed.table()).reads?.source).toBe('pg_stat_user_tables');
      await readsAre(bed, 'pass');
      // Reverse sync is on in this stage, and finds rows by their key.
      await bed.as('app', 'select note from orders where id = 7');
      const gate = await gateOf(bed, 'LEGACY_READS');
      expect(gate).toMatchObject({
        result: 'unknown',
        reason: expect.stringContaining('install pg_stat_statements') as string,
      });

      await bed.sql(`delete from banyan.read_watch; delete from banyan.table_stage`);
      await bed.facts();
      await bed.age(36);
      await bed.as('app', 'select note from orders where id = 7');
      expect((await bed.table()).reads?.readAt).toBeDefined();
    });

    test('a backfill that runs meanwhile makes a scan unclear', async () => {
      await using bed = await makeBed(server, 'filled');
      await bed.facts();
      await bed.age(36);
      const run = await bed.state.backfills.create({ table: 'public.orders', requestedBy: 'test' });
      await bed.state.backfills.start(run?.id ?? 0, { parts: [], key: ['id'], rowsEstimated: 1 });
      await bed.as('banyan', 'select count(*) from orders');
      expect((await bed.table()).reads).toMatchObject({ readAt: undefined, unclearAt: expect.any(String) as string });
      await bed.age(1);
      await bed.state.backfills.move(run?.id ?? 0, 'completed', ['running']);
      await bed.sql(`update banyan.backfill_run set finished_at = finished_at - interval '3 days'`);
      await bed.as('app', 'select count(*) from orders');
      expect((await bed.table()).reads?.readAt).toBeDefined();
    });

    test('statements that our role may not see are not taken for none', async () => {
      await using bed = await makeBed(server, 'hidden', {
        setup: 'create extension pg_stat_statements',
        mayReadStats: false,
      });
      await bed.facts();
      await bed.age(36);
      expect((await bed.table()).reads).toMatchObject({
        source: 'pg_stat_user_tables',
        withoutStatements: expect.stringContaining('pg_read_all_stats') as string,
      });
      await bed.as('app', 'select * from orders');
      await readsAre(bed, 'fail');
    });

    test('statements that the server does not count, for anybody, are not taken for none', async () => {
      await using bed = await makeBed(server, 'uncounted', { setup: 'create extension pg_stat_statements' });
      const ways = [
        ['pg_stat_statements.track_utility', 'off', 'copy orders to stdout'],
        ['pg_stat_statements.track', 'none', 'select * from orders'],
        ['compute_query_id', 'off', 'select * from orders'],
      ] as const;
      for (const [setting, value, read] of ways) {
        for (const whose of ['role uncounted_app', 'database uncounted']) {
          const what = `${setting} for ${whose}`;
          await bed.sql(`alter ${whose} set ${setting} = ${value}`);
          // Settings of a database are those of a session that begins with them.
          const pool = new pg.Pool({ connectionString: bed.url, max: 2 });
          const reads = async () => {
            const tables = await migrationTables(pool, bed.config);
            const facts = await collectFacts({ ...bed, pool, tables, live: undefined, liveAt: undefined });
            return facts.tables.get('public.orders')?.reads;
          };
          try {
            await reads();
            await bed.age(36);
            await bed.as('banyan', 'select * from orders');
            await bed.as('app', read);
            const found = await reads();
            const isRead = Date.now() - Date.parse(found?.readAt ?? '') < DAY_MS;
            expect({ what, isRead, ...found }).toMatchObject({
              what,
              isRead: true,
              source: 'pg_stat_user_tables',
              withoutStatements: expect.stringContaining(setting) as string,
            });
          } finally {
            await pool.end();
            await bed.sql(`alter ${whose} reset ${setting}`);
          }
        }
      }
    });

    test('time in which scans are not counted, for anybody, is not time in which nobody read', async () => {
      await using bed = await makeBed(server, 'blind', { setup: 'create extension pg_stat_statements' });
      await bed.facts();
      await bed.age(36);
      await readsAre(bed, 'pass');
      await bed.sql('alter role blind_billing set track_counts = off');
      const gate = await gateOf(bed, 'LEGACY_READS');
      expect(gate).toMatchObject({
        result: 'unknown',
        reason: expect.stringContaining('track_counts is off for role blind_billing') as string,
      });
      await bed.sql('alter role blind_billing reset track_counts');
      await readsAre(bed, 'unknown');
      await bed.age(36);
      await readsAre(bed, 'pass');
    });

    test('partitions count for their table', async () => {
      await using bed = await makeBed(server, 'parts', {
        setup: PARTED,
        config: { capture: [{ table: 'public.parted' }] },
      });
      await bed.table('public.parted');
      await bed.as('app', 'select * from parted_1');
      expect((await bed.table('public.parted')).reads?.readAt).toBeDefined();
    });

    test('who reads a partition by a name of its own reads the table, also while we work on it', async () => {
      await using bed = await makeBed(server, 'part_names', {
        setup: `create extension pg_stat_statements; ${PARTED};
          create table parted_2 partition of parted for values in (2) partition by list (id);
          create table "Parted 2 a" partition of parted_2 for values in (1);
          create view "of part" as select * from parted_1;
          create function counted() returns bigint language plpgsql as $$ begin return (select count(*) from parted_1); end $$;
          grant select on parted to part_names_banyan`,
        config: { capture: [{ table: 'public.parted' }] },
      });
      for (const statement of [
        'select * from parted_1',
        'copy parted_1 to stdout',
        'select id from "Parted 2 a"',
        'select id from parted_2',
        'select 1 from "of part"',
        'select counted()',
      ]) {
        await bed.table('public.parted');
        await bed.age(1);
        await bed.as('banyan', 'select * from parted');
        await bed.as('app', statement);
        const { reads } = await bed.table('public.parted');
        expect({ statement, read: Date.now() - Date.parse(reads?.readAt ?? '') < DAY_MS / 2 }).toEqual({
          statement,
          read: true,
        });
      }
    });

    test('statistics that were reset, another table of the name and a server that counts nothing begin anew', async () => {
      await using bed = await makeBed(server, 'reset', { setup: 'create extension pg_stat_statements' });
      const resets = [
        'select pg_stat_reset()',
        'select pg_stat_statements_reset()',
        'alter table orders rename to orders_old; create table orders (id int primary key); grant select on orders to reset_banyan',
      ];
      for (const statement of resets) {
        await bed.facts();
        await bed.age(36);
        await readsAre(bed, 'pass', statement);
        await bed.sql(statement);
        const anew = /without a reset of statistics/;
        await eventually(
          async () => anew.test((await gateOf(bed, 'LEGACY_READS')).reason),
          () => statement,
        );
        // Nobody can make up for it by looking again.
        await readsAre(bed, 'unknown', statement);
        await bed.sql('delete from banyan.read_watch');
      }
      await bed.sql('alter role reset_banyan set track_counts = off');
      await bed.facts();
      await bed.age(36);
      const blind = new pg.Pool({ connectionString: bed.url, max: 1 });
      try {
        const tables = await migrationTables(blind, bed.config);
        const facts = await collectFacts({ ...bed, pool: blind, tables, live: undefined, liveAt: undefined });
        expect(judge(facts, 'public.orders', 'retired', new Date()).gates[1]).toMatchObject({
          code: 'LEGACY_READS',
          result: 'unknown',
          reason: expect.stringContaining('track_counts') as string,
        });
      } finally {
        await blind.end();
        // Roles are the server's: it would count nothing for the tests after this one.
        await bed.sql('alter role reset_banyan reset track_counts');
      }
    });

    test('evicted statements are made up for by scans that stand still', async () => {
      await using bed = await makeBed(server, 'evicted', { setup: 'create extension pg_stat_statements' });
      await bed.as('app', 'select * from orders');
      await bed.facts();
      await bed.age(36);
      // Statements are told apart by their form: each has one column more.
      const many = Array.from(
        { length: 1_100 },
        (_, n) => `select ${Array.from({ length: n + 1 }, () => '1').join(', ')};`,
      );
      await bed.as('app', many.join('\n'), { scans: false });
      expect(Number((await bed.sql('select dealloc from pg_stat_statements_info')).rows[0]?.dealloc)).toBeGreaterThan(
        0,
      );
      await readsAre(bed, 'pass');
      await bed.as('app', `${many.join('\n')} select * from orders; ${many.join('\n')}`);
      expect(['fail', 'unknown']).toContain((await gateOf(bed, 'LEGACY_READS')).result);
    });

    test('reading all the time writes a row a minute, and standing still none', async () => {
      await using bed = await makeBed(server, 'still', { setup: 'create extension pg_stat_statements' });
      const rows = async () => (await bed.sql('select xmin::text, moved_at from banyan.read_watch')).rows;
      await bed.facts();
      await bed.as('app', 'select * from orders');
      const read = (await bed.table()).reads?.readAt;
      // A read of which nothing is written yet is written at once.
      expect((await bed.state.readWatch.list()).map(({ readAt }) => readAt)).toEqual([read]);
      const first = await rows();
      await bed.facts();
      await bed.as('app', 'select * from orders');
      expect((await bed.table()).reads?.readAt).not.toBe(read);
      expect(await rows()).toEqual(first);
      await bed.age(1);
      await bed.facts();
      expect(await rows()).not.toEqual(first);
      const [aged] = await rows();
      expect(Date.now() - Date.parse(aged?.moved_at as string)).toBeLessThan(DAY_MS / 2);
    });

    test('the worker looks by itself, and writes nothing while nothing moves', async () => {
      await using bed = await makeBed(server, 'looked');
      const stop = new AbortController();
      let looks = 0;
      bed.pool.on('acquire', () => (looks += 1));
      const watch = openReadWatch({
        ...bed,
        lookAtUses: usesOf,
        intervals: { firstMs: 1, thenMs: 1 },
        log: pino({ level: 'silent' }),
      });
      const running = watch.run(bed as unknown as LiveSession, stop.signal);
      const end = async () => (await bed.sql('select pg_current_wal_insert_lsn()::text as lsn')).rows;
      try {
        await eventually(async () => (await bed.state.readWatch.list()).length === 1);
        // Until what the set-up left to be done is done.
        await eventually(async () => {
          const [before, from] = [await end(), looks];
          await eventually(() => looks > from + 60);
          return JSON.stringify(await end()) === JSON.stringify(before);
        });
        await bed.as('app', 'select * from orders');
        await bed.age(1);
        const read = await eventually(async () =>
          (await bed.state.readWatch.list()).find(({ readAt }) => readAt !== undefined),
        );
        expect(read).toMatchObject({ table: 'public.orders', unclearAt: undefined });
      } finally {
        stop.abort();
        await running;
      }
    });

    test('the state says the rest: runs, letters, conflicts, gaps, writes, the slot', async () => {
      await using bed = await makeBed(server, 'rest');
      const { state } = bed;
      expect(await gateOf(bed, 'SLOT', 'shadow', 'mapped')).toMatchObject({ result: 'fail' });
      await bed.sql(`select pg_create_logical_replication_slot('banyan_rest', 'pgoutput')`);
      await state.tables.save([{ table: 'public.orders', oid: 1, publishedSinceLsn: parseLsn('0/1') }]);
      // What is on record says nothing of what the publication has now, under that name.
      expect(await gateOf(bed, 'SLOT', 'shadow', 'mapped')).toMatchObject({ result: 'fail' });
      await bed.sql('create publication banyan_rest for table orders');
      expect(await gateOf(bed, 'SLOT', 'shadow', 'mapped')).toMatchObject({ result: 'pass', value: 'reserved' });
      await bed.sql(`
        insert into banyan.dead_letter (connector, direction, event_id, entry, table_name, sequence, kind, message, behind, event, waits_until)
        values ('rest', 'forward', 'a', 0, 'public.orders', '1', 'unknown', 'm', false, '{}', null),
               ('rest', 'reverse', 'b', 0, 'public.orders', '1', 'unknown', 'm', false, '{}', null),
               ('rest', 'reverse', 'c', 0, 'public.orders', '1', 'unknown', 'm', false, '{}', now()),
               ('rest', 'reverse', 'd', 0, 'queue:back', '1', 'unknown', 'm', false, '{}', null),
               ('other', 'forward', 'a', 0, 'public.orders', '1', 'unknown', 'm', false, '{}', null);
        insert into banyan.backfill_run (connector, table_name, status, condition, partition, requested_by, finished_at)
        values ('rest', 'public.orders', 'completed', null, null, 'x', now()),
               ('rest', 'public.orders', 'failed', 'id < 5', null, 'x', now()),
               ('rest', 'public.orders', 'failed', null, 'public.p', 'x', now());
        insert into banyan.traffic (connector, table_name, period_seconds, starts_at, legacy, reverse)
        values ('rest', 'public.orders', 60, date_trunc('minute', now()), 3, 4),
               ('rest', 'public.orders', 3600, date_trunc('hour', now() - interval '3 days'), 5, 0)`);
      await state.gaps.record({ kind: 'slot-lost', subject: 'banyan_rest', report: {} });
      // Fourteen days are looked through only for a table that may retire.
      expect((await bed.facts()).tables.get('public.orders')?.writes.quiet).toBeUndefined();
      await state.stages.set('public.orders', 'new-primary', 'ada');
      const facts = await bed.facts();
      const table = facts.tables.get('public.orders');
      expect(table).toMatchObject({
        deadLetters: { forward: 1, reverse: 1, waiting: 1, nameless: 1 },
        writes: { window: { legacy: 3, reverse: 4 }, quiet: { legacy: 8, reverse: 4 } },
        publishedSince: expect.any(String) as string,
      });
      expect(table?.backfill.whole?.status).toBe('completed');
      expect(table?.backfill.partitions).toMatchObject([{ status: 'failed', partition: 'public.p' }]);
      expect(facts.gaps).toMatchObject([{ kind: 'slot-lost', acceptedAt: undefined }]);
      expect(await gateOf(bed, 'SLOT', 'shadow', 'mapped')).toMatchObject({
        result: 'fail',
        reason: 'an open gap: slot-lost',
      });
      await bed.sql(`select pg_drop_replication_slot('banyan_rest')`);
    });

    test('200 tables take a fixed number of queries, and well under a second', async () => {
      const tables = Array.from({ length: 200 }, (_, n) => `create table t${n} (id int primary key);`).join('\n');
      await using bed = await makeBed(server, 'many', {
        setup: `create extension pg_stat_statements; ${tables}`,
        config: { capture: [{ table: 'public.*' }] },
      });
      const counted = async (): Promise<number> => {
        let queries = 0;
        const on = (client: pg.PoolClient) => {
          const query = client.query.bind(client) as (...args: unknown[]) => unknown;
          client.query = ((...args: unknown[]) => {
            queries += 1;
            return query(...args);
          }) as typeof client.query;
        };
        const pool = new pg.Pool({ connectionString: bed.url, max: 2 });
        pool.on('connect', on);
        try {
          const state = await openState({ pool, connector: 'many', schema: 'banyan' });
          const found = await migrationTables(pool, bed.config);
          expect(found.length).toBe(201);
          const options = { state, pool, config: bed.config, live: undefined, liveAt: undefined };
          // What had moved since is written down by then.
          await eventually(async () => {
            queries = 0;
            await collectFacts({ ...options, tables: found });
            const before = queries;
            await collectFacts({ ...options, tables: found });
            return queries === 2 * before;
          });
          queries = 0;
          await collectFacts({ ...options, tables: found });
          const of200 = queries;
          queries = 0;
          await collectFacts({ ...options, tables: found.slice(0, 1) });
          expect(of200).toBe(queries);
          const times: number[] = [];
          for (let round = 0; round < 3; round += 1) {
            const began = performance.now();
            await collectFacts({ ...options, tables: found });
            times.push(performance.now() - began);
          }
          return Math.min(...times);
        } finally {
          await pool.end();
        }
      };
      expect(await counted()).toBeLessThan(1_000);
    });

    test('a server that stops at once, or starts again, never makes a pass of what is not known', async () => {
      await using bed = await makeBed(server, 'crash', { setup: 'create extension pg_stat_statements' });
      await bed.facts();
      await bed.age(36);
      await readsAre(bed, 'pass');
      await server.shutdown('fast');
      await server.restart();
      await readsAre(bed, 'pass');
      // Read, and the server stops before anybody looks: the statistics are lost, and what is left looks as if nothing had happened.
      await bed.as('app', 'select * from orders');
      await server.shutdown('immediate');
      await server.restart();
      const after = await gateOf(bed, 'LEGACY_READS');
      expect(after.result).toBe('unknown');
      expect(after.reason).toMatch(/without a reset of statistics/);
    });
  });
}
