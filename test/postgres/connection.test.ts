import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { clientConfig, connectClient, createPool, textTypes, withClient } from '../../src/postgres/connection.ts';
import { toDatabaseError } from '../../src/postgres/sqlstate.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

describe('a connection', () => {
  it('has the pinned settings whatever role and database say, its timeouts and its name', async () => {
    await server.query(
      `alter role postgres set timezone = 'Asia/Kolkata'; alter role postgres set bytea_output = 'escape';
       alter role postgres set intervalstyle = 'iso_8601'; alter role postgres set extra_float_digits = 0`,
    );
    const names = [
      'TimeZone',
      'bytea_output',
      'IntervalStyle',
      'extra_float_digits',
      'lock_timeout',
      'statement_timeout',
      'application_name',
    ];
    const { rows } = await withClient({ url: server.url(), name: 'shop', lockTimeoutMs: 1_500 }, (client) =>
      client.query(`select array_agg(current_setting(n)) as settings from unnest($1::text[]) n`, [names]),
    );
    expect(rows).toEqual([{ settings: ['UTC', 'hex', 'postgres', '1', '1500ms', '30s', 'banyan shop'] }]);
    await server.query(`alter role postgres reset all`);
  });

  it('keeps options of the URL', async () => {
    const url = `${server.url()}?options=-c%20work_mem%3D7MB&application_name=other`;
    const { rows } = await withClient({ url, name: 'shop' }, (client) =>
      client.query(`select current_setting('work_mem') as memory, current_setting('application_name') as name`),
    );
    expect(rows).toEqual([{ memory: '7MB', name: 'banyan shop' }]);
  });

  it('reads values as text where that is asked for', async () => {
    const { rows } = await withClient({ url: server.url(), name: 'shop' }, (client) =>
      client.query({
        text: `select 1::int as i, 'infinity'::timestamptz as t, '{"a":1}'::jsonb as j, true as b`,
        types: textTypes,
      }),
    );
    expect(rows).toEqual([{ i: '1', t: 'infinity', j: '{"a": 1}', b: 't' }]);
  });

  it('does not end the process when a pool loses idle and checked-out clients', async () => {
    const pool = createPool({ url: server.url(), name: 'shop' }, { log: pino({ level: 'silent' }) });
    const busy = await pool.connect();
    const idle = await pool.connect();
    idle.release();
    await server.query(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'banyan shop'`);
    await expect.poll(() => pool.idleCount).toBe(0);
    await expect(busy.query('select 1')).rejects.toThrow(/terminat|not queryable|connection error/);
    busy.release(true);
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await pool.end();
  });

  it('says what kind of failure it met, without the URL', async () => {
    const wrong = server.url('nowhere').replace('postgres@', 'postgres:secret@');
    const error = await connectClient({ url: wrong, name: 'shop' }).catch((error: unknown) => error);
    expect(error).toMatchObject({ kind: 'unknown', code: '3D000' });
    expect(JSON.stringify(error) + String(error)).not.toContain('secret');
  });
});

const url = 'postgresql://u:p@h/d';

function sslOf(query: string, mode?: 'disable' | 'require' | 'verify-full') {
  return clientConfig({ url: `${url}${query}`, name: 'x', tls: mode && { mode } }).ssl;
}

describe('TLS options', () => {
  it('are what legacy.tls says, before the URL', () => {
    expect(sslOf('?sslmode=require', 'disable')).toBe(false);
    expect(sslOf('?sslmode=require', 'require')).toEqual({ rejectUnauthorized: false });
    expect(sslOf('?sslmode=require', 'verify-full')).toEqual({});
  });

  it('are what the URL says, in the meaning that libpq gives it', () => {
    expect(sslOf('')).toBe(false);
    expect(sslOf('?sslmode=disable')).toBe(false);
    expect(sslOf('?sslmode=require')).toEqual({ rejectUnauthorized: false });
    expect(sslOf('?sslmode=verify-full')).toEqual({});
    expect(clientConfig({ url: `${url}?sslmode=require&connect_timeout=3`, name: 'x' }).connectionString).toBe(
      `${url}?connect_timeout=3`,
    );
  });

  it('refuse verify-ca without an authority, a file that is not there, and an unknown mode', () => {
    expect(() => sslOf('?sslmode=verify-ca')).toThrow(expect.objectContaining({ kind: 'config' }));
    expect(() => sslOf('?sslmode=verify-ca&sslrootcert=/nowhere.pem')).toThrow(/\/nowhere\.pem/);
    expect(() => sslOf('?sslmode=maybe')).toThrow(expect.objectContaining({ kind: 'config' }));
  });

  it('refuse what is no PostgreSQL URL, and do not quote it', () => {
    expect(() => clientConfig({ url: 'mysql://u:secret@h/d', name: 'x' })).toThrow(/does not begin with postgresql/);
    expect(() =>
      createPool({ url: 'postgresql://u:se%zz@h:port/d', name: 'x' }, { log: pino({ level: 'silent' }) }),
    ).toThrow(expect.objectContaining({ kind: 'config', message: expect.not.stringContaining('se%zz') }));
  });
});

describe('toDatabaseError', () => {
  it.each([
    ['select pg_terminate_backend(pg_backend_pid())', 'database-unavailable', '57P01'],
    [`set statement_timeout = '10ms'; select pg_sleep(5)`, 'database-unavailable', '57014'],
    ['select * from nowhere', 'unknown', '42P01'],
    [`set role nobody_at_all`, 'unknown', '22023'],
  ])('reads %s as %s', async (sql, kind, code) => {
    const error = await failure(sql);
    expect(toDatabaseError(error, 'testing')).toMatchObject({ kind, code });
  });

  it('knows a missing privilege', async () => {
    await server.query(`create role nobody_here; create table closed (i int)`);
    const error = await failure('set role nobody_here; select * from closed');
    expect(toDatabaseError(error, 'testing')).toMatchObject({ kind: 'database-privilege', code: '42501' });
  });

  it('never quotes a row: data exceptions, violations and raised messages lose their text', async () => {
    await server.query(`create table once (v text primary key); insert into once values ('hush-hush')`);
    const statements = [
      `insert into once values ('hush-hush')`,
      `select 'hush-hush'::int`,
      `do $$ begin raise exception 'hush-hush'; end $$`,
    ];
    for (const sql of statements) {
      const error = toDatabaseError(await failure(sql), 'testing');
      expect(`${error.message} ${error.stack} ${JSON.stringify(error.context)}`).not.toContain('hush-hush');
      expect(error.cause).toBeUndefined();
    }
  });
});

async function failure(sql: string): Promise<unknown> {
  return withClient({ url: server.url(), name: 'test' }, (client) => client.query(sql)).catch(
    (error: unknown) => error,
  );
}
