import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { type Leaf, leavesOf } from '../../src/postgres/backfill-facts.ts';
import { connectClient } from '../../src/postgres/connection.ts';
import { isMissing } from '../support/majors.ts';

const majors: readonly PostgresMajor[] = [14, 18];

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}`, () => {
    let server: EmbeddedPostgres;
    let client: pg.Client;

    beforeAll(async () => {
      server = await EmbeddedPostgres.start({ major, settings: { autovacuum: 'off' } });
      await server.query(`
        create schema "Old Data";
        create table plain (id int primary key, body text); create table child () inherits (plain);
        create table parted (id int, year int, region text, primary key (id, year, region)) partition by range (year);
        create table parted_2025 partition of parted for values from (2025) to (2026);
        create table parted_2026 partition of parted for values from (2026) to (2027) partition by list (region);
        create table "Old Data"."2026 EU" partition of parted_2026 for values in ('eu');
        create table parted_2026_us partition of parted_2026 for values in ('us');
        create table childless (id int primary key) partition by range (id)`);
      client = await connectClient({ url: server.url(), name: 'facts' });
    });
    afterAll(async () => {
      await client?.end();
      await server?.stop();
    });

    async function leaves(name: string): Promise<readonly Leaf[]> {
      const { rows } = await client.query<{ oid: number }>('select $1::text::regclass::oid::int8::float8 as oid', [
        name,
      ]);
      return leavesOf(client, rows[0]?.oid ?? 0);
    }

    async function number(sql: string): Promise<number> {
      const { rows } = await client.query<{ value: number }>(`select (${sql})::int8::float8 as value`);
      return rows[0]?.value ?? Number.NaN;
    }

    test('a table is its own only leaf, also where others inherit from it', async () => {
      expect(await leaves('plain')).toEqual([
        {
          oid: await number(`'plain'::regclass::oid`),
          schema: 'public',
          name: 'plain',
          filenode: await number(`pg_relation_filenode('plain')`),
          estimatedRows: 0,
          bytes: expect.any(Number),
          isEmpty: true,
          attached: undefined,
        },
      ]);
    });

    test('a partitioned table is its leaves of every level', async () => {
      const found = await leaves('parted');
      expect(found.map(({ schema, name }) => [schema, name])).toEqual([
        ['Old Data', '2026 EU'],
        ['public', 'parted_2025'],
        ['public', 'parted_2026_us'],
      ]);
      for (const leaf of found) {
        expect(leaf.oid).toBe(await number(`'"${leaf.schema}"."${leaf.name}"'::regclass::oid`));
        expect(leaf.filenode).toBe(await number(`pg_relation_filenode(${leaf.oid}::oid)`));
      }
      expect(await leaves('childless')).toEqual([]);
    });

    test('a partition has its rows as soon as it is attached, and none when it is gone', async () => {
      await client.query(`create table parted_2027 (like parted including all);
        insert into parted_2027 select n, 2027, 'eu' from generate_series(1, 100) n;
        alter table parted attach partition parted_2027 for values from (2027) to (2028); analyze parted_2027`);
      expect(await leaves('parted')).toContainEqual(
        expect.objectContaining({ name: 'parted_2027', estimatedRows: 100 }),
      );
      await client.query('alter table parted detach partition parted_2027; drop table parted_2027');
      expect(await leaves('parted')).toHaveLength(3);
    });

    test('a partition is known by the transactions that attached it, level by level', async () => {
      const attached = async () => (await leaves('parted')).find(({ name }) => name === '2026 EU')?.attached;
      const links = await client.query<{ xmin: string }>(
        `select xmin::text from pg_inherits where inhrelid in ('"Old Data"."2026 EU"'::regclass, 'parted_2026'::regclass)`,
      );
      const first = await attached();
      expect(first?.split('/').toSorted()).toEqual(links.rows.map(({ xmin }) => xmin).toSorted());
      await client.query('vacuum full');
      await client.query('vacuum freeze');
      expect(await attached()).toBe(first);
      await client.query('alter table parted detach partition parted_2026');
      await client.query('alter table parted attach partition parted_2026 for values from (2026) to (2027)');
      const again = await attached();
      expect(again).not.toBe(first);
      expect(again?.split('/')[0]).toBe(first?.split('/')[0]);
      // A table in the middle is not concerned with what is above it.
      const [leaf] = (await leaves('parted_2026')).filter(({ name }) => name === '2026 EU');
      expect(leaf?.attached).toBe(first?.split('/')[0]);
      expect(leaf?.isEmpty).toBe(true);
    });

    test('a table that is not there has none', async () => {
      expect(await leavesOf(client, 4_294_967_295)).toEqual([]);
    });

    test('rows are estimated by the pages where nobody analysed, and exact behind an analyse', async () => {
      await client.query(`create table counted (id int primary key, body text);
        insert into counted select n, repeat('x', 100) from generate_series(1, 10000) n`);
      const [raw] = await leaves('counted');
      expect(raw?.estimatedRows).toBeGreaterThan(3_000);
      expect(raw?.estimatedRows).toBeLessThan(30_000);
      expect(raw?.bytes).toBeGreaterThan(1_000_000);
      await client.query('analyze counted');
      expect((await leaves('counted'))[0]?.estimatedRows).toBe(10_000);
    });

    test('rows that came since the analyse are estimated by the pages that they made', async () => {
      await client.query(`create table grown (id int primary key, body text);
        insert into grown select n, repeat('x', 100) from generate_series(1, 1000) n; analyze grown;
        insert into grown select n, repeat('x', 100) from generate_series(1001, 5000) n`);
      const [leaf] = await leaves('grown');
      expect(leaf?.estimatedRows).toBeGreaterThan(4_500);
      expect(leaf?.estimatedRows).toBeLessThan(5_500);
      await client.query('truncate grown');
      expect(await leaves('grown')).toMatchObject([{ estimatedRows: 0 }]);
    });

    test('what is kept out of line counts to the bytes', async () => {
      await client.query(`create table documents (id int primary key, body text); alter table documents alter body set storage external;
        insert into documents select n, repeat('x', 100000) from generate_series(1, 50) n`);
      expect((await leaves('documents'))[0]?.bytes).toBeGreaterThan(5_000_000);
    });

    test('a rewrite and a truncate make another file', async () => {
      await client.query('create table moved (id int primary key); insert into moved values (1)');
      const files: (number | undefined)[] = [(await leaves('moved'))[0]?.filenode];
      for (const statement of ['vacuum full moved', 'alter table moved alter id type bigint', 'truncate moved']) {
        await client.query(statement);
        files.push((await leaves('moved'))[0]?.filenode);
      }
      expect(new Set(files).size).toBe(4);
      await client.query('insert into moved values (1)');
      await client.query('vacuum moved');
      expect((await leaves('moved'))[0]?.filenode).toBe(files.at(-1));
    });
  });
}
