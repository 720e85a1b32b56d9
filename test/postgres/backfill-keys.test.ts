import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, seen, type SeenEvent, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

/** Several chunks. */
const ROWS = 1_600;
const FIRST_CHUNK = 500;
const STOP_AT = 800;
const EVERY_ROW = Array.from({ length: ROWS }, (_, index) => index + 1);

interface KeyCase {
  /** As the configuration names it. */
  readonly table: string;
  /** Types by quoted name. */
  readonly columns: Readonly<Record<string, string>>;
  readonly key: string;
  /** Values of the columns for row `n`. */
  readonly values: string;
  /** After the table is made. */
  readonly also?: string;
}

/** Words that go in another order by a language's rules than by their bytes. */
const word = `(array['a', 'B', 'ä', 'Z', 'z', 'É', 'e', '_', '-', 'ß', 'ss', 'Ω', '漢', ' x', 'X '])[1 + n % 15] || n`;

const setup = `create schema "Odd.Schema"; create extension citext;
  create type "Odd.Schema"."Mood" as enum ('zero', 'a b', 'ONE', 'b"c', 'it''s');
  create domain "Odd.Schema"."Code" as text collate "C";
  create collation no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);`;

const cases: readonly KeyCase[] = [
  {
    table: 'public.composite',
    columns: { region: 'text not null', day: 'date not null', number: 'smallint not null' },
    key: 'day, region, number',
    values: `'region ' || n % 7, case n % 5 when 0 then 'infinity' when 1 then '0044-03-15 BC' else date '2026-01-01' + n % 3 end, n`,
  },
  { table: 'public.words', columns: { word: 'text collate "und-x-icu"' }, key: 'word', values: word },
  {
    table: 'public.case_blind',
    columns: { word: 'text collate no_case', tag: 'citext' },
    key: 'word, tag',
    values: `${word}, 'Tag ' || n`,
  },
  { table: 'public.uuids', columns: { id: 'uuid' }, key: 'id', values: 'md5(n::text)::uuid' },
  {
    table: '"Odd.Schema"."Größe ""x"""',
    columns: { '"Id"': 'integer', '"a.b"': 'text', '"漢字"': 'boolean' },
    key: '"a.b", "Id", "漢字"',
    values: `-n, 'x' || n % 3, n % 2 = 0`,
  },
  { table: 'public."Case"', columns: { '"ID"': 'integer', id: 'integer' }, key: '"ID"', values: 'n, -n' },
  { table: 'public."case"', columns: { id: 'bigint' }, key: 'id', values: '9007199254740993 + n' },
  {
    table: 'public.moods',
    columns: { feeling: '"Odd.Schema"."Mood"', padded: 'char(8)', exact: 'numeric(12, 4)' },
    key: 'feeling, padded, exact',
    values: `(enum_range(null::"Odd.Schema"."Mood"))[1 + n % 5], 'p' || n % 11, n / 16.0`,
  },
  {
    table: 'public.odd_types',
    columns: { flags: 'bit(3)', raw: 'bytea', float: 'double precision', at: 'timestamptz' },
    key: 'flags, raw, float, at',
    values: `(n % 8)::bit(3), decode(md5((n % 9)::text), 'hex'), case n % 4 when 0 then 'NaN' when 1 then '-Infinity' else n / 3.0 end,
      timestamptz '2026-01-01' + n * interval '0.000001 s'`,
  },
  { table: 'public.domains', columns: { code: '"Odd.Schema"."Code"' }, key: 'code', values: word },
  {
    table: 'public.collated_domain',
    columns: { code: '"Odd.Schema"."Code" collate "und-x-icu"' },
    key: 'code',
    values: word,
  },
  {
    table: 'public.by_index',
    columns: { a: 'integer not null', b: 'text not null' },
    key: 'a',
    values: `n, 'b' || n`,
    also: 'create unique index by_index_b on by_index (b desc) include (a); alter table by_index replica identity using index by_index_b',
  },
  {
    table: 'public.whole',
    columns: { a: 'integer', b: 'text' },
    key: 'a, b',
    values: `n % 10, 'b' || n`,
    also: 'alter table whole replica identity full',
  },
];

async function fill(bed: WorkerBed): Promise<void> {
  for (const { table, columns, key, values, also = '' } of cases) {
    const types = Object.entries(columns).map(([name, type]) => `${name} ${type}`);
    await bed.sql(`create table ${table} (${types.join(', ')}, n integer, primary key (${key})); ${also}`);
    await bed.sql(
      `insert into ${table} (${Object.keys(columns).join(', ')}, n) select ${values}, n from generate_series(1, ${ROWS}) n`,
    );
  }
}

const config = {
  capture: cases.map(({ table }) => ({ table, backfill: true, emit: [{ on: 'read', detailType: 'Row' }] })),
};

/** Whether all runs are; one that failed can not become it. */
async function completed(bed: WorkerBed): Promise<boolean> {
  const runs = await (await bed.state()).backfills.latest();
  expect(runs.flatMap(({ status, reason, table }) => (status === 'failed' ? [{ table, reason }] : []))).toEqual([]);
  return runs.length === cases.length && runs.every(({ status }) => status === 'completed');
}

async function untilCompleted(bed: WorkerBed): Promise<void> {
  await eventually(
    () => completed(bed),
    () => 'not every backfill ended',
    { timeoutMs: 60_000 },
  );
}

/** Numbers of the rows that were read, in the order they came, by table. */
function rowsOf(events: readonly SeenEvent[]): ReadonlyMap<string, readonly number[]> {
  const found = new Map<string, number[]>();
  for (const { detailType, metadata, data } of events) {
    if (detailType !== 'Row') continue;
    const rows = found.get(metadata.table) ?? [];
    rows.push(Number(data['n']));
    found.set(metadata.table, rows);
  }
  return found;
}

function sorted(rows: Iterable<number> = []): number[] {
  return [...rows].toSorted((a, b) => a - b);
}

/** As events name the tables. */
const names = cases.map(({ table }) => table.replaceAll('""', '\0').replaceAll('"', '').replaceAll('\0', '"'));

test('every row arrives once, whatever its key is made of', { timeout: 90_000 }, async () => {
  await using bed = await makeBed(server, { name: 'backfill_keys', setup });
  await fill(bed);
  await bed.start(config);
  await untilCompleted(bed);
  const rows = rowsOf(bed.events);
  for (const name of names) expect({ name, rows: sorted(rows.get(name)) }).toEqual({ name, rows: EVERY_ROW });
});

test('a worker that is stopped and started goes on behind what it sent', { timeout: 120_000 }, async () => {
  await using bed = await makeBed(server, { name: 'backfill_keys_restart', setup });
  await fill(bed);
  const count = new Map<string, number>();
  let holding = false;
  // Once for every table, in its second chunk or later.
  const publisher = new ScriptedPublisher(({ detail, detailType }) => {
    if (detailType !== 'Row') return { do: 'accept' };
    const { table } = (JSON.parse(detail) as SeenEvent).metadata;
    count.set(table, (count.get(table) ?? 0) + 1);
    if (count.get(table) !== STOP_AT) return { do: 'accept' };
    holding = true;
    return { do: 'hold' };
  });
  let stops = 0;
  // How often each table's first chunk may have been sent: again only where a stop came before it was stored as settled.
  const turns = new Map(names.map((name) => [name, 1]));
  for (;;) {
    const worker = await bed.start(config, { publisher });
    const done = await eventually(
      async () => (holding ? 'held' : (await completed(bed)) ? 'completed' : undefined),
      () => 'not every backfill ended',
      { timeoutMs: 60_000 },
    );
    if (done === 'completed') break;
    stops += 1;
    const stopped = worker.stop();
    holding = false;
    publisher.release();
    await stopped;
    const unsettled = await bed.sql<{ name: string }>(
      `select r.table_name as name from banyan.backfill_run r join banyan.backfill_part p on p.run = r.id
       where p.cursor is null and not p.done`,
    );
    for (const { name } of unsettled) turns.set(name, (turns.get(name) ?? 1) + 1);
  }
  // Two tables are read at a time.
  expect(stops).toBeGreaterThanOrEqual(names.length / 2);
  const rows = rowsOf(publisher.accepted.map(seen));
  for (const name of names) {
    const own = rows.get(name) ?? [];
    expect({ name, rows: sorted(new Set(own)) }).toEqual({ name, rows: EVERY_ROW });
    // What is behind a settled chunk is not sent again.
    const first = new Set(own.slice(0, FIRST_CHUNK));
    const sent = own.filter((row) => first.has(row)).length;
    const allowed = FIRST_CHUNK * (turns.get(name) ?? 1);
    expect({ name, isTooMuch: sent > allowed }).toEqual({ name, isTooMuch: false });
  }
});
