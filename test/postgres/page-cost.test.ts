import { afterAll, beforeAll, expect, test } from 'vitest';
import { UPKEEP } from '../../src/capture/upkeep.ts';
import type { ProgressReport } from '../../src/core/progress.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed } from '../support/worker-harness.ts';

const TABLES = Array.from({ length: 50 }, (_, number) => `table_${number}`);
const FUNCTIONS = 500;
const REPORTS = 5;
/** Of a report, and of what the worker does meanwhile. */
const QUERIES_A_REPORT = 40;

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start({
    settings: { shared_preload_libraries: 'pg_stat_statements', 'pg_stat_statements.max': '5000' },
  });
});

afterAll(async () => {
  await server?.stop();
});

test('a page that stays open goes through functions and statements once, and not with every report', async () => {
  // As long as those of a database that has grown for years.
  const lines = Array.from({ length: 100 }, (_, line) => `perform ${line} from elsewhere where note = 'line ${line}';`);
  await using bed = await makeBed(server, {
    name: 'page_cost',
    setup: `create extension pg_stat_statements; create role page_worker login superuser;
      ${TABLES.map((table) => `create table ${table} (id integer primary key);`).join('\n')}
      do $do$ begin
        for n in 1..${FUNCTIONS} loop
          execute format('create function does_%s() returns void language plpgsql as $$ begin ${lines.join(' ').replaceAll("'", "''")} end $$', n);
        end loop;
      end $do$`,
  });
  const url = new URL(bed.url);
  url.username = 'page_worker';
  const capture = TABLES.map((table) => ({ table: `public.${table}` }));
  const { worker } = await bed.start({ capture, legacy: { url: url.href } }, { intervals: UPKEEP });
  const report = async () => (await (await fetch(`${worker.url}/v1/tables`)).json()) as ProgressReport;
  const asked = async () => {
    const [row] = await bed.sql<{ words: number; queries: number }>(
      `select coalesce(sum(calls) filter (where query like '%string_to_table%' or query like '%prosrc as body%'), 0)::float8 as words,
              sum(calls)::float8 as queries
       from pg_stat_statements where userid = 'page_worker'::regrole`,
    );
    if (row === undefined) throw new Error('no statements');
    return row;
  };
  const first = await report();
  const before = await asked();
  // It is seen at all: functions and statements.
  expect(before.words).toBeGreaterThanOrEqual(2);

  const made = new Set<string>();
  await eventually(
    async () => {
      const { at, stale } = await report();
      expect(stale).toBeUndefined();
      made.add(at);
      return made.size > REPORTS;
    },
    () => `${made.size} reports`,
    { timeoutMs: 60_000, everyMs: 200 },
  );
  const after = await asked();
  expect(made).toContain(first.at);
  expect(after.words - before.words).toBe(0);
  expect((after.queries - before.queries) / REPORTS).toBeLessThan(QUERIES_A_REPORT);
});
