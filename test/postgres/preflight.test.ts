import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { withClient } from '../../src/postgres/connection.ts';
import { preflight } from '../../src/postgres/preflight.ts';

let server: EmbeddedPostgres;
let old: EmbeddedPostgres;

beforeAll(async () => {
  [server, old] = await Promise.all([
    EmbeddedPostgres.start({ settings: { max_slot_wal_keep_size: '40GB' } }),
    EmbeddedPostgres.start({ major: 14, settings: { max_replication_slots: '1', wal_sender_timeout: '0' } }),
  ]);
  for (const on of [server, old]) {
    await on.query(`create table orders (id int primary key, note text, secret text); create role app login`);
  }
});
afterAll(() => Promise.all([server.stop(), old.stop()]));

describe('preflight', () => {
  it('finds nothing where all is well', async () => {
    expect(await check(server, {})).toEqual([]);
  });

  it('finds a slot without a limit, an unlimited walsender, and no slot left', async () => {
    await old.query(`select pg_create_physical_replication_slot('standby')`);
    const findings = await check(old, {});
    expect(codes(findings)).toEqual(['SLOT_WAL_UNLIMITED', 'WAL_SENDER_TIMEOUT', 'NO_SLOT_LEFT']);
    await old.query(`select pg_drop_replication_slot('standby')`);
  });

  it('finds what the role may not do, and each remedy mends it', async () => {
    for (const on of [server, old]) {
      const before = await check(on, { user: 'app', capture: [{ table: 'public.orders', backfill: true }] });
      const found = codes(before).filter((code) => !['SLOT_WAL_UNLIMITED', 'WAL_SENDER_TIMEOUT'].includes(code));
      expect(found).toEqual([
        'ROLE_WITHOUT_REPLICATION',
        'ROLE_WITHOUT_CREATE',
        'TABLE_NOT_OWNED',
        'TABLE_NOT_READABLE',
      ]);
      for (const finding of before) {
        if (found.includes(finding.code)) await on.query(finding.remedy ?? '');
      }
      const after = await check(on, { user: 'app', capture: [{ table: 'public.orders', backfill: true }] });
      expect(after.filter((finding) => finding.severity === 'error')).toEqual([]);
      await on.query('drop publication banyan_test; drop owned by app cascade');
    }
  });

  it('finds partitions that a backfill could not read, and the remedy mends it', async () => {
    await server.query(`create table sales (id int primary key) partition by range (id);
      create table sales_a partition of sales for values from (1) to (10);
      create table sales_b partition of sales for values from (10) to (20);
      create role reader login replication; grant select on sales, sales_a to reader;
      create publication banyan_test for table sales with (publish_via_partition_root = true);
      grant create on database postgres to reader`);
    const unreadable = async (backfill: boolean) =>
      (await check(server, { user: 'reader', capture: [{ table: 'public.sales', backfill }] })).filter(
        ({ code }) => code === 'TABLE_NOT_READABLE',
      );
    expect(await unreadable(false)).toMatchObject([{ severity: 'warning', subject: 'public.sales' }]);
    const [finding, ...rest] = await unreadable(true);
    expect(rest).toEqual([]);
    expect(finding).toMatchObject({ severity: 'error', subject: 'public.sales' });
    expect(finding?.message).toContain('partition public.sales_b of public.sales');
    await server.query(finding?.remedy ?? '');
    expect(await unreadable(true)).toEqual([]);
    await server.query('drop publication banyan_test; drop owned by reader cascade; drop table sales');
  });

  it('finds tables whose policies would hide rows from a backfill, and the remedy mends it', async () => {
    await server.query(`create table secrets (id int primary key) partition by range (id);
      create table secrets_a partition of secrets for values from (1) to (10);
      create table own (id int primary key); create role guest login replication;
      alter table secrets_a enable row level security; alter table own enable row level security;
      alter table own owner to guest; grant select on secrets, secrets_a to guest;
      create publication banyan_test for table secrets, own with (publish_via_partition_root = true);
      grant create on database postgres to guest`);
    const hidden = async (table: string, backfill = true) =>
      (await check(server, { user: 'guest', capture: [{ table, backfill }] })).filter(
        ({ code }) => code === 'ROW_SECURITY_ACTIVE',
      );
    expect(await hidden('public.own')).toEqual([]);
    await server.query('alter table own force row level security');
    const [forced] = await hidden('public.own');
    expect(forced).toMatchObject({ severity: 'error', subject: 'public.own' });
    await server.query(forced?.remedy ?? '');
    expect(await hidden('public.own')).toEqual([]);
    expect(await hidden('public.secrets', false)).toEqual([]);
    const [found, ...rest] = await hidden('public.secrets');
    expect(rest).toEqual([]);
    expect(found).toMatchObject({ severity: 'error', subject: 'public.secrets' });
    expect(found?.message).toContain('secrets_a');
    await server.query(found?.remedy ?? '');
    expect(await hidden('public.secrets')).toEqual([]);
    await server.query(
      'drop publication banyan_test; drop owned by guest cascade; drop table secrets; drop role guest',
    );
  });

  it('finds unknown tables, missing identities and what a column list blocks', async () => {
    await server.query('create table keyless (a int)');
    const findings = await check(server, {
      capture: [
        { table: 'public.ordesr' },
        { table: 'public.keyless' },
        { table: 'public.orders', columnList: true, exclude: ['secret'] },
      ],
    });
    expect(codes(findings)).toEqual(['TABLE_UNKNOWN', 'COLUMN_LIST_BLOCKS_DDL', 'REPLICA_IDENTITY_MISSING']);
  });

  it('finds a slot that is not for us, one that a DBA has not made, and one that holds too much', async () => {
    await server.query(`select pg_create_logical_replication_slot('banyan_test', 'test_decoding')`);
    expect(codes(await check(server, {}))).toEqual(['SLOT_FOREIGN']);
    await server.query(`select pg_drop_replication_slot('banyan_test')`);
    expect(await check(server, { slot: { manage: false } })).toMatchObject([
      {
        code: 'SLOT_MISSING',
        remedy: expect.stringContaining(`pg_create_logical_replication_slot('banyan_test', 'pgoutput')`),
      },
    ]);
    await server.query(`select pg_create_logical_replication_slot('banyan_test', 'pgoutput')`);
    await server.query(`select pg_logical_emit_message(false, 'x', repeat('y', 3000000))`);
    expect(codes(await check(server, { walBudget: '1MB' }))).toEqual(['SLOT_OVER_BUDGET']);
    await server.query(`select pg_drop_replication_slot('banyan_test')`);
  });

  it('finds a replication connection that is refused', async () => {
    const config = parse(server, {});
    const findings = await withClient({ url: server.url(), name: 'test' }, (client) =>
      preflight(client, config, { connection: { url: 'postgresql://postgres@127.0.0.1:1/postgres', name: 'test' } }),
    );
    expect(findings).toMatchObject([{ code: 'REPLICATION_REFUSED', severity: 'error' }]);
  });
});

interface Part {
  readonly user?: string;
  readonly capture?: readonly Record<string, unknown>[];
  readonly slot?: Record<string, unknown>;
  readonly walBudget?: string;
}

function parse(on: EmbeddedPostgres, part: Part) {
  return configSchema.parse({
    name: 'test',
    legacy: {
      url: on.url('postgres', part.user),
      ...(part.slot === undefined ? {} : { slot: part.slot }),
      ...(part.walBudget === undefined ? {} : { walBudget: part.walBudget }),
    },
    capture: part.capture ?? [{ table: 'public.orders' }],
  });
}

async function check(on: EmbeddedPostgres, part: Part) {
  const config = parse(on, part);
  const connection = { url: config.legacy.url, name: 'test' };
  return withClient(connection, (client) => preflight(client, config, { connection }));
}

function codes(findings: readonly { readonly code: string }[]): string[] {
  return findings.map((finding) => finding.code);
}
