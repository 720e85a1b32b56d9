import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { leavesOf } from '../../src/postgres/backfill-facts.ts';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { connectClient } from '../../src/postgres/connection.ts';
import { describeWriter, remaining, writersOf } from '../../src/postgres/writers.ts';
import { isMissing } from '../support/majors.ts';
import { eventually } from '../support/eventually.ts';

const majors: readonly PostgresMajor[] = [14, 18];

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}, a table's writers`, () => {
    let server: EmbeddedPostgres;
    let ours: pg.Client;
    const others: pg.Client[] = [];

    beforeAll(async () => {
      server = await EmbeddedPostgres.start({ major, settings: { max_prepared_transactions: '4' } });
      await server.query(`
        create table orders (id int primary key, note text);
        create table items (id int primary key, order_id int references orders);
        create table parted (id int, part int, primary key (id, part)) partition by list (part);
        create table parted_1 partition of parted for values in (1);
        create table parted_2 partition of parted for values in (2);
        insert into orders select generate_series(1, 10)`);
      ours = await connectClient({ url: server.url(), name: 'writers' });
    });
    afterEach(async () => {
      await Promise.all(others.splice(0).map((client) => client.end()));
      // A session's locks outlive its connection by a moment.
      await eventually(async () => (await found('orders', 'items', 'parted_1', 'parted_2')).length === 0);
    });
    afterAll(async () => {
      await ours?.end();
      await server?.stop();
    });

    async function transaction(
      sql: string,
      options: { application?: string; database?: string } = {},
    ): Promise<pg.Client> {
      const client = new pg.Client({
        connectionString: server.url(options.database),
        application_name: options.application ?? 'legacy app',
      });
      await client.connect();
      others.push(client);
      await client.query(`begin; ${sql}`);
      return client;
    }

    async function oidsOf(...names: readonly string[]): Promise<number[]> {
      const { rows } = await ours.query<{ oid: number }>(
        'select name::regclass::oid::int8::float8 as oid from unnest($1::text[]) as name',
        [names],
      );
      return rows.map(({ oid }) => oid);
    }

    async function found(...names: readonly string[]) {
      return writersOf(ours, await oidsOf(...names));
    }

    test.for([
      'insert into orders values (100)',
      'update orders set note = null where id = 1',
      'delete from orders where false',
      'truncate orders cascade',
      'alter table orders add more int',
      'lock table orders in exclusive mode',
      'savepoint inner_one; insert into orders values (101); release inner_one',
    ])('are those whose transaction did: %s', async (sql) => {
      const client = await transaction(sql);
      expect(await found('orders')).toEqual([
        {
          transaction: expect.stringMatching(/^\d+\/\d+$/),
          xids: await xidsOf(client),
          pid: await pidOf(client),
          role: 'postgres',
          applicationName: 'legacy app',
          state: 'idle in transaction',
          seconds: expect.any(Number),
        },
      ]);
      await client.query('rollback');
      expect(await found('orders')).toEqual([]);
    });

    test.for([
      'select from orders',
      'select from orders for update',
      'lock table orders in share mode',
      'insert into items values (1, 1)',
      'create table elsewhere (id int); insert into elsewhere values (1)',
    ])('are not those whose transaction only did: %s', async (sql) => {
      await transaction(sql);
      expect(await found('orders')).toEqual([]);
    });

    test('are many, each transaction once, of all tables that are asked for', async () => {
      const one = await transaction('insert into orders values (100); insert into items values (100, 100)');
      const two = await transaction('update orders set note = null where id = 3');
      const writers = await found('orders', 'items');
      expect(new Set(writers.map(({ pid }) => pid))).toEqual(new Set([await pidOf(one), await pidOf(two)]));
      expect(writers).toHaveLength(2);
      expect(new Set(writers.map(({ transaction }) => transaction)).size).toBe(2);
      expect(await found('items')).toHaveLength(1);
      expect(await writersOf(ours, [])).toEqual([]);
    });

    test('have another transaction when the same session writes again', async () => {
      const client = await transaction('insert into orders values (100)');
      const [first] = await found('orders');
      await client.query('rollback; begin; insert into orders values (100)');
      const [second] = await found('orders');
      expect(second?.pid).toBe(first?.pid);
      expect(second?.transaction).not.toBe(first?.transaction);
    });

    test('are not those who wait for the table, nor ourselves', async () => {
      const holder = await transaction('lock table orders in access exclusive mode');
      const waiter = new pg.Client({ connectionString: server.url() });
      await waiter.connect();
      others.push(waiter);
      const waiting = waiter.query('insert into orders values (200)');
      const [oid] = await oidsOf('orders');
      await eventually(async () => {
        const { rows } = await server.query(`select from pg_locks where relation = ${oid} and not granted`);
        return rows.length === 1;
      });
      expect((await found('orders')).map(({ pid }) => pid)).toEqual([await pidOf(holder)]);
      await holder.query('rollback');
      await waiting;
      await server.query('delete from orders where id = 200');
      await ours.query('begin; insert into orders values (300)');
      try {
        expect(await found('orders')).toEqual([]);
      } finally {
        await ours.query('rollback');
      }
    });

    test('may be prepared transactions, whose session is gone', async () => {
      const client = await transaction('insert into orders values (100)');
      await client.query(`prepare transaction 'left behind'`);
      await client.end();
      try {
        const writers = await found('orders');
        expect(writers).toMatchObject([{ transaction: expect.any(String), pid: undefined }]);
        expect(writers.map(describeWriter)).toEqual(['a prepared transaction (see pg_prepared_xacts)']);
      } finally {
        await server.query(`rollback prepared 'left behind'`);
      }
      expect(await found('orders')).toEqual([]);
    });

    test('are known again when they were prepared meanwhile, and others are not', async () => {
      const client = await transaction(
        'insert into orders values (100); savepoint one; insert into orders values (101)',
      );
      const before = await found('orders');
      await client.query(`prepare transaction 'on its way'`);
      await transaction('insert into orders values (102)');
      try {
        const now = await found('orders');
        expect(now).toHaveLength(2);
        const [left, ...others] = remaining(before, now);
        expect(left?.pid).toBeUndefined();
        expect(others).toEqual([]);
        expect(before[0]?.xids).toHaveLength(2);
        expect(before[0]?.xids).toContain(left?.xids[0]);
        // As servers before 14.1 show it.
        expect(
          remaining(
            before.map((each) => ({ ...each, transaction: '-1/1' })),
            now,
          ),
        ).toEqual([left]);
      } finally {
        await server.query(`rollback prepared 'on its way'`);
      }
      expect(remaining(before, await found('orders'))).toEqual([]);
    });

    test('of one partition hold that one, whichever way they wrote to it', async () => {
      await transaction('insert into parted_1 values (1, 1)');
      await transaction('insert into parted values (2, 2)');
      const [root = 0] = await oidsOf('parted');
      const leaves = (await leavesOf(ours, root)).map(({ oid }) => oid);
      expect(await writersOf(ours, leaves)).toHaveLength(2);
      expect(await found('parted_1')).toHaveLength(1);
      expect(await found('parted_2')).toHaveLength(1);
    });

    test('of another database are none, even where a table there has the same number', async () => {
      // A template must have no sessions.
      await ours.end();
      await server.createDatabase('copy', 'template postgres');
      ours = await connectClient({ url: server.url(), name: 'writers' });
      const there = await transaction('insert into orders values (100)', { database: 'copy' });
      const { rows } = await there.query<{ oid: number }>(`select 'orders'::regclass::oid::int8::float8 as oid`);
      expect(await oidsOf('orders')).toEqual([rows[0]?.oid]);
      expect(await found('orders')).toEqual([]);
    });

    test('are seen by a role that may nothing, and described with what it may know', async () => {
      await server.query('create role nobody_special login');
      const limited = await connectClient({ url: server.url('postgres', 'nobody_special'), name: 'limited' });
      try {
        const client = await transaction('insert into orders values (100)');
        const writers = await writersOf(limited, await oidsOf('orders'));
        const pid = await pidOf(client);
        expect(writers).toMatchObject([{ pid, role: 'postgres' }]);
        expect(writers.map(describeWriter)).toEqual([
          expect.stringMatching(`^pid ${pid}, role postgres(, application legacy app)?$`),
        ]);
        const known = await found('orders');
        expect(known.map(describeWriter)).toEqual([
          expect.stringMatching(`^pid ${pid}, role postgres, application legacy app, idle in transaction for \\d+ s$`),
        ]);
      } finally {
        await limited.end();
      }
    });
  });
}

async function pidOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid ?? 0;
}

/** As the session itself knows them. */
async function xidsOf(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ xid: string }>(
    `select transactionid::text as xid from pg_locks where pid = pg_backend_pid() and locktype = 'transactionid' order by 1`,
  );
  return rows.map(({ xid }) => xid);
}
