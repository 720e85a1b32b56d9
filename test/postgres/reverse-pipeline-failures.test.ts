import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { startWorker } from '../../src/worker.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = 'create table orders (id integer primary key, status text)';
const capture = [{ table: 'public.orders' }];

const entry = {
  match: { source: ['shop.orders'] },
  table: 'public.orders',
  operation: 'upsert',
  key: { id: 'detail.orderId' },
  set: { status: 'detail.status' },
  version: 'detail.version',
};

function orderChanged(orderId: number, version: number): string {
  return bodyOf({
    id: `${orderId}-${version}`,
    type: 'OrderChanged',
    detail: { orderId, version, status: `v${version}` },
  });
}

const orders = (bed: ReverseWorkerBed) =>
  bed.sql<{ id: number; status: string }>('select id, status from orders order by id');

/** Waits until a session of the way back waits for a lock; returns its process id. */
async function blockedWriter(bed: ReverseWorkerBed): Promise<number> {
  const { pid } = await eventually(
    async () =>
      (
        await bed.sql<{ pid: number }>(
          `select pid from pg_stat_activity where datname = current_database() and application_name like 'banyan %'
             and wait_event_type = 'Lock'`,
        )
      )[0],
    () => 'no session of the way back waits for the lock',
    { timeoutMs: 20_000 },
  );
  return pid;
}

/** A session that locks a row until it is ended. */
async function lockRow(bed: ReverseWorkerBed, id: number): Promise<AsyncDisposable & { release(): Promise<void> }> {
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  await client.query('begin');
  await client.query('select from orders where id = $1 for update', [id]);
  let ended: Promise<void> | undefined;
  const release = () => (ended ??= client.query('rollback').then(() => client.end()));
  return { release, [Symbol.asyncDispose]: release };
}

test('a connection that is lost in the middle of an apply leaves nothing half done, and the event is applied once', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_cut', setup });
  const worker = await bed.startRunning({ capture, reverse: { apply: [{ ...entry, conflict: 'new-wins' }] } });
  await bed.sql(`insert into orders values (1, 'legacy')`);
  await bed.accepted(1);
  await using lock = await lockRow(bed, 1);
  await bed.queue.send(orderChanged(1, 1));
  const pid = await blockedWriter(bed);
  await bed.sql(`select pg_terminate_backend(${pid})`);
  await worker.until('it is tried again', ({ reverse }) => (reverse?.retried ?? 0) > 0);
  expect(await bed.sql('select * from banyan.inbox')).toEqual([]);
  expect(await bed.sql('select * from banyan.dead_letter')).toEqual([]);
  await lock.release();
  await bed.queue.empty();
  expect(await orders(bed)).toEqual([{ id: 1, status: 'v1' }]);
  expect(await bed.sql('select outcome from banyan.inbox')).toEqual([{ outcome: 'applied' }]);
  expect(worker.status().reverse).toMatchObject({ state: 'running', duplicate: 0, parked: 0 });
});

test('while one event waits for a lock, those of other rows are applied', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_lock', setup });
  await bed.startRunning({ capture, reverse: { apply: [{ ...entry, conflict: 'new-wins' }], concurrency: 2 } });
  await bed.sql(`insert into orders values (1, 'legacy')`);
  await using lock = await lockRow(bed, 1);
  await bed.queue.send(orderChanged(1, 1));
  await blockedWriter(bed);
  await bed.queue.send(orderChanged(2, 1), orderChanged(3, 1));
  await eventually(
    async () => (await orders(bed)).length === 3,
    () => 'other rows are held up',
    { timeoutMs: 20_000 },
  );
  await lock.release();
  await bed.queue.empty();
  expect(await orders(bed)).toEqual([1, 2, 3].map((id) => ({ id, status: 'v1' })));
});

/** Counts each attempt to insert a row, in sequences: those forget nothing when a transaction is undone. */
const countTries = `
  create function try_of_row() returns trigger language plpgsql security definer as
    $$ begin perform nextval('tries_' || new.id); return new; end $$;
  create trigger tries before insert on orders for each row execute function try_of_row();
  create sequence tries_2; create sequence tries_3`;

test('an event that runs into a lock holds up those of its transaction once, and is tried alone from then on', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_lock_alone', setup });
  await bed.sql(`insert into orders values (7, 'legacy'), (9, 'legacy'); ${countTries}`);
  const worker = await bed.startRunning({
    capture,
    reverse: { apply: [{ ...entry, conflict: 'new-wins' }], concurrency: 1 },
  });
  await using seven = await lockRow(bed, 7);
  // The only worker is busy while the others come, so that they share a transaction.
  await using nine = await lockRow(bed, 9);
  await bed.queue.send(orderChanged(9, 1));
  await blockedWriter(bed);
  await bed.queue.send(...[2, 3, 7].map((id) => orderChanged(id, 1)));
  await worker.until('all are in hand', ({ reverse }) => reverse?.inHand === 4);
  await nine.release();
  await worker.until('they are at work together', ({ reverse }) => reverse?.inFlight === 3);
  // Until the lock's time is over once more all three have become ready again.
  await using later = await lockRow(bed, 9);
  await bed.queue.send(orderChanged(9, 2));
  await worker.until('the later one is in hand', ({ reverse }) => reverse?.inHand === 4);
  await eventually(
    async () => (await orders(bed)).filter(({ status }) => status === 'v1').length === 3,
    () => 'the others of the transaction are held up',
    { timeoutMs: 20_000 },
  );
  // The lock is met when the rows are read, before the first is written.
  expect(
    await bed.sql(
      'select (select last_value from tries_2)::int as two, (select last_value from tries_3)::int as three',
    ),
  ).toEqual([{ two: 1, three: 1 }]);
  expect((await orders(bed)).find(({ id }) => id === 7)?.status).toBe('legacy');
  await Promise.all([seven.release(), later.release()]);
  await bed.queue.empty();
});

test('a role without the right to write is waited for, said in the status, and goes on by itself', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_right', setup });
  const worker = await bed.startRunning({ capture, reverse: { apply: [entry] } });
  await bed.sql('revoke insert on orders from "reverse_right worker"');
  await bed.queue.send(orderChanged(1, 1));
  const { reverse } = await worker.until('it waits', (status) => status.reverse?.state === 'waiting');
  expect(reverse?.problem).toMatchObject({ kind: 'database-privilege' });
  expect(worker.status().state).toBe('streaming');
  await expect((await fetch(`${worker.worker.url}/readyz`)).text()).resolves.toContain('reverse sync waiting');
  await bed.sql('grant insert (id, status) on orders to "reverse_right worker"');
  await bed.queue.empty();
  await worker.until('it runs', (status) => status.reverse?.state === 'running');
  expect(await orders(bed)).toEqual([{ id: 1, status: 'v1' }]);
});

test('a queue that is not there ends nothing, and is read when it comes', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_queue', setup });
  const queue = bed.queue.url.replace(/back$/, 'later');
  const worker = await bed.start({ capture, reverse: { apply: [entry], queue } });
  const { reverse } = await worker.until('it waits', (status) => status.reverse?.state === 'waiting');
  expect(reverse?.problem).toMatchObject({ kind: 'queue-missing' });
  await bed.sql(`insert into orders values (9, 'legacy')`);
  await bed.accepted(1);
  await bed.bus.invokeQueues('CreateQueue', { QueueName: 'later' });
  await bed.bus.invokeQueues('SendMessage', { QueueUrl: queue, MessageBody: orderChanged(1, 1) });
  await eventually(
    async () => (await orders(bed)).length === 2,
    () => 'the event is not applied',
    { timeoutMs: 30_000 },
  );
});

test('a stop gives back what it has not begun, and ends what it has', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_stop', setup });
  const first = await bed.startRunning({
    capture,
    reverse: { apply: [{ ...entry, conflict: 'new-wins' }], concurrency: 1 },
  });
  await bed.sql(`insert into orders values (1, 'legacy')`);
  await using lock = await lockRow(bed, 1);
  await bed.queue.send(orderChanged(1, 1));
  await blockedWriter(bed);
  await bed.queue.send(...[2, 3, 4, 5].map((id) => orderChanged(id, 1)));
  await first.until('all are in hand', ({ reverse }) => reverse?.inHand === 5);
  const stopped = first.stop();
  await lock.release();
  await stopped;
  expect(await orders(bed)).toEqual([{ id: 1, status: 'v1' }]);
  const begun = performance.now();
  const second = await bed.startRunning({ capture, reverse: { apply: [entry] } });
  await bed.queue.empty();
  // What was not given back would have been invisible for ten seconds.
  expect(performance.now() - begun).toBeLessThan(8_000);
  expect(await orders(bed)).toEqual([1, 2, 3, 4, 5].map((id) => ({ id, status: 'v1' })));
  expect(second.status().reverse).toMatchObject({ received: 4, duplicate: 0 });
});

test('a parked conflict is resolved on request, and what waits behind it is applied', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_resolve', setup });
  await bed.startRunning({ capture, reverse: { apply: [{ ...entry, conflict: 'park' }] } });
  await bed.sql(`insert into orders values (1, 'legacy'), (2, 'legacy')`);
  await bed.queue.send(orderChanged(1, 1), orderChanged(2, 1));
  const state = await bed.state();
  await eventually(
    async () => (await state.conflicts.countOpen()) === 2,
    () => 'no conflict',
    { timeoutMs: 20_000 },
  );
  await bed.queue.empty();
  const open = await state.conflicts.list({ open: true });
  const of = (id: number) => open.find(({ key }) => key['id'] === `${id}`)?.id;
  expect(await bed.ask('resolve-conflict', { conflict: of(1), keep: 'proposed', by: 'jo' })).toEqual({
    outcome: 'applied',
  });
  expect(await bed.ask('resolve-conflict', { conflict: of(2), keep: 'current', by: 'jo' })).toEqual({
    outcome: 'refused',
  });
  expect(await orders(bed)).toEqual([
    { id: 1, status: 'v1' },
    { id: 2, status: 'legacy' },
  ]);
  expect(
    (await state.conflicts.list({})).map(({ id, resolution, resolvedBy }) => [id, resolution, resolvedBy]),
  ).toEqual(
    [
      [of(1), 'new-wins', 'jo'],
      [of(2), 'legacy-wins', 'jo'],
    ].toSorted(([one], [other]) => Number(other) - Number(one)),
  );
  await expect(bed.ask('resolve-conflict', { conflict: of(1), keep: 'current', by: 'jo' })).rejects.toThrow(
    'resolved already',
  );
});

test('with the embedded bus, queue and rule of the way back are made by the worker', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'reverse_local', setup });
  const config = {
    name: 'reverse_local',
    legacy: { url: bed.url },
    bus: { type: 'local', name: 'shop', port: 0, linger: '1ms' },
    capture,
    reverse: { queue: 'http://127.0.0.1:4011/000000000000/shop-back', apply: [entry] },
    http: { port: 0 },
    shutdownTimeout: '5s',
  };
  const loaded = await parseConfig(JSON.stringify(config), { file: undefined, env: {} });
  const worker = await startWorker({ loaded, log: pino({ level: 'silent' }) });
  try {
    await eventually(
      () => worker.status().reverse?.state === 'running',
      () => 'reverse sync does not run',
      { timeoutMs: 20_000 },
    );
    await (await bed.state()).stages.set('public.orders', 'dual', 'a test');
    const put = (Source: string, orderId: number) =>
      worker.bus?.invoke('PutEvents', {
        Entries: [
          {
            EventBusName: 'shop',
            Source,
            DetailType: 'OrderChanged',
            Detail: JSON.stringify({ orderId, version: 1, status: 'placed' }),
          },
        ],
      });
    put('shop.other', 1);
    put('shop.orders', 2);
    await eventually(
      async () => (await orders(bed)).length === 1,
      () => 'the event is not applied',
      { timeoutMs: 20_000 },
    );
    expect(await orders(bed)).toEqual([{ id: 2, status: 'placed' }]);
    expect(worker.status().reverse).toMatchObject({ received: 1, unmatched: 0 });
  } finally {
    await worker.stop();
  }
});
