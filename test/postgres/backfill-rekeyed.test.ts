import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, seen, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const ROWS = 3_000;
/** Two keys whose orders are opposite: what is behind the one is before the other. */
const setup = `create table orders (a int not null, b int not null, code text not null unique, note text, constraint orders_key primary key (a));
  insert into orders select n, ${ROWS} - n, n::text, 'old' from generate_series(1, ${ROWS}) n`;
const capture = {
  table: 'public.orders',
  backfill: true,
  emit: [
    { on: 'read', detailType: 'Read' },
    { on: 'update', when: `row.note == 'shipped'`, detailType: 'Shipped' },
  ],
};

/** A bus that answers for a row behind the first chunk only when it is let go: one cursor is stored by then. */
class HeldBehindFirstChunk extends ScriptedPublisher {
  #held = true;

  constructor() {
    super((event) =>
      this.#held && event.detailType === 'Read' && seen(event).data['a'] === 600 ? { do: 'hold' } : { do: 'accept' },
    );
  }

  async reached(): Promise<void> {
    await this.until(() => this.requests.flat().some((event) => seen(event).data['a'] === 600));
  }

  letGo(): void {
    this.#held = false;
    this.release();
  }

  readRows(): ReadonlySet<unknown> {
    const reads = this.accepted.map(seen).filter(({ detailType }) => detailType === 'Read');
    return new Set(reads.map(({ data }) => Number(data['code'])));
  }
}

const EVERY_ROW = new Set(Array.from({ length: ROWS }, (_, index) => index + 1));

async function completed(bed: WorkerBed): Promise<void> {
  await eventually(
    async () => {
      const [run] = await (await bed.state()).backfills.latest('public.orders');
      expect({ status: run?.status, reason: run?.reason }).not.toMatchObject({ status: 'failed' });
      return run?.status === 'completed';
    },
    () => 'the backfill never ended',
    { timeoutMs: 20_000 },
  );
}

/** Another key; another order of it; another order of the same column. */
const changes = [
  ['another primary key', 'alter table orders drop constraint orders_key, add primary key (b)', ['b integer']],
  [
    'a column more in it',
    'alter table orders drop constraint orders_key, add primary key (b, a)',
    ['b integer', 'a integer'],
  ],
  [
    'another column of its replica identity',
    'alter table orders replica identity using index orders_code_key',
    ['code text'],
  ],
  [
    'another type of its column',
    `alter table orders alter a type text using lpad((${ROWS} - a)::text, 5, '0')`,
    ['a text'],
  ],
] as const;

test.for(changes)('a run whose table gets %s reads every row, in the same session', async ([, ddl, key], { task }) => {
  await using bed = await makeBed(server, {
    name: `rekeyed_${changes.findIndex((each) => task.name.includes(each[0]))}`,
    setup,
  });
  const publisher = new HeldBehindFirstChunk();
  await bed.start({ capture: [capture] }, { publisher });
  await publisher.reached();
  await bed.sql(ddl);
  // Told of the new form, the stream brings rows that move by the new key: without an event of their own.
  await bed.sql(`update orders set b = -1 where code = '2900'`);
  publisher.letGo();
  await completed(bed);
  expect((await (await bed.state()).backfills.latest())[0]?.key).toEqual(key);
  const codes = new Set(publisher.accepted.map(seen).flatMap(({ data }) => Number(data['code'] ?? 0)));
  expect([...EVERY_ROW].filter((code) => !codes.has(code))).toEqual([]);
  expect(publisher.accepted.map(seen).findLast(({ data }) => data['code'] === '2900')?.data['b']).toBe(-1);
});

test.for([
  ['a column', 'alter table orders drop column extra'],
  ['the type of the key', 'alter table orders alter a type bigint'],
])('a chunk that waits while %s changes is read again', async ([what, ddl]) => {
  const name = `altered_${what?.replaceAll(' ', '_')}`;
  await using bed = await makeBed(server, { name, setup: `${setup}; alter table orders add column extra text` });
  const publisher = new HeldBehindFirstChunk();
  await bed.start({ capture: [capture] }, { publisher });
  await publisher.reached();
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await client.query('begin; lock table orders in access exclusive mode');
    publisher.letGo();
    await eventually(
      async () => (await bed.sql('select from pg_locks where not granted')).length > 0,
      () => 'no chunk ever waited',
    );
    await client.query(`${ddl}; commit`);
  } finally {
    await client.end();
  }
  await completed(bed);
  const read = publisher.readRows();
  expect([...EVERY_ROW].filter((row) => !read.has(row))).toEqual([]);
});

test('a run whose table got another key while no worker ran reads every row', async () => {
  await using bed = await makeBed(server, { name: 'rekeyed_between', setup });
  const publisher = new HeldBehindFirstChunk();
  const before = await bed.start({ capture: [capture] }, { publisher });
  await publisher.reached();
  await eventually(async () => ((await (await bed.state()).backfills.latest())[0]?.rowsSent ?? 0) > 0);
  const stopped = before.stop();
  await stopped;
  await bed.sql('alter table orders drop constraint orders_key, add primary key (b)');
  publisher.letGo();
  await bed.start({ capture: [capture] }, { publisher });
  await completed(bed);
  const read = publisher.readRows();
  expect([...EVERY_ROW].filter((row) => !read.has(row))).toEqual([]);
});
