import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { type ChunkLimits, type ChunkTable, readChunk, readKeys } from '../../src/postgres/chunk.ts';
import { connectClient } from '../../src/postgres/connection.ts';
import { isMissing } from '../support/majors.ts';
import { made, type MadeTable, readAll, sorted, texts } from '../support/chunk-tables.ts';
import { readDeclared } from '../support/declared-plans.ts';

const majors: readonly PostgresMajor[] = [14, 18];
const wide: ChunkLimits = { rows: 1_000, bytes: 1_000_000 };

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}`, () => {
    let server: EmbeddedPostgres;
    let client: pg.Client;

    beforeAll(async () => {
      server = await EmbeddedPostgres.start({ major });
      client = await connectClient({ url: server.url(), name: 'chunks' });
    });
    afterAll(async () => {
      await client?.end();
      await server?.stop();
    });

    test('leaves rows of child tables to the children', async () => {
      const table = await made(client, 'parent', 'id int primary key');
      await client.query(
        'create table child () inherits (parent); insert into parent values (1); insert into child values (2)',
      );
      expect(await readAll(client, table, wide)).toEqual([['1']]);
    });

    test('an empty table is at its end at once', async () => {
      const table = await made(client, 'nothing', 'id int primary key');
      const chunk = await readChunk(client, table, { after: undefined, limits: wide, where: undefined });
      expect([...chunk.rows]).toEqual([]);
      expect(chunk).toMatchObject({ bytes: 0, last: undefined, atEnd: true });
    });

    test('rows that a policy hides are an error, and no end of the table', async () => {
      const table = await made(client, 'guarded', 'id int primary key');
      await client.query(`insert into guarded values (1), (2); alter table guarded enable row level security;
        create policy first_only on guarded using (id = 1); create role reader login; grant select on guarded to reader`);
      const reader = await connectClient({ url: server.url('postgres', 'reader'), name: 'reader' });
      try {
        const request = { after: undefined, limits: wide, where: undefined };
        await expect(readChunk(reader, table, request)).rejects.toMatchObject({ code: '42501' });
        await client.query('alter role reader bypassrls');
        expect([...(await readChunk(reader, table, request)).rows]).toEqual([['1'], ['2']]);
      } finally {
        await reader.end();
      }
    });

    describe('a condition', () => {
      let table: MadeTable;

      beforeAll(async () => {
        table = await made(client, 'conditional', 'id int primary key, tenant text');
        await client.query(`insert into conditional select n, 'tenant ' || n % 3 from generate_series(1, 30) n`);
      });

      test.for([
        ['binds weaker than what stands around it', `tenant = 'tenant 0' or tenant = 'tenant 1'`, 20],
        ['ends with a comment', `id > 10 -- and so on`, 20],
        ['holds a comment that looks open', `id > 10 /* not ) closed ' */`, 20],
        ['holds quotes and what looks like a parameter', `tenant <> '$1 ''$2''' and "tenant" like 'tenant%'`, 30],
        ['asks another table', `id in (select max(id) from conditional c where c.tenant = conditional.tenant)`, 3],
        ['takes nothing', `false`, 0],
      ] as const)('may be one that %s', async ([, where, count]) => {
        const rows = await readAll(client, table, { ...wide, rows: 4 }, where);
        const expected = await texts(client, `select * from conditional where (${where}\n) order by id`);
        expect(rows).toEqual(expected);
        expect(rows).toHaveLength(count);
        const ids = expected.map(([id]) => [String(id)]);
        expect(sorted((await readKeys(client, table, [...ids, ['1']], { where })).rows)).toEqual(
          sorted(await texts(client, `select * from conditional where (${where}\n)`)),
        );
      });

      test('is asked about so many rows at a time, and the next chunk begins behind them', async () => {
        const limits = { ...wide, rows: 8 };
        const ends: unknown[] = [];
        for (let after: readonly string[] | undefined; ;) {
          const chunk = await readChunk(client, table, { after, limits, where: 'id in (3, 29)' });
          ends.push([chunk.rows.length, chunk.lookedAt, chunk.last, chunk.atEnd]);
          if (chunk.atEnd) break;
          after = chunk.last;
        }
        expect(ends).toEqual([
          [1, 8, ['8'], false],
          [0, 8, ['16'], false],
          [0, 8, ['24'], false],
          [1, 1, ['29'], true],
        ]);
      });

      test('takes no more rows than a chunk may have, whatever number it is asked about', async () => {
        const limits = { ...wide, rows: 5, lookedAt: 20 };
        const ends: unknown[] = [];
        for (let after: readonly string[] | undefined; ;) {
          const chunk = await readChunk(client, table, { after, limits, where: 'id > 18' });
          ends.push([chunk.rows.length, chunk.lookedAt, chunk.last, chunk.atEnd]);
          if (chunk.atEnd) break;
          after = chunk.last;
        }
        expect(ends).toEqual([
          [2, 20, ['20'], false],
          [5, 5, ['25'], false],
          [5, 5, ['30'], false],
          [0, 0, undefined, true],
        ]);
      });

      test('is asked about so many pages at a time where there is no key', async () => {
        const heap = await made(client, 'heap', 'id int, body text');
        await client.query(`insert into heap select n, repeat('x', 1000) from generate_series(1, 70) n`);
        const limits = { ...wide, rows: 100 };
        const where = 'id in (1, 7, 8, 70)';
        const first = await readChunk(client, heap, { after: undefined, limits, where });
        expect(first).toMatchObject({ lookedAt: 100, last: ['(2,0)'], atEnd: false });
        expect(await readAll(client, heap, limits, where)).toHaveLength(4);
        expect(await readAll(client, heap, limits, 'true')).toHaveLength(70);
      });

      test.for([undefined, ['3']])('is one condition and no more, behind %s', async (after) => {
        const where = `true) order by id; commit; create table left_behind (id int); select from conditional where (true`;
        await expect(readChunk(client, table, { after, limits: wide, where })).rejects.toMatchObject({ code: '42601' });
        const { rows } = await client.query(`select to_regclass('left_behind') as found`);
        expect(rows).toEqual([{ found: null }]);
      });

      test('can not write', async () => {
        await client.query(`create function write_it(int) returns bool language plpgsql as $$
          begin insert into conditional values (1000 + $1); return true; end $$`);
        const reading = readChunk(client, table, { after: undefined, limits: wide, where: 'write_it(id)' });
        await expect(reading).rejects.toMatchObject({ code: '25006' });
        await idle();
      });
    });

    describe('limits', () => {
      test('end a chunk with the row that reaches the bytes, however wide the rows before it were', async () => {
        const table = await made(client, 'documents', 'id int primary key, body text');
        await client.query(`alter table documents alter body set storage external;
          insert into documents select n, 'narrow' from generate_series(1, 2000) n;
          insert into documents select n, repeat('x', 100000) from generate_series(2001, 2300) n`);
        const limits = { rows: 10_000, bytes: 250_000 };
        const counts: number[] = [];
        for (let after: readonly string[] | undefined; ;) {
          const chunk = await readChunk(client, table, { after, limits, where: undefined });
          counts.push(chunk.rows.length);
          expect(chunk.bytes).toBeLessThan(limits.bytes + 100_010);
          expect(chunk.bytes).toBe([...chunk.rows].flat().reduce((sum, cell) => sum + String(cell).length, 0));
          if (chunk.atEnd) break;
          after = chunk.last;
        }
        expect(counts).toEqual([2_003, ...Array.from({ length: 99 }, () => 3), 0]);
      });

      test('narrower than one row read that one', async () => {
        const table = await made(client, 'one_by_one', 'id int primary key, body text');
        await client.query(`insert into one_by_one select n, repeat('x', 5000) from generate_series(1, 3) n`);
        const chunk = await readChunk(client, table, {
          after: ['1'],
          limits: { rows: 100, bytes: 10 },
          where: undefined,
        });
        expect(Array.from(chunk.rows, ([id]) => id)).toEqual(['2']);
        expect(chunk).toMatchObject({ last: ['2'], atEnd: false });
        expect(await readAll(client, table, { rows: 100, bytes: 10 })).toHaveLength(3);
      });

      test('of rows are kept to the row', async () => {
        const table = await made(client, 'many', 'id int primary key');
        await client.query('insert into many select generate_series(1, 12345)');
        for (const rows of [1, 49, 50, 51, 250, 5_000, 12_344]) {
          const chunk = await readChunk(client, table, {
            after: undefined,
            limits: { rows, bytes: 1e9 },
            where: undefined,
          });
          expect(chunk.rows).toHaveLength(rows);
          expect(chunk).toMatchObject({ last: [`${rows}`], atEnd: false });
        }
        expect(await readAll(client, table, { rows: 5_000, bytes: 1e9 })).toHaveLength(12_345);
      });
    });

    describe('a table without a key', () => {
      let table: MadeTable;

      beforeAll(async () => {
        table = await made(client, 'keyless', 'id int, note text');
        await client.query(`insert into keyless select n, 'row ' || n from generate_series(1, 3000) n;
          delete from keyless where id % 3 = 0; analyze keyless`);
      });

      test('is read once, in its physical order, without reading again what is behind', async () => {
        const plans = await readDeclared(client, async () => {
          const rows = await readAll(client, table, { rows: 300, bytes: 1e9 });
          expect(rows).toEqual(await texts(client, 'select * from keyless order by ctid'));
          expect(rows).toHaveLength(2_000);
        });
        expect(plans).toHaveLength(7);
        for (const plan of plans.slice(1)) expect(plan).toContain('Tid Range Scan');
        for (const plan of plans) expect(plan).not.toContain('Sort');
      });

      test('ends a chunk with the row that reaches the bytes', async () => {
        const rows = await readAll(client, table, { rows: 10_000, bytes: 500 });
        expect(rows).toEqual(await texts(client, 'select * from keyless order by ctid'));
      });

      test('takes a condition', async () => {
        const rows = await readAll(client, table, { rows: 100, bytes: 1e9 }, 'id > 2900 or id < 10 -- and so on');
        expect(rows.map(([id]) => Number(id))).toEqual(
          Array.from({ length: 3_000 }, (_, n) => n + 1).filter((id) => id % 3 !== 0 && (id > 2900 || id < 10)),
        );
      });

      test('shows which file it was read from, which is another one behind a rewrite', async () => {
        const request = { after: undefined, limits: wide, where: undefined };
        const { filenode } = await readChunk(client, table, request);
        await client.query('delete from keyless where id < 100');
        await client.query('vacuum keyless');
        expect((await readChunk(client, table, request)).filenode).toBe(filenode);
        await client.query('vacuum full keyless');
        const { rows } = await client.query(`select pg_relation_filenode('keyless')::int8::float8 as filenode`);
        const rewritten = await readChunk(client, table, request);
        expect(rewritten.filenode).not.toBe(filenode);
        expect(rows).toEqual([{ filenode: rewritten.filenode }]);
      });
    });

    describe('the plan', () => {
      test.for([
        ['one column', 'id int, note text, primary key (id)', `n, 'note'`, ['10000']],
        [
          'several columns',
          'a text, b int, note text, primary key (a, b)',
          `(n % 100)::text, n, 'note'`,
          ['50', '10000'],
        ],
        [
          'text of another collation',
          'id text collate "en-x-icu" primary key, note text',
          `'key ' || n, 'note'`,
          ['key 500'],
        ],
      ] as const)(
        'goes by the index of %s, for the first chunk, a later one and single keys',
        async ([, columns, values, after]) => {
          const table = await made(client, 'analysed', columns);
          await client.query(`insert into analysed select ${values} from generate_series(1, 20000) n`);
          await client.query('analyze analysed');
          const limits = { rows: 500, bytes: 1e9 };
          const plans = await readDeclared(client, async () => {
            await readChunk(client, table, { after: undefined, limits, where: undefined });
            await readChunk(client, table, { after, limits, where: undefined });
            await readKeys(client, table, [after, after], { where: undefined });
          });
          expect(plans).toHaveLength(3);
          for (const plan of plans) {
            expect(plan).toContain('analysed_pkey');
            expect(plan).not.toContain('Seq Scan');
          }
          for (const plan of plans.slice(0, 2)) expect(plan).not.toContain('Sort');
          expect(plans[1]).toMatch(/Index Cond: .*>/);
        },
      );
    });

    describe('a transaction', () => {
      test('is read only, repeatable, and closed again', async () => {
        const table = await made(client, 'seen', 'id int primary key, settings text');
        await client.query(`insert into seen values (1, null)`);
        await client.query(`create function settings() returns bool language sql as
          $$ select current_setting('transaction_isolation') = 'repeatable read' and current_setting('transaction_read_only') = 'on' $$`);
        expect(await readAll(client, table, wide, 'settings()')).toHaveLength(1);
        await idle();
      });

      test('shows the snapshot that its rows are of', async () => {
        const table = await made(client, 'shown', 'id int primary key');
        const other = await connectClient({ url: server.url(), name: 'other' });
        try {
          await other.query('begin');
          await other.query('insert into shown values (1)');
          const { rows } = await other.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
          const xid = Number(BigInt(rows[0]?.xid ?? '') % 2n ** 32n);
          const before = await readChunk(client, table, { after: undefined, limits: wide, where: undefined });
          expect([...before.rows]).toEqual([]);
          expect([before.snapshot.isInvisible(xid), before.snapshot.isOver(xid)]).toEqual([true, false]);
          await other.query('commit');
          const behind = await readChunk(client, table, { after: undefined, limits: wide, where: undefined });
          expect([...behind.rows]).toEqual([['1']]);
          expect([behind.snapshot.isInvisible(xid), behind.snapshot.isOver(xid)]).toEqual([false, true]);
        } finally {
          await other.end();
        }
      });

      test.for([
        ['a column that is gone', (table: ChunkTable) => ({ ...table, columns: ['id', 'gone'] }), '42703'],
        ['a table that is gone', (table: ChunkTable) => ({ ...table, name: 'gone' }), '42P01'],
        [
          'a key of another type',
          (table: ChunkTable) => ({ ...table, key: [{ name: 'id', typeName: 'uuid' }] }),
          '42883',
        ],
      ] as const)('is closed behind %s', async ([, wrong, code]) => {
        const table = await made(client, 'erring', 'id int primary key');
        const reading = readChunk(client, wrong(table), { after: ['5'], limits: wide, where: undefined });
        await expect(reading).rejects.toMatchObject({
          code,
          message: expect.stringContaining('reading a chunk of public.'),
        });
        await idle();
        expect(await readAll(client, table, wide)).toEqual([]);
      });

      test('ends with the statement limit of its session, in a later fetch too', async () => {
        const table = await made(client, 'slow', 'id int primary key');
        await client.query('insert into slow select generate_series(1, 400)');
        await client.query(`create function late(int) returns bool language sql volatile as
          $$ select case when $1 > 100 then pg_sleep(30) is not null else true end $$`);
        const limited = await connectClient({ url: server.url(), name: 'limited', statementTimeoutMs: 300 });
        try {
          const reading = readChunk(limited, table, { after: undefined, limits: wide, where: 'late(id)' });
          await expect(reading).rejects.toMatchObject({ code: '57014' });
          expect((await limited.query('select 1 as fine')).rows).toEqual([{ fine: 1 }]);
        } finally {
          await limited.end();
        }
      });

      test('never quotes a key in its error', async () => {
        const table = await made(client, 'secret', 'id int primary key');
        const reading = readChunk(client, table, { after: ['4711-secret'], limits: wide, where: undefined });
        const error = await reading.then(
          () => undefined,
          (reason: unknown) => reason as Error,
        );
        expect(error?.message).toContain('reading a chunk of public.secret');
        expect(error?.message).not.toContain('4711-secret');
      });
    });

    /** No transaction of ours is open. */
    async function idle(): Promise<void> {
      const { rows } = await server.query(
        `select state from pg_stat_activity where application_name = 'banyan chunks' and state <> 'idle'`,
      );
      expect(rows).toEqual([]);
    }
  });
}
