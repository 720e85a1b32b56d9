import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import type { Finding } from '../../src/core/finding.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { banyan, type Finished } from '../support/banyan-process.ts';

const TABLES = [
  `create table customers (
     id bigint generated always as identity primary key, email text, full_name text, password_hash text)`,
  `create table orders (
     id bigint primary key, status text not null default 'placed', quantity int not null, unit_price numeric(10,2),
     placed_at timestamptz, tags text[], internal_note text)`,
  `create table audit_log (at timestamptz, what text)`,
  `create schema "Legacy"`,
  `create table "Legacy"."Order.Items" (id int primary key, sku text)`,
  `create table readings (id int, at date, primary key (id, at)) partition by range (at)`,
  `create table readings_2026 partition of readings for values from ('2026-01-01') to ('2027-01-01')`,
  `insert into customers (email, full_name, password_hash) values ('ada@example.org', 'Ada', 'x')`,
  `insert into orders values
     (1, 'placed', 2, 9.90, '2026-03-01 12:00:00+02', '{a,"b c"}', 'call back'), (2, 'shipped', 1, 5, null, null, null)`,
  'analyze orders',
];

let server: EmbeddedPostgres;
let folder: string;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  folder = await mkdtemp(join(tmpdir(), 'banyan-cli-'));
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

async function shop(name: string): Promise<string> {
  const url = await server.createDatabase(name);
  for (const statement of TABLES) await server.query(statement, name);
  return url;
}

interface Case {
  readonly url: string;
  readonly file: string;
  run(...args: readonly string[]): Promise<Finished>;
}

/** A database with the shop's tables, and a configuration beside it. */
async function shopWith(name: string, capture: string, rest = ''): Promise<Case> {
  const url = await shop(name);
  const file = join(folder, `${name}.yaml`);
  await writeFile(
    file,
    `name: ${name}
legacy: { url: "\${LEGACY_DATABASE_URL}" }
bus: { type: local, port: 0 }
http: { port: 0 }
${rest}
capture:
${capture}`,
  );
  const env = { LEGACY_DATABASE_URL: url };
  return { url, file, run: (...args) => banyan([...args, '--config', file], { env }) };
}

describe('init', () => {
  test('writes a configuration that loads and passes check, and never overwrites it', async () => {
    const url = await shop('first_steps');
    const env = { LEGACY_DATABASE_URL: url };
    const cwd = await mkdtemp(join(folder, 'init-'));
    const first = await banyan(['init'], { env, cwd });
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toContain('wrote config/banyan.yaml: 4 tables of database first_steps');
    expect(first.stdout).toContain('left out, as a comment: public.audit_log');
    expect(first.stdout).toMatch(/banyan preview public\.orders {2}/);

    const text = await readFile(join(cwd, 'config/banyan.yaml'), 'utf8');
    const { config } = await parseConfig(text, { file: undefined, env });
    expect(config.name).toBe('first_steps');
    expect(config.bus.type).toBe('local');
    expect(config.capture).toMatchObject([
      { table: '"Legacy"."Order.Items"' },
      { table: 'public.customers', exclude: ['password_hash'] },
      { table: 'public.orders' },
      { table: 'public.readings' },
    ]);
    expect(text).toContain('# about 2 rows, key id');
    expect(text).toContain('unit_price numeric(10,2)');
    expect(text).toContain('alter table "public"."audit_log" replica identity full');

    const check = await banyan(['check'], { env, cwd });
    expect(check.code).toBe(0);
    expect(check.stdout).toContain('✓ ready: 4 entries, slot banyan_first_steps, an embedded bus');

    const second = await banyan(['init'], { env, cwd });
    expect(second.code).toBe(2);
    expect(second.stderr).toContain('is not overwritten');
    expect(await readFile(join(cwd, 'config/banyan.yaml'), 'utf8')).toBe(text);
  });

  test('takes the tables that are named, and names the nearest of one that is not there', async () => {
    const env = { LEGACY_DATABASE_URL: await shop('chosen') };
    const file = join(folder, 'chosen-init.yaml');
    const made = await banyan(['init', '--tables', 'orders,public.cust*', '--config', file, '--json'], { env });
    expect(JSON.parse(made.stdout)).toMatchObject({ file, tables: ['public.customers', 'public.orders'], leftOut: [] });
    const wrong = await banyan(['init', '--tables', 'ordrs', '--config', join(folder, 'none.yaml')], { env });
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('did you mean orders?');
    const impossible = await banyan(['init', '--tables', 'audit_log', '--config', join(folder, 'none.yaml')], { env });
    expect(impossible.code).toBe(5);
    expect(impossible.stderr).toContain('replica identity full');
  });
});

describe('init --role', () => {
  test('prints a script after which the role passes check, however often it is run', async () => {
    const place = await shopWith('by_role', '  - table: public.orders\n  - table: public.readings');
    const printed = await place.run('init', '--role', 'Banyan worker', '--json');
    const { sql, tables } = JSON.parse(printed.stdout) as { sql: string; tables: string[] };
    expect(tables).toEqual(['public.orders', 'public.readings']);
    // Nothing was done yet.
    expect((await server.query(`select from pg_roles where rolname = 'Banyan worker'`)).rowCount).toBe(0);

    await server.query(sql, 'by_role');
    await server.query(sql, 'by_role');
    const asRole = server.url('by_role', 'Banyan worker');
    const env = { LEGACY_DATABASE_URL: asRole };
    const check = await banyan(['check', '--json', '--config', place.file], { env });
    const { findings } = JSON.parse(check.stdout) as { findings: Finding[] };
    expect(findings.filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(check.code).toBe(0);
    expect((await banyan(['preview', 'orders', '--config', place.file], { env })).code).toBe(0);

    // A backfill reads the partitions themselves.
    const dry = await banyan(['backfill', 'public.readings', '--dry-run', '--where', 'true', '--config', place.file], {
      env,
    });
    expect(dry).toMatchObject({ code: 0, stderr: 'nothing was sent or written\n' });

    // Exactly what is needed: no other table, nothing written.
    const client = new pg.Client(asRole);
    await client.connect();
    try {
      await expect(client.query('select * from customers')).rejects.toMatchObject({ code: '42501' });
      await expect(client.query('delete from orders')).rejects.toMatchObject({ code: '42501' });
      await client.query('create table banyan.migration_check ()');
      const attributes = await client.query(
        'select rolsuper, rolcreatedb, rolcreaterole, rolreplication from pg_roles where rolname = current_user',
      );
      expect(attributes.rows).toEqual([
        { rolsuper: false, rolcreatedb: false, rolcreaterole: false, rolreplication: true },
      ]);
    } finally {
      await client.end();
    }
    // What the script sets up is what it finds the next time.
    expect((await place.run('init', '--role', 'Banyan worker')).stdout).toContain(
      '-- It is there already, as it should be.',
    );
  });

  test('works for an owner who is no superuser', async () => {
    const place = await shopWith('by_owner', '  - table: public.orders');
    const { sql } = JSON.parse((await place.run('init', '--role', 'by_owner_worker', '--json')).stdout) as {
      sql: string;
    };
    await server.query('create role landlord login createrole replication', 'by_owner');
    await server.query('alter database by_owner owner to landlord; alter schema public owner to landlord', 'by_owner');
    await server.query('alter table orders owner to landlord', 'by_owner');
    const client = new pg.Client(server.url('by_owner', 'landlord'));
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
    const env = { LEGACY_DATABASE_URL: server.url('by_owner', 'by_owner_worker') };
    expect((await banyan(['check', '--config', place.file], { env })).code).toBe(0);
  });

  test('makes the slot where the worker must not', async () => {
    const place = await shopWith('by_dba', '  - table: public.orders');
    const text = await readFile(place.file, 'utf8');
    await writeFile(place.file, text.replace('URL}" }', 'URL}", slot: { manage: false } }'));
    const { stdout } = await place.run('init', '--role', 'by_dba_worker', '--json');
    const { sql } = JSON.parse(stdout) as { sql: string };
    expect(sql).toContain(`pg_create_logical_replication_slot('banyan_by_dba', 'pgoutput')`);
    await runPsqlScript(sql, 'by_dba');
    await runPsqlScript(sql, 'by_dba');
    const slots = await server.query(`select plugin from pg_replication_slots where slot_name = 'banyan_by_dba'`);
    expect(slots.rows).toEqual([{ plugin: 'pgoutput' }]);
    await server.query(`select pg_drop_replication_slot('banyan_by_dba')`);
  });

  test('does not think for whoever gives tables and a configuration', async () => {
    const place = await shopWith('both', '  - table: public.orders');
    const { code, stderr } = await place.run('init', '--role', 'x', '--tables', 'orders');
    expect(code).toBe(2);
    expect(stderr).toContain('leave --tables out');
  });
});

/** As psql sends it: the transaction, then what is behind it, each by itself. */
async function runPsqlScript(sql: string, database: string): Promise<void> {
  const [transaction = '', rest = ''] = sql.split('\ncommit;\n');
  await server.query(`${transaction}\ncommit;`, database);
  await server.query(rest, database);
}

describe('check', () => {
  test('finds what is wrong in database and mapping, each with what mends it, and exits with 5', async () => {
    const place = await shopWith(
      'wrong',
      `  - table: public.ordrs
  - { table: public.audit_log, backfill: true }
  - table: public.orders
    detail: { a: statsu, b: { cel: "row.quantity + row.status" } }
    emit:
      - { on: update, when: "old.status == 'placed'", detailType: X }
  - { table: public.customers, backfill: true }
  - { table: public.log_full, backfill: true }`,
    );
    await server.query('create table log_full (what text); alter table log_full replica identity full', 'wrong');
    const { code, stdout } = await place.run('check', '--json');
    expect(code).toBe(5);
    const { ready, findings } = JSON.parse(stdout) as { ready: boolean; findings: Finding[] };
    expect(ready).toBe(false);
    const at = (path: string) => findings.filter((finding) => finding.path === path);
    expect(at('capture[0].table')[0]?.message).toContain('public.orders');
    expect(findings.find(({ code }) => code === 'REPLICA_IDENTITY_MISSING')?.remedy).toContain('alter table');
    expect(at('capture[2].detail.a')[0]?.message).toContain('the nearest is status');
    expect(at('capture[2].detail.b')).toHaveLength(1);
    expect(at('capture[2].emit[0].when')[0]?.remedy).toContain('replica identity full');
    expect(at('capture[3].backfill')).toEqual([]);
    expect(at('capture[1].backfill')).toMatchObject([{ code: 'BACKFILL_NEEDS_KEY', severity: 'error' }]);
    expect(at('capture[1].backfill')[0]?.remedy).toContain('add primary key');
    expect(at('capture[4].backfill')).toMatchObject([{ code: 'BACKFILL_WITHOUT_KEY', severity: 'warning' }]);

    const text = await place.run('check');
    expect(text.code).toBe(5);
    expect(text.stdout).toMatch(/✗ not ready: \d+ errors/);
    expect(text.stdout).toContain('capture[2].detail.a: public.orders has no column statsu');
    // Nothing was made on the way.
    expect((await server.query('select from pg_publication', 'wrong')).rowCount).toBe(0);
  });

  test('says that a bus can not be reached or is not there', async () => {
    const place = await shopWith('no_bus', '  - table: public.orders');
    const text = await readFile(place.file, 'utf8');
    await writeFile(place.file, text.replace('port: 0 }', 'name: nowhere, endpoint: "http://127.0.0.1:9" }'));
    const { code, stdout } = await place.run('check', '--json');
    expect(code).toBe(5);
    expect((JSON.parse(stdout) as { findings: Finding[] }).findings).toContainEqual(
      expect.objectContaining({ subject: 'bus', severity: 'error' }),
    );
  });
});

interface PreviewedEvent {
  readonly 'detail-type': string;
  readonly detail: { readonly metadata: object; readonly data: object };
}

function events({ stdout }: Finished): PreviewedEvent[] {
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as PreviewedEvent);
}

describe('preview', () => {
  let place: Case;
  beforeAll(async () => {
    place = await shopWith(
      'previews',
      `  - table: public.orders
    exclude: [internal_note]
    detail:
      orderId: id
      total: { cel: "row.quantity * row.unit_price" }
      placedAt: placed_at
      tags: tags
    emit:
      - { on: insert, detailType: OrderPlaced }
      - { on: update, when: "row.status == 'shipped'", detailType: OrderShipped }
      - { on: delete, detailType: OrderCancelled, detail: { orderId: id } }
  - table: public.customers
    mask: { email: redact }
    exclude: [password_hash]`,
    );
  });

  test('prints the events that rows become, by the worker’s own mapper', async () => {
    const run = await place.run('preview', 'public.orders', '--json');
    expect(run.code).toBe(0);
    expect(events(run)).toMatchObject([
      {
        'detail-type': 'OrderPlaced',
        resources: ['banyan:previews:public.orders:1'],
        detail: {
          metadata: { operation: 'insert', table: 'public.orders', key: { id: '1' } },
          data: { orderId: '1', total: '19.80', placedAt: '2026-03-01T10:00:00+00:00', tags: ['a', 'b c'] },
        },
      },
      { detail: { data: { orderId: '2', total: '5.00', placedAt: null, tags: null } } },
    ]);
    const text = await place.run('preview', 'orders', '--limit', '1');
    expect(text.stderr).toBe('1 row of public.orders, 1 event; nothing was published\n');
    expect(JSON.parse(text.stdout)).toMatchObject({ 'detail-type': 'OrderPlaced' });
    expect(text.stdout).not.toContain('call back');
  });

  test('an update changes values as the server reads them, and shows old and new', async () => {
    const run = await place.run(
      'preview',
      'orders',
      '--where',
      'id = 1',
      '--op',
      'update',
      '--set',
      'status=shipped',
      '--set',
      'quantity= 3',
    );
    expect(JSON.parse(run.stdout)).toMatchObject({
      'detail-type': 'OrderShipped',
      detail: { data: { total: '29.70' } },
    });
    expect(run.stderr).toContain('row 1: status "placed" → "shipped", quantity "2" → "3"');
    expect((await server.query('select status, quantity from orders where id = 1', 'previews')).rows).toEqual([
      { status: 'placed', quantity: 2 },
    ]);
  });

  test('a row that no rule takes makes no event, and says so', async () => {
    const run = await place.run('preview', 'orders', '--where', 'id = 1', '--op', 'update');
    expect(run).toMatchObject({ code: 0, stdout: '' });
    expect(run.stderr).toContain('0 events; 1 row that no `emit` rule takes on update');
  });

  test('a delete has what the replica identity sends', async () => {
    const run = await place.run('preview', 'orders', '--where', 'id = 1', '--op', 'delete', '--json');
    expect(events(run)).toMatchObject([{ 'detail-type': 'OrderCancelled', detail: { data: { orderId: '1' } } }]);
  });

  test('masks and exclusions hold', async () => {
    const run = await place.run('preview', 'customers', '--op', 'update', '--set', 'email=eve@example.org');
    expect(run.code).toBe(0);
    expect(run.stdout + run.stderr).not.toMatch(/ada@|eve@|password_hash/);
    expect(run.stderr).toContain('email (hidden)');
  });

  test.each([
    ['a table that is not captured', ['public.audit_log'], 'no entry of `capture` takes a table public.audit_log'],
    ['a misspelt table', ['public.ordres'], 'did you mean public.orders?'],
    ['a misspelt column', ['orders', '--op', 'update', '--set', 'statsu=x'], 'did you mean status?'],
    ['a value of another type', ['orders', '--op', 'update', '--set', 'quantity=many'], 'is not of type integer'],
    ['NULL where none may be', ['orders', '--op', 'update', '--set', 'status'], 'is not null'],
    ['a condition that is none', ['orders', '--where', 'idd = 1'], 'column "idd" does not exist'],
    ['a second statement', ['orders', '--where', 'true); delete from orders; select (1=1'], 'multiple commands'],
    ['a condition that writes', ['orders', '--where', `nextval('customers_id_seq') > 0`], 'read-only transaction'],
  ])('%s is refused with a way out', async (_, args, expected) => {
    const { code, stdout, stderr } = await place.run('preview', ...args);
    expect(stderr).toContain(expected);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect((await server.query('select from orders', 'previews')).rowCount).toBe(2);
  });
});
