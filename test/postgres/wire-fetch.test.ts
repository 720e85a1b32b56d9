import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { connectClient } from '../../src/postgres/connection.ts';
import { fetchInto } from '../../src/postgres/wire-fetch.ts';
import { WireRows } from '../../src/postgres/wire-rows.ts';
import { texts } from '../support/chunk-tables.ts';

const ALL = Number.MAX_SAFE_INTEGER;

describe('a fetch past the parser of pg', () => {
  let server: EmbeddedPostgres;
  let client: pg.Client;

  beforeAll(async () => {
    server = await EmbeddedPostgres.start();
  });
  afterAll(async () => {
    await server?.stop();
  });
  beforeEach(async () => {
    client = await connectClient({ url: server.url(), name: 'wire' });
    return () => client.end();
  });

  async function declared(sql: string): Promise<void> {
    await client.query('begin');
    await client.query(`declare wire no scroll cursor for ${sql}`);
  }

  test.for([
    ['no columns', 'select from generate_series(1, 3)'],
    ['NULL beside empty text', `select null::text, '', null::int from generate_series(1, 3)`],
    [
      'characters of one to four bytes',
      `select n, repeat('aé€😀', n % 50), 'plain', 'é' from generate_series(1, 2000) n`,
    ],
    ['what COPY would escape', String.raw`select E'\t\n\r\\\b\x01\x7f', '\N', '\.' from generate_series(1, 10)`],
    [
      'widths of all sizes about a read',
      `select n, repeat('x', n * 997 % 131072), repeat('ü', n * 31 % 70000) from generate_series(1, 200) n`,
    ],
    ['values larger than many reads', `select n, repeat('0123456789', 300000) from generate_series(1, 4) n`],
  ] as const)('has the texts that pg has: %s', async ([, sql]) => {
    const expected = await texts(client, sql);
    await declared(sql);
    const rows = new WireRows(expected[0]?.length ?? 0);
    for (let count = 7; count === 7;) {
      count = await fetchInto(client, { portal: 'wire', rows: 7, into: rows, maxBytes: ALL });
    }
    await client.query('commit');
    expect([...rows]).toEqual(expected);
    expect(rows.length).toBe(expected.length);
    expect(rows.bytes).toBe(expected.flat().reduce((sum, cell) => sum + Buffer.byteLength(cell ?? ''), 0));
    expect(rows.at(rows.length)).toBeUndefined();
  });

  test('makes rows in any order, and values of what is no cell', async () => {
    await declared(`select n, 'ä' || n, 'behind' || n from generate_series(1, 5000) n`);
    const rows = new WireRows(2);
    expect(await fetchInto(client, { portal: 'wire', rows: 5_000, into: rows, maxBytes: ALL })).toBe(5_000);
    for (const row of [4_999, 0, 2_500, 1]) {
      expect(rows.at(row)).toEqual([`${row + 1}`, `ä${row + 1}`]);
      expect(rows.value(row, 2)).toBe(`behind${row + 1}`);
    }
  });

  test('serves rows of another shape when those before are done with', async () => {
    const rows = new WireRows(1);
    await declared(`select repeat('x', n) from generate_series(1, 3000) n`);
    await fetchInto(client, { portal: 'wire', rows: 3_000, into: rows, maxBytes: ALL });
    await client.query('commit');
    rows.reset(2);
    expect([rows.length, rows.bytes, rows.at(0)]).toEqual([0, 0, undefined]);
    await declared(`select n, 'ä' || n from generate_series(1, 3000) n`);
    await fetchInto(client, { portal: 'wire', rows: 3_000, into: rows, maxBytes: ALL });
    expect([rows.length, rows.at(0), rows.at(2_999)]).toEqual([3_000, ['1', 'ä1'], ['3000', 'ä3000']]);
  });

  test('keeps no row behind the limit of bytes, and counts it', async () => {
    await declared(`select repeat('x', 100) from generate_series(1, 1000)`);
    const rows = new WireRows(1);
    expect(await fetchInto(client, { portal: 'wire', rows: 900, into: rows, maxBytes: 250 })).toBe(900);
    expect(rows.length).toBe(3);
  });

  test('lets pg have notices, parameters and notifications between rows', async () => {
    const notices: string[] = [];
    client.on('notice', ({ message }) => notices.push(message ?? ''));
    await client.query(`create function pg_temp.loud(n int) returns text language plpgsql as $$ begin
      raise notice 'row %', n; perform set_config('application_name', 'row ' || n, false); return repeat('x', 10000) || n; end $$`);
    await declared('select pg_temp.loud(n) from generate_series(1, 50) n');
    const rows = new WireRows(1);
    await fetchInto(client, { portal: 'wire', rows: 50, into: rows, maxBytes: ALL });
    expect(rows.length).toBe(50);
    expect(notices).toEqual(Array.from({ length: 50 }, (_, n) => `row ${n + 1}`));
  });

  test('rejects with the error that ends the rows, and leaves the connection to pg', async () => {
    await declared('select 10 / (500 - n) from generate_series(1, 1000) n');
    const rows = new WireRows(1);
    const fetching = fetchInto(client, { portal: 'wire', rows: 1_000, into: rows, maxBytes: ALL });
    await expect(fetching).rejects.toMatchObject({ code: '22012' });
    await client.query('rollback');
    expect((await client.query('select 1 as fine')).rows).toEqual([{ fine: 1 }]);
    await expect(fetchInto(client, { portal: 'gone', rows: 1, into: rows, maxBytes: ALL })).rejects.toMatchObject({
      code: '34000',
    });
    expect((await client.query('select 1 as fine')).rows).toEqual([{ fine: 1 }]);
  });

  test('gives the connection back in the middle of the rows when the limit of time is over', async () => {
    const limited = new pg.Client({ connectionString: server.url(), query_timeout: 300 });
    limited.on('error', () => undefined);
    await limited.connect();
    try {
      await limited.query('begin');
      await limited.query(`declare wire no scroll cursor for
        select repeat('x', 5000), case when n % 40 = 0 then pg_sleep(0.1) end from generate_series(1, 300) n`);
      const rows = new WireRows(2);
      const fetching = fetchInto(limited, { portal: 'wire', rows: 300, into: rows, maxBytes: ALL });
      await expect(fetching).rejects.toThrow('Query read timeout');
      // Answered behind all of the rows.
      expect((await limited.query({ text: 'select 1 as fine', query_timeout: 5_000 } as pg.QueryConfig)).rows).toEqual([
        { fine: 1 },
      ]);
    } finally {
      await limited.end();
    }
  });

  test('rejects when the connection is lost between rows', async () => {
    const { rows: pids } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    await declared(
      `select repeat('x', 5000), case when n % 40 = 0 then pg_sleep(0.05) end from generate_series(1, 3000) n`,
    );
    const fetching = fetchInto(client, { portal: 'wire', rows: 3_000, into: new WireRows(2), maxBytes: ALL });
    await Promise.all([
      expect(fetching).rejects.toMatchObject({ code: '57P01' }),
      server.query(`select pg_terminate_backend(${pids[0]?.pid ?? 0})`),
    ]);
  });
});
