import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import { startHttp } from '../../src/http/server.ts';
import { progressReport, progressSource, tableReport } from '../support/progress-report.ts';
import { lintCounters, lintMetrics } from '../support/prometheus-lint.ts';
import { makeBed } from '../support/worker-harness.ts';
import { workerStatus } from '../support/worker-status.ts';

const REVERSE = {
  state: 'running',
  problem: { kind: 'queue-missing', message: 'm', remedy: 'r', since: '2026-03-01T12:00:00Z' },
  received: 1,
  unmatched: 1,
  invalid: 1,
  applied: { echo: 1, correction: 1, unchanged: 1 },
  duplicate: 1,
  stale: 1,
  skipped: 1,
  refused: 1,
  conflicts: 1,
  retried: 1,
  inHand: 1,
  inFlight: 1,
  parked: 1,
  waiting: 1,
  heldTables: ['public.orders'],
  lagSeconds: 0.4,
  testedAt: '2026-03-01T12:00:00Z',
} as const;

async function scrape(url: string): Promise<string> {
  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get('content-type')).toContain('version=0.0.4');
  return response.text();
}

describe('a linter of Prometheus', () => {
  test('finds nothing in a scrape of everything that there can be, whatever the number of tables and origins', async () => {
    const [table] = workerStatus().tables;
    const names = Array.from({ length: 2_000 }, (_, index) => `tenant_${index}.orders`);
    const status = workerStatus({
      reverse: REVERSE,
      problem: REVERSE.problem,
      tables: names.map((name) => ({ ...(table as NonNullable<typeof table>), table: name })),
      loop: { forged: 1, exceeded: 1, origins: Object.fromEntries(names.map((name) => [name, 1])) },
      bus: { ...workerStatus().bus, rateLimit: 5 },
    });
    const server = await startHttp({
      host: '127.0.0.1',
      port: 0,
      status: () => status,
      progress: progressSource(() => progressReport({ tables: names.map((name) => tableReport(name)) })),
      log: pino({ level: 'silent' }),
    });
    try {
      const text = await scrape(server.url);
      expect(text).toContain('banyan_table_stage{table="tenant_1.orders",stage="dual"');
      expect(lintMetrics(text)).toEqual([]);
    } finally {
      await server.close();
    }
  });

  test('finds nothing in the scrapes of a worker that works, and no counter that falls', async () => {
    const database = await EmbeddedPostgres.start();
    try {
      await using bed = await makeBed(database, {
        name: 'lint',
        setup: 'create table orders (id int primary key); create table customers (id int primary key)',
        queues: true,
      });
      const running = await bed.start({
        capture: [{ table: 'public.*' }],
        reverse: {
          apply: [
            {
              match: { source: ['shop'] },
              table: 'public.orders',
              operation: 'insert',
              key: { id: 'detail.id' },
              version: 'detail.version',
            },
          ],
        },
      });
      const first = await scrape(running.worker.url);
      await bed.sql('insert into orders select generate_series(1, 20)');
      await bed.accepted(20);
      await bed.sql('delete from orders where id > 10');
      const second = await scrape(running.worker.url);
      // A session that ends must not take its counts with it.
      await bed.sql(`select pg_terminate_backend(active_pid) from pg_replication_slots where active`);
      await running.until('another session', ({ stream, state }) => stream.reconnects > 0 && state === 'streaming');
      const third = await scrape(running.worker.url);
      for (const text of [first, second, third]) expect(lintMetrics(text)).toEqual([]);
      expect(first).toContain('banyan_table_stage{');
      expect([...lintCounters(first, second), ...lintCounters(second, third)]).toEqual([]);
      const events = /^banyan_bus_events_accepted_total\{[^}]*\} (\d+)$/m;
      expect(Number(events.exec(third)?.[1])).toBeGreaterThanOrEqual(20);
    } finally {
      await database.stop();
    }
  });

  test.each([
    ['# TYPE a_total counter\na_total 1', 'a_total: no help text'],
    ['# HELP a h\na 1', 'a: no known type'],
    ['# HELP a h\n# TYPE a counter\na 1', 'a: counter metrics should have "_total" suffix'],
    ['# HELP a_total h\n# TYPE a_total gauge\na_total 1', 'non-counter metrics should not have "_total"'],
    ['# HELP a_milliseconds h\n# TYPE a_milliseconds gauge\na_milliseconds 1', 'use base unit "seconds"'],
    ['# HELP a_percent h\n# TYPE a_percent gauge\na_percent 1', 'use base unit "ratio"'],
    ['# HELP a_ms h\n# TYPE a_ms gauge\na_ms 1', 'abbreviated units'],
    ['# HELP a_kb_held h\n# TYPE a_kb_held gauge\na_kb_held 1', 'abbreviated units'],
    ['# HELP a_gauge h\n# TYPE a_gauge gauge\na_gauge 1', 'should not include type'],
    ['# HELP a_count h\n# TYPE a_count gauge\na_count 1', 'only histograms and summaries'],
    ['# HELP a:b h\n# TYPE a:b gauge\na:b 1', "should not contain ':'"],
    ['# HELP aB h\n# TYPE aB gauge\naB 1', "'snake_case'"],
    ['# HELP a h\n# TYPE a gauge\na{tableName="x"} 1', "label names should be written in 'snake_case'"],
    ['# HELP a h\n# TYPE a gauge\na{le="1"} 1', 'should not have "le" label'],
    ['# HELP a h\n# TYPE a gauge\n# HELP a h\n# TYPE a gauge\na 1', 'metric not unique'],
    ['# HELP a h\n# TYPE a gauge\na{b="1"} 1\na{b="1"} 2', 'a series stands there twice'],
    [
      `# HELP a h\n# TYPE a gauge\n${Array.from({ length: 600 }, (_, index) => `a{key="${index}"} 1`).join('\n')}`,
      'label key is not bounded (600 values)',
    ],
  ])('sees what is planted (%#)', (text, problem) => {
    expect(lintMetrics(`${text}\n`)).toEqual([expect.stringContaining(problem)]);
  });

  test('sees a counter that falls, and one that goes away', () => {
    const head = '# HELP a_total h\n# TYPE a_total counter\n';
    expect(lintCounters(`${head}a_total 5`, `${head}a_total 4`)).toEqual([expect.stringContaining('fell from 5 to 4')]);
    expect(lintCounters(`${head}a_total{b="1"} 5`, `${head}a_total{b="2"} 5`)).toEqual([
      expect.stringContaining('has gone away'),
    ]);
  });

  test('sees the metrics of the report go while none can be made, rather than stand still', async () => {
    const metrics = createMetrics('shop');
    expect(await metrics.expose(workerStatus(), progressReport())).toContain('banyan_table_stage{');
    const without = await metrics.expose(workerStatus(), undefined);
    expect(without).not.toMatch(/^banyan_(table_stage|table_ready|progress_timestamp_seconds)/m);
    expect(lintMetrics(without)).toEqual([]);
  });
});
