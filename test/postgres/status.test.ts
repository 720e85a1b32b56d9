import { PassThrough } from 'node:stream';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { widthOf } from '../../src/cli/fit-columns.ts';
import { createOutput } from '../../src/cli/output.ts';
import { status, type StatusOptions } from '../../src/cli/status.ts';
import { parseConfig } from '../../src/config/load.ts';
import { BanyanError } from '../../src/core/errors.ts';
import type { History, ProgressReport, TableReport } from '../../src/core/progress.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { progressReport } from '../../src/progress/report.ts';
import { openState } from '../../src/state/state.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(async () => {
  await server?.stop();
});

/** What a command line would print, line by line, with a configuration of its own. */
function terminal(config: object, { isTTY = false, json = false } = {}) {
  const stdout = Object.assign(new PassThrough(), { isTTY });
  let text = '';
  stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const context = {
    configFile: undefined,
    env: { BANYAN_CONFIG_YAML: JSON.stringify(config) },
    output: createOutput({ json, stdout, stderr: new PassThrough() }),
  };
  return {
    run: (options: StatusOptions) => status(options, context),
    text: () => text,
    lines: () => text.split('\n').slice(0, -1),
  };
}

async function json<T>(url: string): Promise<T> {
  const response = await fetch(url);
  expect([url, response.status]).toEqual([url, 200]);
  return (await response.json()) as T;
}

describe('the report', () => {
  test('of 200 tables takes as many queries as that of 5, and their status fits into 100 columns', async () => {
    const asked: number[] = [];
    for (const many of [5, 200]) {
      const name = `many_${many}`;
      const url = await server.createDatabase(name);
      const tables = Array.from(
        { length: many },
        (_, index) => `${'a_rather_long_name_of_a_table_'.repeat(2)}${index}`,
      );
      await server.query(tables.map((table) => `create table ${table} (id int primary key);`).join('\n'), name);
      const config = {
        name,
        legacy: { url },
        capture: [{ table: 'public.*' }],
        http: { port: 0 },
        bus: { type: 'local' },
      };
      const loaded = await parseConfig(JSON.stringify(config), { file: undefined, env: {} });
      const pool = new pg.Pool({ connectionString: url, max: 2 });
      try {
        let queries = 0;
        pool.on('connect', (client) => {
          const query = client.query.bind(client) as (...given: unknown[]) => unknown;
          Object.assign(client, { query: (...given: unknown[]) => ((queries += 1), query(...given)) });
        });
        const state = await openState({ pool, connector: name, schema: 'banyan' });
        const look = () =>
          progressReport({
            config: loaded.config,
            state,
            pool,
            live: undefined,
            liveAt: undefined,
            now: new Date(),
          });
        // The first one remembers what the statistics say of each table.
        expect((await look()).tables).toHaveLength(many);
        queries = 0;
        await look();
        asked.push(queries);
      } finally {
        await pool.end();
      }
      const screen = terminal(config);
      const begin = performance.now();
      expect(await screen.run({ watch: false })).toBe(0);
      console.log(`status of ${many} tables: ${Math.round(performance.now() - begin)} ms, ${asked.at(-1)} queries`);
      expect(screen.lines().filter((line) => widthOf(line) > 100)).toEqual([]);
      expect(screen.lines().filter((line) => line.includes('mapped'))).toHaveLength(many);
    }
    expect(asked[0]).toBeGreaterThan(5);
    expect(asked[1]).toBe(asked[0]);
  });

  test('tells what a worker and its tables do, and goes on telling what is known without it', async () => {
    await using bed = await makeBed(server, {
      name: 'told',
      setup: `create table orders (id int primary key, status text);
              create table customers (id int primary key);
              insert into orders select n, 'new' from generate_series(1, 300) n; analyze orders`,
    });
    const capture = [{ table: 'public.orders', backfill: true }, { table: 'public.customers' }];
    const running = await bed.start({ capture });
    const { url } = running.worker;
    const tables = async () => (await json<ProgressReport>(`${url}/v1/tables`)).tables;
    const orders = async () => (await tables()).find(({ table }) => table === 'public.orders') as TableReport;
    const backfilled = await eventually(
      async () => {
        const now = await orders();
        return now.backfill?.status === 'completed' && now.stage === 'shadow' ? now : undefined;
      },
      () => 'its rows were never sent, or it never became shadow',
      { timeoutMs: 30_000 },
    );
    expect(backfilled).toMatchObject({
      primary: 'legacy',
      reverse: 'not configured',
      target: 'new-primary',
      backfill: { rowsSent: 300, share: 1 },
      open: { deadLetters: 0, waiting: 0, conflicts: 0 },
    });
    const state = await bed.state();
    const move = {
      table: 'public.orders',
      from: 'shadow',
      to: 'new-primary',
      actor: 'ada',
      verdict: undefined,
    } as const;
    await state.stageChanges.move(move, state.scope.pool);
    const moved = await eventually(
      async () => {
        const now = await orders();
        return now.primary === 'new' ? now : undefined;
      },
      () => 'the move was never seen',
    );
    expect(moved.changes[0]).toMatchObject({ from: 'shadow', to: 'new-primary', actor: 'ada' });
    expect(moved).toMatchObject({ stage: 'new-primary', stageBy: 'ada', target: 'retired' });

    await bed.sql(`update orders set status = 'shipped' where id <= 7`);
    const written = await eventually(
      async () => {
        const now = await orders();
        return now.writes.legacy === 7 ? now : undefined;
      },
      () => 'its writes were never counted',
      { timeoutMs: 20_000 },
    );
    expect(written.writes).toMatchObject({ reverse: 0, trigger: 0, foreign: 0, legacyShare: 1, windowSeconds: 86_400 });
    // Counted since a moment ago: that is not the whole day.
    expect(written.writes).toMatchObject({ covered: 'part', uncovered: expect.stringContaining('counted since') });
    expect(written.recent.reduce((sum, { legacy }) => sum + legacy, 0)).toBe(7);
    expect(await json<TableReport>(`${url}/v1/tables/public.orders`)).toMatchObject({ writes: { legacy: 7 } });
    const history = await json<History>(`${url}/v1/history?table=public.orders&step=60`);
    expect(history.traffic.reduce((sum, { legacy }) => sum + legacy, 0)).toBe(7);
    const all = await json<History>(`${url}/v1/history`);
    expect(all.traffic.reduce((sum, { legacy }) => sum + legacy, 0)).toBe(7);

    const config = {
      name: 'told',
      legacy: { url: bed.url },
      capture,
      http: { port: Number(new URL(url).port) },
      bus: { type: 'local' },
    };
    const live = terminal(config);
    await live.run({ watch: false });
    expect(live.text()).toMatch(/^told {2}postgres@127\.0\.0\.1:\d+\/told\s+slot banyan_told active · lag .*WAL held/);
    expect(live.text()).toMatch(/^orders +new-primary +\d\/\d +done .*~100 \/ 0 %/m);
    await running.stop();

    const alone = terminal(config, { json: true });
    await alone.run({ watch: false });
    const report = JSON.parse(alone.text()) as ProgressReport;
    expect(report).toMatchObject({ slot: { active: false, wal: { heldBytes: expect.any(Number) } } });
    expect([report.worker, report.slot.lagSeconds]).toEqual([undefined, undefined]);
    expect(report.tables.find(({ table }) => table === 'public.orders')?.writes).toMatchObject({ legacy: 7 });
    const words = terminal(config);
    await words.run({ watch: false });
    expect(words.text()).toContain(`no worker answered at http://127.0.0.1:${config.http.port}`);
    expect(words.text()).toMatch(/writes are counted up to 20\d\d-/);
  });

  test('tells up to when all writes were counted, by a worker that had nothing to write down', async () => {
    await using bed = await makeBed(server, { name: 'counted', setup: 'create table orders (id int primary key)' });
    const capture = [{ table: 'public.orders' }];
    const running = await bed.start({ capture, legacy: { heartbeat: '300ms' } });
    await bed.sql('insert into orders values (1)');
    const { traffic } = await bed.state();
    await eventually(async () => (await traffic.sums({ seconds: 3_600 })).get('public.orders')?.legacy === 1);
    const stored = await traffic.position();
    const later = new Date(Date.now() + 1_500).toISOString();
    const { countedUntil } = (
      await running.until('counted for a while', (status) => (status.traffic.countedUntil ?? '') > later)
    ).traffic;
    expect(await traffic.position()).toEqual(stored);
    await running.stop();

    const { port } = new URL(running.worker.url);
    const config = {
      name: 'counted',
      legacy: { url: bed.url },
      capture,
      http: { port: Number(port) },
      bus: { type: 'local' },
    };
    const look = async (set = '') => {
      if (set !== '')
        await bed.sql(
          `update banyan.traffic_position set ${set}; update banyan.table_record set recorded_at = now() - interval '9d'`,
        );
      const [asJson, words] = [terminal(config, { json: true }), terminal(config)];
      await asJson.run({ watch: false });
      await words.run({ watch: false });
      const { tables } = JSON.parse(asJson.text()) as ProgressReport;
      return { writes: tables[0]?.writes, line: words.lines().find((line) => line.startsWith('orders ')) };
    };
    const clean = await look();
    expect(clean.writes?.countedUntil && clean.writes.countedUntil >= String(countedUntil)).toBe(true);
    expect(clean.line).toContain('~100 / 0 %');
    const whole = await look(`counting_since = now() - interval '3d'`);
    expect([whole.writes?.covered, whole.line]).toEqual(['whole', expect.stringContaining(' 100 / 0 %')]);
    const part = await look(`counted_until = now() - interval '1h'`);
    expect([part.writes?.covered, part.line]).toEqual(['part', expect.stringContaining('~100 / 0 %')]);
    const none = await look(`counted_until = now() - interval '25h'`);
    expect([none.writes?.covered, none.line]).toEqual(['none', expect.stringContaining(' not counted ')]);
  });

  test('says who reads the slot by the slot: a session whose bus takes nothing reads it, a worker without one does not', async () => {
    await using bed = await makeBed(server, { name: 'holder', setup: 'create table orders (id int primary key)' });
    const capture = [{ table: 'public.orders' }];
    const publisher = new ScriptedPublisher(() => ({ do: 'reject', kind: 'bus-missing' }));
    const running = await bed.start({ capture }, { publisher });
    await bed.sql('insert into orders values (1)');
    await running.reaches('waiting');
    const slot = async () => (await json<ProgressReport>(`${running.worker.url}/v1/tables`)).slot;
    expect(await slot()).toMatchObject({ active: true, walStatus: 'reserved' });
    await bed.sql(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${bed.slot}'`);
    publisher.probeError = new BanyanError('bus-missing', 'no such bus');
    await running.until('no session streams', ({ stream }) => stream.settledLsn === undefined);
    const left = await eventually(
      async () => {
        const now = await slot();
        return now.active === false ? now : undefined;
      },
      () => 'it is still said to be read',
      { timeoutMs: 20_000 },
    );
    expect(left.walStatus).toBe('reserved');
    await running.stop();
  });

  test('of a worker whose database goes away is the last one, with why, and the worker’s HTTP goes on', async () => {
    const lost = await EmbeddedPostgres.start();
    await using bed = await makeBed(lost, { name: 'lost', setup: 'create table orders (id int primary key)' });
    const running = await bed.start({ capture: [{ table: 'public.orders' }] });
    const { url } = running.worker;
    expect((await json<ProgressReport>(`${url}/v1/tables`)).stale).toBeUndefined();
    await lost.stop();
    const old = await eventually(
      async () => {
        const now = await json<ProgressReport>(`${url}/v1/tables`);
        return now.stale === undefined ? undefined : now;
      },
      () => 'the report never says that it is old',
      { timeoutMs: 20_000 },
    );
    expect(old.stale).toMatchObject({ kind: 'database-unavailable', remedy: expect.any(String) });
    expect(old.tables).toHaveLength(1);
    await running.stop();
  });
});

describe('watching', () => {
  test('prints a block each time, or draws over the last one on a terminal, and ends well', async () => {
    const url = await server.createDatabase('watched');
    await server.query('create table orders (id int primary key)', 'watched');
    const pool = new pg.Pool({ connectionString: url });
    await openState({ pool, connector: 'watched', schema: 'banyan' });
    await pool.end();
    const config = {
      name: 'watched',
      legacy: { url },
      capture: [{ table: 'public.orders' }],
      http: { port: 0 },
      bus: { type: 'local' },
    };
    for (const isTTY of [false, true]) {
      const screen = terminal(config, { isTTY });
      const end = new AbortController();
      const watched = screen.run({ watch: true, signal: end.signal, everyMs: 10 });
      const times = () => screen.lines().filter((line) => /orders +mapped/.test(line)).length;
      await eventually(() => times() >= 3);
      end.abort();
      expect(await watched).toBe(0);
      const drawn = screen.text().split('\u001B[H').length - 1;
      expect(drawn).toBe(isTTY ? times() : 0);
    }
  });

  test('goes on while the database is away', async () => {
    const config = {
      name: 'away',
      legacy: { url: 'postgresql://nobody@127.0.0.1:1/away' },
      capture: [{ table: 'public.orders' }],
      http: { port: 0 },
      bus: { type: 'local' },
    };
    const screen = terminal(config);
    const end = new AbortController();
    const watched = screen.run({ watch: true, signal: end.signal, everyMs: 10 });
    await eventually(() => screen.lines().filter((line) => line.startsWith('  → ')).length >= 2);
    end.abort();
    expect(await watched).toBe(0);
  });
});
