import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { resolveTables } from '../../src/postgres/catalog.ts';
import { withClient } from '../../src/postgres/connection.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  await server.query(`
    create schema "Legacy.X"; create schema tenant_a; create schema tenant_b; create schema banyan;
    create table orders (id bigint primary key, note varchar(20), qty int not null, price numeric(10,2),
      dropped int, total numeric generated always as (qty * price) stored);
    alter table orders drop column dropped;
    create table "Legacy.X"."Order.Items" ("Id" int, "Größe" text, primary key ("Größe", "Id"));
    create table tenant_a.orders (id int primary key); create table tenant_b.orders (id int primary key);
    create table banyan.orders (id int primary key);
    create table by_index (a int not null, b int not null, c int);
    create unique index by_index_b on by_index (b) include (c); alter table by_index replica identity using index by_index_b;
    create table whole (a int, b text); alter table whole replica identity full;
    create table keyless (a int);
    create table deferred (a int primary key deferrable initially deferred);
    create table parted (id int, at date, primary key (id, at)) partition by range (at);
    create table parted_1 partition of parted for values from ('2026-01-01') to ('2027-01-01');
    create table parted_2 partition of parted for values from ('2027-01-01') to ('2028-01-01') partition by range (at);
    create table parted_2_leaf partition of parted_2 for values from ('2027-01-01') to ('2028-01-01');
    create view report as select * from orders; create unlogged table scratch (id int primary key)`);
});
afterAll(() => server.stop());

describe('resolveTables', () => {
  it('reads columns, key, identity, owner and generated columns of a table', async () => {
    const { entries, findings } = await resolve('public.orders');
    expect(findings).toEqual([]);
    expect(entries).toHaveLength(1);
    expect(entries[0]?.tables).toMatchObject([
      {
        schema: 'public',
        name: 'orders',
        kind: 'table',
        root: undefined,
        owner: 'postgres',
        owned: true,
        replicaIdentity: 'default',
        identityColumns: ['id'],
        primaryKey: ['id'],
        columns: [
          { name: 'id', typeOid: 20, typeModifier: -1, typeName: 'bigint', notNull: true, generated: undefined },
          { name: 'note', typeOid: 1043, typeModifier: 24, typeName: 'character varying(20)', notNull: false },
          { name: 'qty', typeOid: 23 },
          { name: 'price', typeName: 'numeric(10,2)' },
          { name: 'total', generated: 'stored' },
        ],
      },
    ]);
  });

  it('reads quoted, dotted and multi-byte names, and key columns in the key’s order', async () => {
    const { tables } = await resolve('"Legacy.X"."Order.Items"');
    expect(tables).toMatchObject([{ schema: 'Legacy.X', name: 'Order.Items', primaryKey: ['Größe', 'Id'] }]);
  });

  it('knows the columns of each replica identity', async () => {
    const { tables } = await resolve('public.by_index', 'public.whole', 'public.keyless', 'public.deferred');
    const identities = Object.fromEntries(
      tables.map((table) => [table.name, [table.replicaIdentity, ...table.identityColumns]]),
    );
    expect(identities).toEqual({
      by_index: ['index', 'b'],
      whole: ['full', 'a', 'b'],
      keyless: ['default'],
      // PostgreSQL takes no deferrable key for an identity.
      deferred: ['default'],
    });
  });

  it('matches patterns, never our own schema, partitions or what can not be published', async () => {
    const { entries } = await resolve('tenant_?.orders', '*.orders', 'public.*');
    const names = entries.map(({ tables }) => tables.map((table) => `${table.schema}.${table.name}`));
    expect(names[0]).toEqual(['tenant_a.orders', 'tenant_b.orders']);
    expect(names[1]).toEqual(['public.orders', 'tenant_a.orders', 'tenant_b.orders']);
    expect(names[2]).toEqual(
      ['by_index', 'deferred', 'keyless', 'orders', 'parted', 'whole'].map((name) => `public.${name}`),
    );
  });

  it('names each table once for all of its entries', async () => {
    const { entries, tables } = await resolve('public.orders', 'public.orders', '*.orders');
    expect(entries.map((entry) => entry.tables.length)).toEqual([1, 1, 3]);
    expect(tables).toHaveLength(3);
  });

  it('finds unknown tables with the nearest name, views, unlogged tables, partitions and patterns without a table', async () => {
    const { findings } = await resolve(
      'public.ordres',
      'public.report',
      'public.scratch',
      'public.parted_1',
      'nowhere.*',
    );
    expect(findings).toMatchObject([
      {
        code: 'TABLE_UNKNOWN',
        path: 'capture[0].table',
        message: expect.stringContaining('did you mean public.orders?'),
      },
      { code: 'TABLE_NOT_PUBLISHABLE', message: expect.stringContaining('is a view') },
      { code: 'TABLE_UNLOGGED', remedy: 'alter table "public"."scratch" set logged;' },
      { code: 'TABLE_IS_PARTITION', message: expect.stringContaining('partition of public.parted') },
      { code: 'PATTERN_WITHOUT_TABLES', severity: 'warning' },
    ]);
  });

  it('finds partitions whose replica identity is not their root’s (25d)', async () => {
    expect((await resolve('public.parted')).findings).toEqual([]);
    await server.query('alter table parted replica identity full; alter table parted_1 replica identity full');
    expect((await resolve('public.parted')).findings).toMatchObject([
      {
        code: 'PARTITION_IDENTITY_DIFFERS',
        subject: 'public.parted',
        remedy: 'alter table "public"."parted_2_leaf" replica identity full;',
      },
    ]);
    await server.query('alter table parted_2_leaf replica identity full');
    expect((await resolve('public.parted')).findings).toEqual([]);
    await server.query(
      `create unique index parted_key on parted (id, at); alter table parted replica identity using index parted_key`,
    );
    const { findings } = await resolve('public.parted');
    expect(findings).toHaveLength(2);
    for (const finding of findings) await server.query(finding.remedy ?? '');
    expect((await resolve('public.parted')).findings).toEqual([]);
  });

  it('says which tables the role may act for as their owner', async () => {
    await server.query(`create role reader login; grant usage on schema public to reader`);
    const { tables } = await withClient({ url: server.url('postgres', 'reader'), name: 'test' }, (client) =>
      resolveTables(client, config('public.orders').capture, { stateSchema: 'banyan' }),
    );
    expect(tables).toMatchObject([{ owner: 'postgres', owned: false }]);
  });
});

function config(...tables: string[]) {
  return configSchema.parse({
    name: 'test',
    legacy: { url: server.url() },
    capture: tables.map((table) => ({ table })),
  });
}

async function resolve(...tables: string[]) {
  return withClient({ url: server.url(), name: 'test' }, (client) =>
    resolveTables(client, config(...tables).capture, { stateSchema: 'banyan' }),
  );
}
