import pg from 'pg';
import { expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { migrationTables } from '../../src/progress/tables.ts';
import { usesOf } from '../../src/progress/uses.ts';
import { openState } from '../../src/state/state.ts';
import { eventually } from '../support/eventually.ts';
import { copyForStandby } from '../support/standby.ts';

test('counters that a standby has by a copy of its files say nothing of the primary before it was promoted', async () => {
  const primary = await EmbeddedPostgres.start({ settings: { wal_level: 'logical' } });
  try {
    const url = await primary.createDatabase('shop');
    await primary.query('create table orders (id int primary key); insert into orders values (1)', 'shop');
    const yaml = { name: 'shop', legacy: { url }, bus: { type: 'local' }, capture: [{ table: 'public.orders' }] };
    const { config } = await parseConfig(JSON.stringify(yaml), { file: undefined, env: {} });
    /** What is known of the reads by the server of that URL, where the state is as well. */
    const look = async (at: string) => {
      const pool = new pg.Pool({ connectionString: at, max: 2 });
      pool.on('error', () => undefined);
      try {
        const state = await openState({ pool, connector: 'shop', schema: 'banyan' });
        const tables = await migrationTables(pool, config);
        return (await usesOf({ state, pool, config, tables, stages: [] })).reads.get('public.orders');
      } finally {
        await pool.end();
      }
    };
    await look(url);
    await using copy = await copyForStandby(primary);
    const standby = await copy.start();
    const known = await look(url);
    // What the primary saw after that is lost with it.
    await primary.query('select * from orders', 'shop');
    await eventually(async () => {
      const { rows } = await primary.query(
        `select 1 from pg_stat_replication where replay_lsn >= (select pg_current_wal_lsn())`,
      );
      return rows.length > 0;
    });
    await primary.shutdown('immediate');
    await standby.query('select pg_promote(true)');
    const promoted = new URL(url);
    promoted.port = `${standby.port}`;
    const after = await look(promoted.href);
    expect(after?.readAt).toBeUndefined();
    expect(Date.parse(after?.watchedSince ?? '')).toBeGreaterThan(Date.parse(known?.watchedSince ?? ''));
  } finally {
    await primary.stop();
  }
});
