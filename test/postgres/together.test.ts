import type pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { createPool } from '../../src/postgres/connection.ts';
import { queryTogether } from '../../src/postgres/together.ts';

let server: EmbeddedPostgres;
let pool: pg.Pool;
let client: pg.PoolClient;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  pool = createPool(
    { url: await server.createDatabase('together'), name: 'together' },
    { max: 2, log: pino({ level: 'silent' }) },
  );
  client = await pool.connect();
});
afterAll(async () => {
  client?.release();
  await pool?.end();
  await server?.stop();
});

const number = { name: 'number', text: 'select n, n is null from (select $1::int as n) as given' };
const rows = { name: 'rows', text: `select word || $1 from unnest(array['é', '', null]) as word` };
const nothing = { name: 'nothing', text: 'select 1 where false', values: [] };

test('each statement has the rows that it returned, as text', async () => {
  const queries = [{ ...number, values: ['1'] }, { ...rows, values: ['€'] }, nothing, { ...number, values: [null] }];
  const answers = [[['1', 'f']], [['é€'], ['€'], [null]], [], [[null, 't']]];
  expect(await queryTogether(client, queries)).toEqual(answers);
  expect(await queryTogether(client, queries)).toEqual(answers);
});

test('behind one that fails none runs, and the connection goes on', async () => {
  const divided = { name: 'divided', text: 'select 1 / $1::int' };
  await client.query('create temp table seen (n int)');
  const seen = { name: 'seen', text: 'insert into seen values ($1)' };
  await client.query('begin');
  const all = [
    { ...seen, values: ['1'] },
    { ...divided, values: ['0'] },
    { ...seen, values: ['2'] },
  ];
  await expect(queryTogether(client, all)).rejects.toMatchObject({ code: '22012' });
  await expect(queryTogether(client, [nothing])).rejects.toMatchObject({ code: '25P02' });
  await client.query('rollback');
  expect(
    await queryTogether(client, [
      { ...seen, values: ['3'] },
      { ...divided, values: ['1'] },
    ]),
  ).toEqual([[], [['1']]]);
  expect((await client.query('select n from seen')).rows).toEqual([{ n: 3 }]);
});

test('one that the server does not understand fails when it is prepared, every time', async () => {
  const wrong = { name: 'wrong', text: 'select from nowhere', values: [] };
  await expect(queryTogether(client, [nothing, wrong])).rejects.toMatchObject({ code: '42P01' });
  await expect(queryTogether(client, [wrong])).rejects.toMatchObject({ code: '42P01' });
  expect(await queryTogether(client, [nothing])).toEqual([[]]);
});

test('pg may have prepared the same', async () => {
  await client.query({ name: 'both', text: 'select 1 as one' });
  expect(await queryTogether(client, [{ name: 'both', text: 'select 1 as one', values: [] }])).toEqual([[['1']]]);
  expect((await client.query({ name: 'both', text: 'select 1 as one' })).rows).toEqual([{ one: 1 }]);
});

test('a connection that is lost meanwhile fails it', async () => {
  const other = await pool.connect();
  try {
    const { rows: found } = await other.query<{ pid: number }>('select pg_backend_pid() as pid');
    const pid = found[0]?.pid;
    const sleeping = queryTogether(other, [{ name: 'sleep', text: 'select pg_sleep(60)', values: [] }]);
    sleeping.catch(() => undefined);
    // Not before it sleeps: a connection that is lost before the statement is sent fails otherwise.
    const asleep = `select from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'`;
    await vi.waitUntil(async () => (await client.query(asleep, [pid])).rowCount === 1, { timeout: 30_000 });
    await client.query('select pg_terminate_backend($1)', [pid]);
    await expect(sleeping).rejects.toMatchObject({ code: '57P01' });
  } finally {
    other.release(true);
  }
});
