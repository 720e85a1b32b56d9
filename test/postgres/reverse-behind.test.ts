import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Intent, Target } from '../../src/reverse/intent.ts';
import { ApplyBed, brief } from '../support/apply-bed.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const APPLY = [
  {
    match: { source: ['shop.orders'] },
    table: 'public.orders',
    operation: 'upsert',
    key: { id: 'detail.id' },
    set: { status: 'detail.status' },
    version: 'detail.version',
    basedOn: 'detail.basedOn',
  },
];
const changed = (id: number, basedOn: string) =>
  bodyOf({
    id: `order-${id}`,
    type: 'OrderChanged',
    detail: { id, status: 'new', version: 1, basedOn },
  });

describe('a stream that is behind', () => {
  let bed: ApplyBed;
  let based: Target;
  let upsert: Target;
  let number = 0;

  beforeAll(async () => {
    bed = await ApplyBed.open(server, 'behind', 'create table orders (id int primary key, status text)');
    const entry = { table: 'public.orders', set: ['status'] };
    based = await bed.target({ ...entry, basedOn: 'detail.basedOn' });
    upsert = await bed.target(entry);
  });
  afterAll(() => bed?.[Symbol.asyncDispose]());

  /** Rows that both sides changed, and events for them that had seen it. */
  async function asking(count: number): Promise<{ ids: string[]; intents: Intent[] }> {
    const ids = Array.from({ length: count }, () => `${++number}`);
    await bed.apply(ids.map((id) => bed.intent(upsert, { key: [id], values: ['new'], version: 1 })));
    await bed.pool.query(`update orders set status = 'by legacy' where id in (${ids.join(',')})`);
    const sequence = '0001-00000001-0000000000000008-0000000000-00';
    await bed.state.legacyChanges.record(ids.map((id) => ({ table: 'public.orders', key: [id], sequence })));
    const asked = { values: ['paid'], version: 2, basedOn: sequence };
    return { ids, intents: ids.map((id) => bed.intent(based, { ...asked, key: [id] })) };
  }

  const statusOf = (id: string | undefined) => bed.rows(`select status from orders where id = ${id}`);

  test('keeps the rows of a transaction locked for a second in all, not for one each', async () => {
    const { ids, intents } = await asking(6);
    let waited: Promise<number> | undefined;
    const caughtUp = async () => {
      // The first row is locked when the first event asks.
      waited ??= (async () => {
        const began = performance.now();
        await bed.rows(`select from orders where id in (${ids.join(',')}) for update`);
        return performance.now() - began;
      })();
      await pause(600);
    };
    const outcomes = await bed.apply(intents, { caughtUp });
    expect(outcomes.map(brief)).toEqual(intents.map(() => 'applied echo'));
    expect(await waited).toBeGreaterThan(500);
    expect(await waited).toBeLessThan(2_000);
  });

  test('is said after two tries, for the events that have to know it only', async () => {
    const { ids, intents } = await asking(2);
    const free = bed.intent(upsert, { key: [`${++number}`], values: ['new'], version: 1 });
    const isTransactionOpen = async () => {
      const [row] = await bed.rows(`select 1 from pg_stat_activity where datname = current_database()
        and state = 'idle in transaction'`);
      return row !== undefined;
    };
    // Always a little too far behind for what is locked, never for long.
    const caughtUp = async () => {
      if (await isTransactionOpen()) await new Promise(() => undefined);
    };
    const outcomes = await bed.apply([...intents, free], { caughtUp });
    expect(outcomes.map(brief)).toEqual(['failed stream-behind', 'failed stream-behind', 'applied echo']);
    const [behind] = outcomes;
    expect(behind).toMatchObject({ error: { reaction: 'retry', message: expect.stringMatching(/behind/) as string } });
    expect(await statusOf(ids[0])).toEqual([{ status: 'by legacy' }]);
    // Nothing is left of it, so it can be tried again.
    expect((await bed.apply(intents)).map(brief)).toEqual(['applied echo', 'applied echo']);
  });

  test('that does not come near is not waited for with a row locked again', async () => {
    const { ids, intents } = await asking(1);
    const calls: number[] = [];
    const caughtUp = async () => {
      calls.push(performance.now());
      await new Promise(() => undefined);
    };
    expect((await bed.apply(intents, { caughtUp })).map(brief)).toEqual(['failed stream-behind']);
    expect(calls).toHaveLength(2);
    expect(await statusOf(ids[0])).toEqual([{ status: 'by legacy' }]);
  });
});

test('an event that only a stream far behind could decide is tried again, with a word, and holds up no other', async () => {
  const setup = `create table orders (id int primary key, status text)`;
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_behind', setup });
  const worker = await bed.startRunning({ capture: [{ table: 'public.orders' }], reverse: { apply: APPLY } });
  await using blocker = await transaction(bed.url);
  // The stream can not write down what it has seen.
  await blocker.client.query('lock table banyan.legacy_change in exclusive mode');
  await bed.sql(`insert into orders values (1, 'by legacy')`);
  const [seen] = await bed.accepted(1);
  const { sequence = '' } = seen?.metadata ?? {};
  await bed.queue.send(changed(1, sequence), changed(2, sequence));
  const said = () =>
    bed.logged
      .map((line) => JSON.parse(line) as { kind?: string; msg: string })
      .filter(({ kind }) => kind === 'stream-behind');
  await eventually(() => said().length >= 2, undefined, { timeoutMs: 30_000 });
  expect(said()[0]?.msg).toMatch(/^public\.orders: .*the stream is more than 1 s behind/);
  expect(await bed.sql('select id, status from orders order by id')).toEqual([
    { id: 1, status: 'by legacy' },
    { id: 2, status: 'new' },
  ]);
  expect(worker.status().reverse).toMatchObject({ applied: { echo: 1 }, parked: 0 });

  await blocker.client.query('rollback');
  await bed.queue.empty();
  expect(await bed.sql('select status from orders where id = 1')).toEqual([{ status: 'new' }]);
});

test('an event that the stream could not decide when the worker stopped comes again', async () => {
  const setup = 'create table orders (id int primary key, status text)';
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_behind_stop', setup });
  const worker = await bed.startRunning({ capture: [{ table: 'public.orders' }], reverse: { apply: APPLY } });
  await using blocker = await transaction(bed.url);
  await blocker.client.query('lock table banyan.legacy_change in exclusive mode');
  await bed.sql(`insert into orders values (1, 'by legacy')`);
  await bed.queue.send(changed(1, '0001-00000001-0000000000000000-0000000000-00'));
  // As often as what is not understood is tried before it is set aside.
  await worker.until('tried', ({ reverse }) => (reverse?.retried ?? 0) >= 4 && (reverse?.inFlight ?? 0) > 0);
  const stopping = worker.stop();
  // So that what waits for the stream sees the stop before the stream could come by.
  await pause(500);
  await blocker.client.query('rollback');
  await stopping;
  expect(await bed.sql('select kind, message from banyan.dead_letter')).toEqual([]);
});

test('what the stream held up is no problem any more when the event is parked', async () => {
  const setup = 'create table orders (id int primary key, status text)';
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_behind_over', setup });
  const entry = { ...APPLY[0], conflict: 'park' };
  const worker = await bed.startRunning({ capture: [{ table: 'public.orders' }], reverse: { apply: [entry] } });
  await using blocker = await transaction(bed.url);
  await blocker.client.query('lock table banyan.legacy_change in exclusive mode');
  await bed.sql(`insert into orders values (1, 'by legacy')`);
  await bed.queue.send(changed(1, '0001-00000001-0000000000000000-0000000000-00'));
  await worker.until('it waits', ({ reverse }) => reverse?.problem?.kind === 'stream-behind');
  await blocker.client.query('rollback');
  await worker.until('it is parked', ({ reverse }) => reverse?.parked === 1 && reverse.inHand === 0);
  expect(worker.status().reverse?.problem).toBeUndefined();
});

test('an event that the stream could not decide is tried alone the next time', async () => {
  // Counted in a sequence: that forgets nothing when a transaction is undone.
  const setup = `create table orders (id int primary key, status text); create sequence tries;
    create function try_of_row() returns trigger language plpgsql security definer as
      $$ begin if new.id = 3 then perform nextval('tries'); end if; return new; end $$;
    create trigger tries before insert on orders for each row execute function try_of_row()`;
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_behind_alone', setup });
  const worker = await bed.startRunning({
    capture: [{ table: 'public.orders' }],
    legacy: { lockTimeout: '60s' },
    reverse: { apply: APPLY, concurrency: 1 },
  });
  await using blocker = await transaction(bed.url);
  await blocker.client.query('lock table banyan.legacy_change in exclusive mode');
  await bed.sql(`insert into orders values (8, 'by legacy')`);
  const [seen] = await bed.accepted(1);
  const { sequence = '' } = seen?.metadata ?? {};
  await bed.queue.send(changed(8, sequence));
  await worker.until('it could not be decided', ({ reverse }) => (reverse?.retried ?? 0) > 0);
  // The only worker is busy while the next one comes, and the other becomes ready again: they could share a transaction.
  await using other = await transaction(bed.url);
  await other.client.query(`insert into orders values (9, 'not for long')`);
  await bed.queue.send(changed(9, sequence));
  await eventually(async () => (await bed.sql(BLOCKED)).length > 0, undefined, { timeoutMs: 20_000 });
  await bed.queue.send(changed(3, sequence));
  await worker.until('all are in hand', ({ reverse }) => reverse?.inHand === 3);
  // Nothing tells when its wait is over.
  await pause(1_000);
  await other.client.query('rollback');
  await eventually(async () => (await bed.sql('select from orders where id = 3')).length > 0, undefined, {
    timeoutMs: 20_000,
  });
  expect(await bed.sql('select last_value::int as tries from tries')).toEqual([{ tries: 1 }]);
  await blocker.client.query('rollback');
  await bed.queue.empty();
});

/** A session of the worker that waits for somebody's row. */
const BLOCKED = `select from pg_stat_activity where datname = current_database() and application_name like 'banyan %'
  and wait_event_type = 'Lock' and wait_event = 'transactionid'`;

async function transaction(url: string): Promise<{ readonly client: pg.Client } & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('begin');
  return { client, [Symbol.asyncDispose]: () => client.end() };
}
