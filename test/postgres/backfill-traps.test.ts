import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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

const ROWS = 3_000;
const setup = `create table orders (id integer primary key, note text);
  insert into orders select n, 'old' from generate_series(1, ${ROWS}) n`;
const config = { capture: [{ table: 'public.orders', backfill: true }] };

/** A bus that answers for the first row only when it is let go: the first chunk is not settled, the second is read, the third is not. */
class HeldAtFirstRow extends ScriptedPublisher {
  #held = true;

  constructor() {
    super(({ detailType, detail }) =>
      this.#held && detailType === 'OrdersImported' && (JSON.parse(detail) as SeenEvent).data['id'] === 1
        ? { do: 'hold' }
        : { do: 'accept' },
    );
  }

  async reached(): Promise<void> {
    await this.until(() => this.requests.flat().some(({ detailType }) => detailType === 'OrdersImported'));
  }

  letGo(): void {
    this.#held = false;
    this.release();
  }

  readsOf(id: number): SeenEvent[] {
    return this.eventsOf(id).filter(({ metadata }) => metadata.operation === 'read');
  }

  eventsOf(id: number): SeenEvent[] {
    return this.accepted.map(seen).filter(({ data }) => data['id'] === id);
  }
}

async function run(bed: WorkerBed): Promise<BackfillRun | undefined> {
  return (await (await bed.state()).backfills.latest('public.orders'))[0];
}

/** Until nothing is written any more: the marks of the chunk that is read ahead are behind us then. */
async function quiet(bed: WorkerBed): Promise<void> {
  const end = async () => (await bed.sql<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn'))[0]?.lsn;
  let last: string | undefined;
  let same = 0;
  await eventually(
    async () => {
      const now = await end();
      same = now === last ? same + 1 : 0;
      last = now;
      return same === 5;
    },
    () => 'the WAL never came to rest',
    { everyMs: 50 },
  );
}

/** Until so many more marks were set: only a chunk that is read again sets any while nobody writes. */
async function marksSet(bed: WorkerBed, count: number): Promise<void> {
  const end = async () => (await bed.sql<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn'))[0]?.lsn;
  const seenEnds = new Set<string | undefined>();
  await eventually(
    async () => seenEnds.add(await end()).size > count,
    () => `the WAL moved ${seenEnds.size} times only`,
    { everyMs: 10 },
  );
}

async function completed(bed: WorkerBed): Promise<void> {
  await eventually(
    async () => (await run(bed))?.status === 'completed',
    () => 'the backfill never ended',
    { timeoutMs: 20_000 },
  );
}

/** Until a commit of this client waits. That it knows the new setting is not enough: the checkpointer is who puts it in force. */
async function commitsHang(bed: WorkerBed, client: pg.Client): Promise<void> {
  const [backend] = (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows;
  await eventually(
    async () => {
      let ended = false;
      const probe = client.query(`select pg_logical_emit_message(true, 'probe', '')`).finally(() => (ended = true));
      const hangs = await eventually(async () => {
        const [activity] = await bed.sql<{ wait_event: string | null }>(
          `select wait_event from pg_stat_activity where pid = ${backend?.pid}`,
        );
        return ended ? 'no' : activity?.wait_event === 'SyncRep' && 'yes';
      });
      // A commit that waits is done all the same: to cancel it ends the waiting.
      if (hangs === 'yes') await bed.sql(`select pg_cancel_backend(${backend?.pid})`);
      await probe;
      return hangs === 'yes';
    },
    () => 'commits wait for no standby',
  );
}

/** A commit that is in the WAL, and that no other session sees: it waits for a standby that is not there. */
async function hangingCommit(bed: WorkerBed, statement: string): Promise<{ end(): Promise<void> }> {
  // Everybody else's commits wait for nobody.
  await bed.sql(`alter role postgres set synchronous_commit = local`);
  await bed.sql(`alter system set synchronous_standby_names = 'ghost'`);
  await bed.sql('select pg_reload_conf()');
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  await client.query('set synchronous_commit = on');
  await commitsHang(bed, client);
  const committed = client.query(statement);
  committed.catch(() => undefined);
  return {
    async end() {
      await bed.sql('alter system reset synchronous_standby_names');
      await bed.sql('select pg_reload_conf()');
      await committed;
      await client.end();
      await bed.sql('alter role postgres reset synchronous_commit');
    },
  };
}

describe('a commit that the stream shows before others see it', () => {
  test('is not followed by the older row, where it came while the table was being read', async () => {
    await using bed = await makeBed(server, { name: 'stale_read', setup });
    const publisher = new HeldAtFirstRow();
    await bed.sql(`alter role postgres set synchronous_commit = local`);
    await bed.start(config, { publisher });
    await publisher.reached();
    const hanging = await hangingCommit(bed, `update orders set note = 'new' where id = 2900`);
    await publisher.until(() => publisher.eventsOf(2900).length > 0);
    // What a reader sees is still the old row: without a guard it would be sent behind the new one.
    expect(await bed.sql('select note from orders where id = 2900')).toEqual([{ note: 'old' }]);
    publisher.letGo();
    // The chunks before it arrive; its own is read again and again.
    await publisher.until(() => publisher.readsOf(400).length > 0);
    await marksSet(bed, 6);
    expect(publisher.readsOf(2900)).toEqual([]);
    await hanging.end();
    await completed(bed);
    expect(publisher.eventsOf(2900).map(({ data }) => data['note'])).not.toContain('old');
    expect(new Set(publisher.accepted.map(seen).flatMap(({ data }) => data['id'] ?? [])).size).toBe(ROWS);
  });

  test('is not followed by the older row, where another worker streamed it', async () => {
    await using bed = await makeBed(server, { name: 'stale_restart', setup });
    await bed.sql(`alter role postgres set synchronous_commit = local`);
    const before = await bed.start({ capture: [{ table: 'public.orders' }] });
    const hanging = await hangingCommit(bed, `update orders set note = 'new' where id = 2900`);
    await bed.accepted(1);
    await bed.confirmed();
    await before.stop();
    await bed.start(config);
    await eventually(async () => (await run(bed))?.reason?.startsWith('waiting for a transaction'));
    expect(bed.events.filter(({ metadata }) => metadata.operation === 'read')).toEqual([]);
    await hanging.end();
    await completed(bed);
    const notes = bed.events.filter(({ data }) => data['id'] === 2900).map(({ data }) => data['note']);
    expect(notes.at(-1)).toBe('new');
    expect(notes).not.toContain('old');
  });
});

test('a row that an open transaction wrote before its table was published is waited for', async () => {
  await using bed = await makeBed(server, {
    name: 'open_transaction',
    setup: `${setup}; create table customers (id integer primary key)`,
  });
  const before = await bed.start({ capture: [{ table: 'public.customers' }] });
  await before.stop();
  const client = new pg.Client({ connectionString: bed.url, application_name: 'night job' });
  await client.connect();
  await client.query(`begin; insert into orders values (9999, 'open')`);
  await bed.start({ capture: [{ table: 'public.customers' }, { table: 'public.orders', backfill: true }] });
  const reason = await eventually(async () => (await run(bed))?.reason);
  expect(reason).toContain('night job');
  expect((await run(bed))?.status).toBe('waiting');
  await client.query('commit');
  await client.end();
  await completed(bed);
  expect(bed.events.filter(({ data }) => data['id'] === 9999).map(({ data }) => data['note'])).toEqual(['open']);
});

test('a row whose only change between the marks made no event arrives as it is then', async () => {
  await using bed = await makeBed(server, { name: 'silent_change', setup });
  const publisher = new HeldAtFirstRow();
  const emit = [
    { on: 'read', detailType: 'OrdersImported' },
    { on: 'update', when: `row.note == 'shipped'`, detailType: 'OrderShipped' },
  ];
  await bed.start({ capture: [{ table: 'public.orders', backfill: true, emit }] }, { publisher });
  await publisher.reached();
  await quiet(bed);
  await bed.sql(`update orders set note = 'silent' where id in (700, 900)`);
  await bed.sql('delete from orders where id = 701');
  await bed.confirmed();
  publisher.letGo();
  await completed(bed);
  expect(publisher.readsOf(700).map(({ data }) => data['note'])).toEqual(['silent']);
  expect(publisher.readsOf(900).map(({ data }) => data['note'])).toEqual(['silent']);
  expect(publisher.readsOf(701).length).toBeLessThanOrEqual(1);
});

test('a change between the marks that made a whole event is not followed by the older row', async () => {
  await using bed = await makeBed(server, { name: 'whole_change', setup });
  const publisher = new HeldAtFirstRow();
  await bed.start(config, { publisher });
  await publisher.reached();
  await quiet(bed);
  await bed.sql(
    `update orders set note = 'changed' where id = 700; update orders set id = 7000 where id = 701; delete from orders where id = 702`,
  );
  await publisher.until(() => publisher.eventsOf(702).length > 0);
  publisher.letGo();
  await completed(bed);
  expect(publisher.eventsOf(700).at(-1)?.data).toMatchObject({ note: 'changed' });
  expect(publisher.eventsOf(702).at(-1)?.metadata.operation).toBe('delete');
  const last = publisher.accepted
    .map(seen)
    .findLast(({ metadata }) => metadata.key['id'] === 701 || metadata.previousKey?.['id'] === 701);
  expect(last?.metadata.operation).toBe('update');
});

test('a truncate between the marks leaves nothing of the chunk to be sent behind it', async () => {
  await using bed = await makeBed(server, { name: 'truncated', setup });
  const publisher = new HeldAtFirstRow();
  await bed.start(config, { publisher });
  await publisher.reached();
  await quiet(bed);
  await bed.sql(`truncate orders; insert into orders values (1500, 'after')`);
  await quiet(bed);
  publisher.letGo();
  await completed(bed);
  const events = publisher.accepted.map(seen);
  const truncated = events.findIndex(({ metadata }) => metadata.operation === 'truncate');
  const behind = events.slice(truncated + 1).filter(({ metadata }) => metadata.operation === 'read');
  expect(truncated).toBeGreaterThan(0);
  expect(new Set(behind.map(({ data }) => data['id']))).toEqual(new Set(behind.length > 0 ? [1500] : []));
  expect(publisher.eventsOf(1500).at(-1)?.data).toMatchObject({ note: 'after' });
});

test('a column that is added between the marks is in every row that is sent afterwards', async () => {
  await using bed = await makeBed(server, { name: 'reshaped', setup });
  const publisher = new HeldAtFirstRow();
  await bed.start(config, { publisher });
  await publisher.reached();
  await quiet(bed);
  await bed.sql(`alter table orders add column state text default 'fresh'`);
  publisher.letGo();
  await completed(bed);
  // The chunk that was being sent and the one that was read by then have the old form, which was the table's at their place in the stream.
  expect(publisher.readsOf(ROWS)[0]?.data).toEqual({ id: ROWS, note: 'old', state: 'fresh' });
});

test('a table without a key is read from its beginning again when it was rewritten meanwhile', async () => {
  await using bed = await makeBed(server, {
    name: 'rewritten',
    setup: `create table orders (id integer, note text); alter table orders replica identity full;
      insert into orders select n, 'old' from generate_series(1, ${ROWS}) n`,
  });
  const publisher = new HeldAtFirstRow();
  await bed.start(config, { publisher });
  await publisher.reached();
  await quiet(bed);
  // Its rows move to the front of another file: positions behind the first chunks are other rows now.
  await bed.sql('delete from orders where id < 900');
  await bed.sql('vacuum full orders');
  publisher.letGo();
  await completed(bed);
  const read = new Set(
    publisher.accepted.map(seen).flatMap(({ data, metadata }) => (metadata.operation === 'read' ? [data['id']] : [])),
  );
  expect(Array.from({ length: ROWS - 899 }, (_, n) => n + 900).filter((id) => !read.has(id))).toEqual([]);
});

test('a table that is rewritten while a chunk waits for it is read whole', async () => {
  await using bed = await makeBed(server, { name: 'rewriting', setup });
  const publisher = new HeldAtFirstRow();
  await bed.start(config, { publisher });
  await publisher.reached();
  await quiet(bed);
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await client.query('begin; lock table orders in access exclusive mode');
    publisher.letGo();
    // The next chunk waits for the lock by now; what it sees is decided when it gets it.
    await eventually(
      async () => (await bed.sql('select from pg_locks where not granted')).length > 0,
      () => 'no chunk ever waited',
    );
    await client.query('alter table orders alter column note type text using upper(note); commit');
  } finally {
    await client.end();
  }
  await completed(bed);
  const read = new Set(publisher.accepted.map(seen).flatMap(({ data }) => data['id'] ?? []));
  expect(read.size).toBe(ROWS);
});

test('a run that is paused before it begins neither begins nor is said to be completed', async () => {
  await using bed = await makeBed(server, { name: 'paused_early', setup });
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await bed.start({ capture: [{ table: 'public.orders' }] });
    await client.query(`begin; update orders set note = 'open' where id = 5`);
    await bed.ask('backfill', { action: 'start', table: 'public.orders' });
    await eventually(async () => (await run(bed))?.reason?.startsWith('waiting for a transaction'));
    // Both at once: the runner has not looked again when the writer is gone.
    await Promise.all([bed.sql(`update banyan.backfill_run set status = 'paused'`), client.query('commit')]);
    await quiet(bed);
    await bed.confirmed();
    expect(bed.events.map(({ detailType }) => detailType)).not.toContain('BackfillCompleted');
    expect((await run(bed))?.status).toBe('paused');
    await bed.ask('backfill', { action: 'resume', table: 'public.orders' });
    await completed(bed);
    expect(bed.events.filter(({ metadata }) => metadata.operation === 'read')).toHaveLength(ROWS);
  } finally {
    await client.end();
  }
});
