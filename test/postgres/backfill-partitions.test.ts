import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';
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

const ROWS = 4_200;
const TABLE = 'public.All Orders';

/** A leaf in another schema, one whose columns are in another order, with a dropped one among them, two below another level, and the default. */
const setup = `create schema "Odd.Schema";
  create table "All Orders" ("Region" text, id integer, note text, total numeric, primary key ("Region", id)) partition by list ("Region");
  create table "Odd.Schema"."North ""A""" partition of "All Orders" for values in ('north');
  create table east (total numeric, gone text, note text, id integer not null, "Region" text not null);
  alter table east drop column gone;
  alter table "All Orders" attach partition east for values in ('east');
  create table south partition of "All Orders" for values in ('south') partition by range (id);
  create table south_low partition of south for values from (minvalue) to (2000);
  create table "South_High" partition of south for values from (2000) to (maxvalue);
  create table rest partition of "All Orders" default;
  insert into "All Orders" select (array['north', 'east', 'south', 'west'])[1 + n % 4], n, 'row ' || n, round(n / 4.0, 2)
    from generate_series(1, ${ROWS}) n`;

const emit = [{ on: 'read', detailType: 'Row' }];

async function lastRun(bed: WorkerBed): Promise<BackfillRun | undefined> {
  return (await (await bed.state()).backfills.latest(TABLE))[0];
}

async function completed(bed: WorkerBed): Promise<void> {
  await eventually(
    async () => (await lastRun(bed))?.status === 'completed',
    () => 'the backfill never ended',
    { timeoutMs: 20_000 },
  );
}

function byId(rows: readonly SeenEvent['data'][]): readonly SeenEvent['data'][] {
  return rows.toSorted((a, b) => Number(a['id']) - Number(b['id']));
}

test('every row of every leaf arrives once, under the name of the root', async () => {
  await using bed = await makeBed(server, { name: 'partitions', setup });
  await bed.start({ capture: [{ table: 'public."All Orders"', backfill: true, emit }] });
  await completed(bed);
  const reads = bed.events.filter(({ detailType }) => detailType === 'Row');
  expect(new Set(reads.map(({ metadata }) => metadata.table))).toEqual(new Set([TABLE]));
  const stored = await bed.sql<{ row: object }>(
    `select json_build_object('Region', "Region", 'id', id, 'note', note, 'total', total::text) as row from "All Orders" order by id`,
  );
  expect(byId(reads.map(({ data }) => data))).toEqual(stored.map(({ row }) => row));
  expect(reads[0]?.metadata.key).toEqual({ Region: reads[0]?.data['Region'], id: reads[0]?.data['id'] });
  const run = await lastRun(bed);
  expect(run).toMatchObject({ rowsSent: ROWS });
  const parts = await (await bed.state()).backfills.parts(run?.id ?? 0);
  expect(parts.map(({ relation, done }) => [relation, done])).toEqual([
    ['Odd.Schema.North "A"', true],
    ['public.South_High', true],
    ['public.east', true],
    ['public.rest', true],
    ['public.south_low', true],
  ]);
});

/** Answers for the first row only when it is let go: the first chunk of the first leaf is not settled, and the other leaves are not read. */
class HeldAtFirstRow extends ScriptedPublisher {
  #held = true;

  constructor() {
    super(({ detail, detailType }) =>
      this.#held && detailType === 'Row' && (JSON.parse(detail) as SeenEvent).data['id'] === 4
        ? { do: 'hold' }
        : { do: 'accept' },
    );
  }

  async reached(): Promise<void> {
    await this.until(() => this.requests.flat().some(({ detailType }) => detailType === 'Row'));
  }

  letGo(): void {
    this.#held = false;
    this.release();
  }
}

/** Events as they arrived, of the rows of one id. */
function eventsOf(publisher: ScriptedPublisher, id: number): readonly SeenEvent[] {
  return publisher.accepted.map(seen).filter(({ data }) => data['id'] === id);
}

/** Into a leaf that is being read, before what was read of it; out of it into one that is not yet read; and on below the same level. */
const moves = `update "All Orders" set "Region" = 'north', id = -1 where id = 3;
  update "All Orders" set "Region" = 'west' where id = 8;
  update "All Orders" set id = 9998 where id = 2`;

test('a row that moves between leaves meanwhile arrives under its new key, where only reads are events', async () => {
  await using bed = await makeBed(server, { name: 'partition_moves', setup });
  const publisher = new HeldAtFirstRow();
  await bed.start({ capture: [{ table: 'public."All Orders"', backfill: true, emit }] }, { publisher });
  await publisher.reached();
  await bed.sql(moves);
  await bed.confirmed();
  publisher.letGo();
  await completed(bed);
  expect(eventsOf(publisher, -1).map(({ data }) => data)).toEqual([
    { Region: 'north', id: -1, note: 'row 3', total: '0.75' },
  ]);
  expect(eventsOf(publisher, 8).at(-1)?.data).toMatchObject({ Region: 'west' });
  expect(eventsOf(publisher, 9998).at(-1)?.data).toMatchObject({ Region: 'south', note: 'row 2' });
  const ids = new Set(publisher.accepted.map(seen).flatMap(({ data }) => data['id'] ?? []));
  expect(Array.from({ length: ROWS }, (_, n) => n + 1).filter((id) => !ids.has(id))).toEqual([2, 3]);
});

test('a row that moves between leaves meanwhile is last seen where it is, where every change is an event', async () => {
  await using bed = await makeBed(server, { name: 'partition_changes', setup });
  const publisher = new HeldAtFirstRow();
  const every = [...emit, { on: ['insert', 'update', 'delete'], detailType: 'Changed' }];
  await bed.start({ capture: [{ table: 'public."All Orders"', backfill: true, emit: every }] }, { publisher });
  await publisher.reached();
  await bed.sql(moves);
  await publisher.until(() => eventsOf(publisher, 9998).length > 0);
  publisher.letGo();
  await completed(bed);
  const last = new Map<string, SeenEvent>();
  const rows = publisher.accepted.map(seen).filter(({ metadata }) => metadata.operation !== 'backfill');
  for (const event of rows) last.set(JSON.stringify(event.metadata.key), event);
  const there = [...last.values()].filter(({ metadata }) => metadata.operation !== 'delete').map(({ data }) => data);
  const stored = await bed.sql<{ row: object }>(
    `select json_build_object('Region', "Region", 'id', id, 'note', note, 'total', total::text) as row from "All Orders" order by id`,
  );
  expect(byId(there)).toEqual(stored.map(({ row }) => row));
});
