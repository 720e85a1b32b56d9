import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { TypeCatalog, type PgType } from '../../src/postgres/type-catalog.ts';
import { typeOid } from '../../src/postgres/values/type-oids.ts';
import { isMissing } from '../support/majors.ts';
import { typeCasesSetup } from '../support/type-cases.ts';

const majors: readonly PostgresMajor[] = [14, 18];

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`the type catalog of PostgreSQL ${major}`, () => {
    describeCatalog(major);
  });
}

function describeCatalog(major: PostgresMajor): void {
  let server: EmbeddedPostgres;
  let client: pg.Client;

  beforeAll(async () => {
    server = await EmbeddedPostgres.start({ major });
    client = new pg.Client({ connectionString: server.url() });
    await client.connect();
    await client.query(typeCasesSetup);
  });

  afterAll(async () => {
    await client?.end();
    await server?.stop();
  });

  async function typeNamed(types: TypeCatalog, name: string): Promise<PgType | undefined> {
    const { rows } = await client.query<{ oid: number }>('select to_regtype($1)::oid as oid', [name]);
    return types.get(rows[0]?.oid ?? 0);
  }

  test('describes each kind of type by what it is made of', async () => {
    const types = await TypeCatalog.load(client);
    expect(types.get(typeOid.int8)).toEqual({
      oid: 20,
      schema: 'pg_catalog',
      name: 'int8',
      kind: 'base',
      delimiter: ',',
      category: 'N',
      jsonCast: false,
    });
    const mood = await typeNamed(types, '"Odd.Schema".mood');
    expect(mood).toMatchObject({ schema: 'Odd.Schema', name: 'mood', kind: 'enum', category: 'E' });
    expect(mood?.oid).not.toBe((await typeNamed(types, 'mood'))?.oid);
    const amount = await typeNamed(types, 'amount');
    const below = await typeNamed(types, '"Odd.Schema".amount');
    expect(amount).toMatchObject({ kind: 'domain', baseOid: below?.oid });
    expect(types.baseOf(amount?.oid ?? 0)).toBe(typeOid.numeric);
    expect(await typeNamed(types, 'amount[]')).toMatchObject({ kind: 'array', elementOid: amount?.oid });
    expect(await typeNamed(types, 'box')).toMatchObject({ kind: 'base', delimiter: ';' });
    expect(await typeNamed(types, 'point')).not.toHaveProperty('elementOid');
    const range = await typeNamed(types, 'amount_range');
    expect(range).toMatchObject({ kind: 'range', subtypeOid: typeOid.numeric });
    expect(await typeNamed(types, 'amount_spans')).toMatchObject({ kind: 'multirange', subtypeOid: range?.oid });
    expect(await typeNamed(types, 'record')).toMatchObject({ kind: 'pseudo' });
    expect(await typeNamed(types, 'hstore')).toMatchObject({ kind: 'base', jsonCast: true });
    expect(await typeNamed(types, 'int2vector')).toMatchObject({ kind: 'base' });
  });

  test('lists a composite’s fields in order, without the dropped ones', async () => {
    const types = await TypeCatalog.load(client);
    expect((await typeNamed(types, 'point3'))?.fields).toEqual([
      { name: 'x', typeOid: 23 },
      { name: 'y', typeOid: 701 },
      { name: 'z', typeOid: 1700 },
      { name: 'label', typeOid: 25 },
    ]);
    expect(await typeNamed(types, 'empty_row')).toMatchObject({ kind: 'composite', fields: [] });
  });

  test('reads the same whatever type parsers the client has', async () => {
    const asText = { getTypeParser: () => (value: unknown) => value } as unknown as pg.CustomTypesConfig;
    const raw = new pg.Client({ connectionString: server.url(), types: asText });
    await raw.connect();
    try {
      const [one, other] = [await TypeCatalog.load(client), await TypeCatalog.load(raw)];
      expect(one.size).toBeGreaterThan(200);
      const oids = Array.from({ length: 20_000 }, (_, oid) => oid);
      expect(oids.map((oid) => other.get(oid))).toEqual(oids.map((oid) => one.get(oid)));
    } finally {
      await raw.end();
    }
  });

  test('holds the row types of tables only where something is made of them', async () => {
    await client.query(`
      create table by_column (a integer); create table by_array (b integer); create table by_domain (c integer);
      create table by_composite (d integer); create table by_view (e integer); create table by_nobody (f integer);
      create domain domain_of_row as by_domain;
      create type holds_row as (held by_composite[]);
      create table holder (one by_column, many by_array[]);
      create view holding_view as select v as row_of_table from by_view as v`);
    const before = await TypeCatalog.load(client);
    for (const name of ['by_column', 'by_array', 'by_domain', 'by_composite', 'by_view']) {
      expect(await typeNamed(before, name)).toMatchObject({ name, kind: 'composite', fields: [{ typeOid: 23 }] });
    }
    expect(await typeNamed(before, 'by_nobody')).toBeUndefined();
    expect(await typeNamed(before, 'by_nobody[]')).toBeUndefined();
    await client.query('alter table holder add column late by_nobody[]');
    const after = await TypeCatalog.load(client);
    expect(await typeNamed(after, 'by_nobody[]')).toMatchObject({ kind: 'array' });
    expect(await typeNamed(after, 'by_nobody')).toMatchObject({ fields: [{ name: 'f', typeOid: 23 }] });
  });

  test('does not grow with the number of tables', async () => {
    const before = await TypeCatalog.load(client);
    await client.query(`do $$ begin
      for n in 1..500 loop execute format('create table many_%s (id bigint primary key, note text)', n); end loop;
    end $$`);
    const after = await TypeCatalog.load(client);
    expect(after.size).toBe(before.size);
  });
}
