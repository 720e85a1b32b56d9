import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Verdict } from '../../src/core/progress.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { banyan, type Finished } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

const CAPTURE = [{ table: 'public.*' }];
/** What a test can not wait for. */
const PROGRESS = { gates: { lag: { for: '500ms' }, legacyWrites: { window: '1s', share: 100 } } };

const commandLine =
  (config: object) =>
  (...args: readonly string[]): Promise<Finished> =>
    banyan(args, { env: { BANYAN_CONFIG_YAML: JSON.stringify(config), USER: 'ada' } });

const standing = (verdict: Verdict) =>
  verdict.gates.filter(({ result }) => result !== 'pass').map(({ code, result }) => `${code} ${result}`);

describe('verdict', () => {
  test('says what stands in the way and what mends it, heeds a waiver while it lasts, and knows less without a worker', async () => {
    await using bed = await makeBed(server, {
      name: 'judged',
      setup: 'create table orders (id int primary key); create table "Order Items" (id int primary key)',
    });
    const worker = await bed.start({ capture: CAPTURE, legacy: { heartbeat: '100ms' } });
    const run = commandLine({
      name: 'judged',
      legacy: { url: bed.url },
      bus: { type: 'local', port: 0 },
      capture: CAPTURE,
      http: { port: Number(new URL(worker.worker.url).port) },
      progress: { gates: { ...PROGRESS.gates, lag: { for: '1s' } } },
    });
    const state = await bed.state();
    for (const table of ['public.orders', 'public.Order Items']) await state.stages.set(table, 'shadow', 'test');
    const judged = async (): Promise<Verdict> =>
      JSON.parse((await run('verdict', 'orders', '--to', 'new-primary', '--json')).stdout) as Verdict;

    // The lag is measured, and what is counted covers the window.
    await eventually(async () => {
      await bed.sql('insert into orders select count(*) + 1 from orders');
      return standing(await judged()).join() === 'PARITY unknown';
    });
    const unknown = await run('verdict', 'public.orders', '--to', 'new-primary');
    expect(unknown.code).toBe(4);
    expect(unknown.stdout).toMatch(
      /^UNKNOWN {2}public\.orders: shadow → new-primary {3}4 pass · 1 unknown\n \? PARITY {10}/,
    );
    expect(unknown.stdout).toMatch(/\n ✓ LEGACY_WRITES {3}100 %/);
    expect(unknown.stdout.split('\n').filter((line) => line.length > 100)).toEqual([]);

    const waived = await run(
      'waive',
      'orders',
      'PARITY',
      '--reason',
      'compared by hand',
      '--until',
      '7d',
      '--by',
      'Ada',
    );
    expect(waived).toMatchObject({ code: 0, stdout: expect.stringContaining('is waived by Ada until ') as string });
    const ready = await run('verdict', 'orders', '--to', 'new-primary');
    expect(ready.code).toBe(0);
    expect(ready.stdout).toMatch(/^READY .* 4 pass · 1 waived\n ~ PARITY /);
    expect(ready.stdout).toMatch(/waived by Ada until [-\d]+ [:\d]+ UTC: compared by hand/);
    // Of this table only.
    expect((await run('verdict', '"Order Items"', '--to', 'new-primary')).code).not.toBe(0);

    await bed.sql(`insert into banyan.dead_letter
      (connector, direction, event_id, entry, table_name, sequence, kind, message, behind, event)
      values ('judged', 'forward', 'a', 0, 'public.orders', '1', 'unknown', 'm', false, '{}')`);
    const fails = await run('verdict', 'orders', '--to', 'new-primary');
    expect(fails.code).toBe(3);
    expect(fails.stdout).toMatch(/^NOT READY .*\n ✗ DEAD_LETTERS {4}1 {2}\(asked for: 0\)/);
    expect(fails.stdout).toContain('→ banyan dead-letters list --table public.orders\n');
    await bed.sql('delete from banyan.dead_letter');

    expect((await run('waive', 'orders', 'PARITY', '--revoke')).code).toBe(0);
    expect((await run('waive', 'orders', 'PARITY', '--revoke')).code).toBe(2);
    expect((await run('verdict', 'orders', '--to', 'new-primary')).code).toBe(4);
    expect(
      await bed.sql('select waived_by, reason, revoked_at is not null as revoked from banyan.gate_waiver'),
    ).toEqual([{ waived_by: 'Ada', reason: 'compared by hand', revoked: true }]);

    await worker.stop();
    await run('waive', 'orders', 'PARITY', '--reason', 'compared by hand', '--until', '7d');
    const alone = await run('verdict', 'orders', '--to', 'new-primary');
    expect(alone.code).toBe(4);
    expect(alone.stdout.replaceAll(/\s+/g, ' ')).toMatch(
      /\? LAG .* no worker answered at http:\/\/127\.0\.0\.1:\d+ → banyan run/,
    );
    expect(standing(await judged())).toEqual(['LAG unknown', 'PARITY unknown', 'LEGACY_WRITES unknown']);
  });

  test('on a move that there is not, or a table that is not known, is refused', async () => {
    await using bed = await makeBed(server, { name: 'refused', setup: 'create table orders (id int primary key)' });
    await (await bed.start({ capture: CAPTURE })).stop();
    const run = commandLine({
      name: 'refused',
      legacy: { url: bed.url },
      bus: { type: 'local', port: 0 },
      capture: CAPTURE,
      http: { port: 1 },
    });
    await (await bed.state()).stages.set('public.orders', 'shadow', 'test');
    const refused = async (...args: readonly string[]) => {
      const { code, stderr } = await run(...args);
      expect(code).toBe(2);
      return stderr;
    };
    expect(await refused('verdict', 'orders', '--to', 'retired')).toContain('from shadow it can go to new-primary');
    expect(await refused('verdict', 'orders', '--to', 'dual')).toContain('reverse.apply');
    expect(await refused('verdict', 'order', '--to', 'dual')).toContain('did you mean orders?');
    expect(await refused('verdict', 'orders')).toContain('--to');

    const waive = (...args: readonly string[]) => refused('waive', 'orders', ...args);
    expect(await waive('SLOT', '--reason', 'x', '--until', '7d')).toContain('can not be waived');
    expect(await waive('PARITY', '--until', '7d')).toContain('--reason');
    expect(await waive('PARITY', '--reason', ' ', '--until', '7d')).toContain('--reason');
    expect(await waive('PARITY', '--reason', 'x')).toContain('--until');
    expect(await waive('PARITY', '--reason', 'x', '--until', '91d')).toContain('90 days');
    expect(await waive('PARITY', '--reason', 'x', '--until', '2020-01-01')).toContain('past');
    expect(await waive('PARITY', '--reason', 'x', '--until', 'soon')).toContain('neither a date nor a duration');
    expect(await waive('PARITY', '--reason', 'x', '--until', '2026-02-31')).toMatch(/neither a date|past/);
    expect(await waive('PARITY', '--reason', 'x', '--until', '7d', '--by', ' ')).toContain('name');
    expect(await waive('SPEED', '--reason', 'x', '--until', '7d')).toContain('SPEED');
    expect(await bed.sql('select from banyan.gate_waiver')).toEqual([]);

    // A day lasts until its end, UTC.
    const day = new Date(Date.now() + 3 * 86_400_000).toISOString().slice(0, 10);
    const { stdout } = await run('waive', 'orders', 'PARITY', '--reason', 'x', '--until', day, '--json');
    expect((JSON.parse(stdout) as { until: string }).until).toBe(new Date(Date.parse(day) + 86_400_000).toISOString());
  });
});

describe('readers', () => {
  test('says who reads, by which source, and what needs the table, with what takes each away', async () => {
    await using bed = await makeBed(server, {
      name: 'readers',
      setup: `create table orders (id int primary key); create view open_orders as select * from orders;
        create role readers_billing; grant select on orders to readers_billing`,
    });
    await (await bed.start({ capture: CAPTURE })).stop();
    const run = commandLine({
      name: 'readers',
      legacy: { url: bed.url },
      bus: { type: 'local', port: 0 },
      capture: CAPTURE,
      http: { port: 1 },
    });
    const first = await run('readers', 'orders');
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(/^public\.orders: no read seen since [-\d]+ [:\d]+ UTC \(pg_stat_user_tables\)\n/);
    expect(first.stdout).toContain('2 dependants, each with what takes it away:');
    expect(first.stdout).toContain('  view public.open_orders\n    drop view public.open_orders;');
    expect(first.stdout).toContain(
      '  privilege readers_billing: select\n    revoke all on public.orders from readers_billing;',
    );
    expect(first.stderr).toContain('install pg_stat_statements');
    expect(first.stderr).toContain('is not seen here');

    await bed.sql('select * from orders');
    await eventually(async () => /read last [-\d]+ [:\d]+ UTC/.test((await run('readers', 'orders')).stdout));
    const { stdout } = await run('readers', 'orders', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      table: 'public.orders',
      reads: { source: 'pg_stat_user_tables', readAt: expect.any(String) as string },
      dependants: [{ kind: 'privilege' }, { kind: 'view', remedy: expect.any(String) as string }],
    });
  });
});
