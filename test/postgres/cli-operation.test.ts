import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { openState } from '../../src/state/state.ts';
import { banyan, BanyanProcess, type Finished } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';

let server: EmbeddedPostgres;
let bus: LocalBus;
let folder: string;
beforeAll(async () => {
  [server, bus] = await Promise.all([EmbeddedPostgres.start(), startLocalBus()]);
  folder = await mkdtemp(join(tmpdir(), 'banyan-operation-'));
});
afterAll(async () => {
  await Promise.all([server.stop(), bus.close()]);
  await rm(folder, { recursive: true });
});

interface Shop {
  readonly name: string;
  query(sql: string): Promise<readonly Record<string, unknown>[]>;
  banyan(...args: readonly string[]): Promise<Finished>;
  /** A worker that streams. */
  worker(): Promise<BanyanProcess & { readonly url: string }>;
}

async function open(name: string, legacy = ''): Promise<Shop> {
  const url = await server.createDatabase(name);
  await server.query('create table orders (id bigint primary key, status text)', name);
  const file = join(folder, `${name}.yaml`);
  await writeFile(
    file,
    `name: ${name}
legacy: { url: "${url}"${legacy} }
bus: { type: local, endpoint: "${bus.url}" }
http: { port: 0 }
capture: [{ table: public.orders }]`,
  );
  return {
    name,
    query: async (sql) => (await server.query(sql, name)).rows as Record<string, unknown>[],
    banyan: (...args) => banyan([...args, '--config', file]),
    worker: async () => {
      const worker = new BanyanProcess(['run', '--config', file]);
      const url = await worker.said((stdout) => /"http":"(http:[^"]+)"/.exec(stdout)?.[1]);
      await eventually(async () => (await (await fetch(`${url}/readyz`)).text()) === 'streaming\n');
      // The table's first move is an event too, and must not be the one that a fault meets.
      await eventually(() => bus.recent().some(({ source }) => source === `banyan.${name}`));
      return Object.assign(worker, { url });
    },
  };
}

interface Letters {
  readonly parked: number;
  readonly groups: number;
  readonly letters: readonly { readonly id: number; readonly table: string; readonly behind: boolean }[];
}

async function listed(shop: Shop, ...more: readonly string[]): Promise<Letters> {
  const { stdout } = await shop.banyan('dead-letters', 'list', '--json', ...more);
  return JSON.parse(stdout) as Letters;
}

/** Writes two changes of one row while the bus refuses the first: one is parked, the other waits behind it. */
async function parkTwo(shop: Shop): Promise<Letters> {
  bus.faults.set({ failEntries: { next: 1, code: 'MalformedDetail' } });
  await shop.query(`insert into orders values (1, 'placed')`);
  await shop.query(`update orders set status = 'shipped' where id = 1`);
  return eventually(async () => {
    const letters = await listed(shop);
    return letters.parked === 2 && letters;
  });
}

function accepted(name: string): string[] {
  return bus
    .recent()
    .filter(({ source }) => source === `legacy.${name}`)
    .map(({ detailType }) => detailType);
}

describe('run', () => {
  test('drains at SIGTERM, exits with 0, and says what stays behind', async () => {
    const shop = await open('runs');
    await using worker = await shop.worker();
    await shop.query(`insert into orders values (1, 'placed')`);
    await eventually(() => accepted('runs').length === 1);
    worker.kill('SIGTERM');
    const { code, stdout } = await worker.finished();
    expect(code).toBe(0);
    expect(stdout.trimEnd().split('\n').at(-1)).toContain('slot banyan_runs still holds WAL');
    await shop.banyan('teardown', '--yes');
  });

  test('a second signal does not wait for what the first one waits for', async () => {
    const shop = await open('impatient');
    await using worker = await shop.worker();
    bus.faults.set({ hold: 'request' });
    try {
      await shop.query(`insert into orders values (1, 'placed')`);
      await eventually(() => bus.faults.held > 0);
      worker.kill('SIGTERM');
      // The readiness says that the first signal has arrived.
      await eventually(async () => (await (await fetch(`${worker.url}/readyz`)).text()).includes('stopping'));
      worker.kill('SIGTERM');
      expect((await worker.finished()).code).toBe(143);
    } finally {
      bus.faults.clear();
    }
    await eventually(async () => (await shop.banyan('teardown', '--yes')).code === 0);
  });

  test('a configuration that is wrong ends it with 2, before anything is touched', async () => {
    const { code, stderr } = await banyan(['run'], { env: { BANYAN_CONFIG_YAML: 'name: shop\nlegcy: 1' } });
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean `legacy`?');
  });
});

describe('dead-letters', () => {
  test('list, show and redrive: what was parked goes out in order, and what waits behind it too', async () => {
    const shop = await open('letters');
    await using worker = await shop.worker();
    const { letters, groups } = await parkTwo(shop);
    expect(groups).toBe(1);
    expect(letters.map(({ behind }) => behind)).toEqual([true, false]);
    const [, first] = letters;

    const list = await shop.banyan('dead-letters', 'list');
    expect(list.stdout).toMatch(/public\.orders .* event-rejected/);
    expect(list.stdout).toMatch(/public\.orders .* waits behind/);
    const shown = await shop.banyan('dead-letters', 'show', `${first?.id}`);
    expect(shown.stdout).toMatch(/^why +event-rejected MalformedDetail$/m);
    expect(shown.stdout).toContain('OrdersInserted');

    const redriven = await shop.banyan('dead-letters', 'redrive', `${first?.id}`);
    expect(redriven).toMatchObject({ code: 0, stdout: '✓ sent 2 events\n' });
    expect(accepted('letters')).toEqual(['OrdersInserted', 'OrdersUpdated']);
    expect((await listed(shop)).parked).toBe(0);
    expect((await listed(shop, '--all')).letters).toHaveLength(2);
    const again = await shop.banyan('dead-letters', 'redrive', `${first?.id}`);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain('is redriven already');
    worker.kill('SIGTERM');
    await worker.finished();
    await shop.banyan('teardown', '--yes');
  });

  test('redrive without a worker says so, and leaves no request behind', async () => {
    const shop = await open('alone');
    {
      await using worker = await shop.worker();
      await parkTwo(shop);
      worker.kill('SIGTERM');
      await worker.finished();
    }
    const { code, stderr } = await shop.banyan('dead-letters', 'redrive', '--all', '--timeout', '1');
    expect(code).toBe(3);
    expect(stderr).toContain('no worker took the request');
    expect(await shop.query('select count(*)::int as open from banyan.request where finished_at is null')).toEqual([
      { open: 0 },
    ]);

    const loss = await shop.banyan('dead-letters', 'discard', '--all');
    expect(loss.code).toBe(2);
    expect(loss.stderr).toContain('2 parked changes would be lost for good (2 of public.orders)');
    expect((await listed(shop)).parked).toBe(2);
    const discarded = await shop.banyan('dead-letters', 'discard', '--all', '--yes');
    expect(discarded).toMatchObject({ code: 0, stdout: '✓ discarded 2 letters\n' });
    await shop.banyan('teardown', '--yes');
  });

  test('a running worker is told of what is discarded, and its key flows again', async () => {
    const shop = await open('discards');
    await using worker = await shop.worker();
    await parkTwo(shop);
    expect((await shop.banyan('dead-letters', 'discard', '--table', 'public.orders', '--yes')).code).toBe(0);
    await shop.query('delete from orders where id = 1');
    await eventually(() => accepted('discards').length > 0);
    expect(accepted('discards')).toEqual(['OrdersDeleted']);
    worker.kill('SIGTERM');
    await worker.finished();
    await shop.banyan('teardown', '--yes');
  });

  test('before the first run there is nothing to list, and what to do is said', async () => {
    const shop = await open('never_ran');
    const { code, stderr } = await shop.banyan('dead-letters', 'list');
    expect(code).toBe(5);
    expect(stderr).toContain('banyan run');
  });
});

async function left(shop: Shop): Promise<Record<string, unknown> | undefined> {
  const [row] = await shop.query(
    `select (select count(*)::int from pg_replication_slots where slot_name = 'banyan_${shop.name}') as slots,
            (select count(*)::int from pg_publication) as publications,
            (select count(*)::int from pg_namespace where nspname = 'banyan') as schemas`,
  );
  return row;
}

describe('teardown', () => {
  test('refuses while a worker reads the slot, and while dead letters wait; then leaves nothing', async () => {
    const shop = await open('tears');
    {
      await using worker = await shop.worker();
      await parkTwo(shop);
      const active = await shop.banyan('teardown', '--yes');
      expect(active.code).toBe(3);
      expect(active.stderr).toContain('slot banyan_tears is read by banyan tears');
      worker.kill('SIGTERM');
      await worker.finished();
    }
    const asked = await shop.banyan('teardown');
    expect(asked.code).toBe(2);
    expect(asked.stderr).toContain('this would drop slot banyan_tears, publication banyan_tears');
    const waiting = await shop.banyan('teardown', '--yes');
    expect(waiting.code).toBe(5);
    expect(waiting.stderr).toContain('2 dead letters still wait');
    expect(await left(shop)).toEqual({ slots: 1, publications: 1, schemas: 1 });

    const done = await shop.banyan('teardown', '--yes', '--discard-parked');
    expect(done.code).toBe(0);
    expect(done.stdout).toContain('✓ dropped slot banyan_tears');
    expect(await left(shop)).toEqual({ slots: 0, publications: 0, schemas: 0 });
    const again = await shop.banyan('teardown', '--yes');
    expect(again.code).toBe(0);
    expect(again.stdout).toContain('- slot banyan_tears was not there');
    // The application's table is as it was.
    expect(await shop.query('select status from orders')).toEqual([{ status: 'shipped' }]);
  });

  test('asks about the dead letters of a schema that no worker of this version has opened', async () => {
    const shop = await open('aged');
    const pool = new pg.Pool({ connectionString: server.url('aged') });
    try {
      await openState({ pool, connector: 'aged', schema: 'banyan' });
    } finally {
      await pool.end();
    }
    await shop.query('drop table banyan.backfill_part, banyan.backfill_run');
    await shop.query('delete from banyan.migration where number > 1');
    await shop.query(`insert into banyan.dead_letter
        (connector, direction, event_id, entry, table_name, sequence, kind, message, behind, event)
      values ('aged', 'forward', '7-1-1', 0, 'public.orders', '0001', 'event-rejected', 'refused', false, '{}')`);
    const asked = await shop.banyan('teardown', '--yes');
    expect(asked.code).toBe(5);
    expect(asked.stderr).toContain('1 dead letter still wait');
    expect((await shop.banyan('teardown', '--yes', '--discard-parked')).code).toBe(0);
    expect(await left(shop)).toEqual({ slots: 0, publications: 0, schemas: 0 });
  });

  test('leaves to the DBA what manage: false says is the DBA’s, and says how it is dropped', async () => {
    const shop = await open('managed', ', slot: { manage: false }, publication: { manage: false }');
    await shop.query('create publication banyan_managed for table orders');
    await shop.query(`select pg_create_logical_replication_slot('banyan_managed', 'pgoutput')`);
    const { code, stdout } = await shop.banyan('teardown', '--yes');
    expect(code).toBe(0);
    expect(stdout).toContain(`select pg_drop_replication_slot('banyan_managed');`);
    expect(stdout).toContain('drop publication "banyan_managed";');
    expect(await left(shop)).toEqual({ slots: 1, publications: 1, schemas: 0 });
    await shop.query(`select pg_drop_replication_slot('banyan_managed')`);
  });
});
