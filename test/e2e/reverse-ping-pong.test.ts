import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { startLocalBus } from '../../src/local-bus/local-bus.ts';
import { createQueueTarget } from '../../src/local-bus/queue-target.ts';
import { eventually } from '../support/eventually.ts';
import { NewSystem } from '../support/new-system.ts';
import { isStreaming, spawnWorker, type WorkerProcess } from '../support/worker-process.ts';

const ORDERS = 20;
const SECONDS = 20;
const KILLS = 4;
/** Changes a second, of each side. */
const RATE = 25;

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

/** `orders_log` is the judge: what was written to a row, by whomever, in order. Nobody captures it. */
const SCHEMA = `
  create table orders (id integer primary key, status text not null, touched integer not null default 0);
  create table orders_log (n bigint generated always as identity, id integer, status text);
  create function log_order() returns trigger language plpgsql as $$
    begin insert into orders_log (id, status) values (new.id, new.status); return null; end $$;
  create trigger log_order after update of status on orders for each row execute function log_order();
  insert into orders select n, 'placed' from generate_series(1, ${ORDERS}) n`;

test.each(['legacy-wins', 'new-wins'] as const)(
  'both sides write the same rows, with repeats, disorder and kills, and end equal: %s',
  async (conflict) => {
    const name = conflict.replace('-', '_');
    const url = await server.createDatabase(`ping_${name}`);
    const pool = new pg.Pool({ connectionString: url, max: 4 });
    pool.on('error', () => undefined);
    await pool.query(SCHEMA);
    const bus = await startLocalBus();
    try {
      const queue = await createQueueTarget(bus, {
        busName: 'shop',
        ruleName: 'back',
        pattern: { source: ['shop.orders'] },
        queueName: 'back',
      });
      const config = configOf({
        name,
        url,
        endpoint: bus.url,
        queueUrl: queue.queueUrl,
        queues: bus.queuesUrl,
        conflict,
      });
      const ids = Array.from({ length: ORDERS }, (_, index) => index + 1);
      const newSystem = new NewSystem({ bus, busName: 'shop', ids, delayMs: 150, repeats: 0.2 });

      let worker = await started(config);
      const ends = performance.now() + SECONDS * 1_000;
      const legacy = legacyTraffic(pool, ids, ends);
      const change = newTraffic(newSystem, ids, ends);
      for (let kill = 0; kill < KILLS; kill += 1) {
        await pause((SECONDS * 1_000) / (KILLS + 1));
        await worker.kill();
        worker = await started(config);
      }
      const legacyChanges = await legacy;
      await change;

      const isEqual = async () => {
        await newSystem.quiet();
        const rows = await statuses(pool);
        return ids.every((id) => rows.get(id) === newSystem.orders.get(id)?.status);
      };
      await eventually(
        async () => (await isEqual()) && (await isSettled(bus, queue.queueUrl, worker)),
        () => `the two sides never became equal; the worker logged:\n${worker.log().slice(-3_000)}`,
        { timeoutMs: 60_000, everyMs: 200 },
      );
      // Equal, and it stays so: nothing of it comes round again.
      const counted = newSystem.seen.length;
      await pause(1_500);
      expect(newSystem.seen.length).toBe(counted);
      expect(await isEqual()).toBe(true);
      await worker.stop();

      // Legacy writes are told by their values: one of the new system under the legacy side's name is an echo.
      const echoes = newSystem.seen.filter(({ origin, status }) => origin === 'legacy' && status?.startsWith('N-'));
      expect(echoes).toEqual([]);
      const { rows: twice } = await pool.query(
        `select status, count(*) from orders_log where status like 'N-%' group by status having count(*) > 1`,
      );
      expect(twice).toEqual([]);
      const { rows: applied } = await pool.query<{ count: number }>(
        `select count(*)::int from orders_log where status like 'N-%'`,
      );
      expect(applied[0]?.count).toBeGreaterThan(20);
      // A change makes one event, a conflict one correction: more would be a loop.
      const { rows: conflicts } = await pool.query<{ count: number }>(`select count(*)::int from banyan.conflict`);
      expect(conflicts[0]?.count).toBeGreaterThan(0);
      const events = new Set(newSystem.seen.map((each) => JSON.stringify(each)));
      expect(events.size).toBeLessThanOrEqual(legacyChanges + newSystem.written.length);
    } finally {
      await pool.end();
      await bus.close();
    }
  },
  180_000,
);

function configOf(place: {
  name: string;
  url: string;
  endpoint: string;
  queueUrl: string;
  queues: string | undefined;
  conflict: 'legacy-wins' | 'new-wins';
}) {
  return {
    name: place.name,
    legacy: { url: place.url },
    bus: { type: 'local', name: 'shop', endpoint: place.endpoint, linger: '1ms' },
    capture: [{ table: 'public.orders', source: 'legacy.shop' }],
    reverse: {
      queue: place.queueUrl,
      endpoint: place.queues,
      visibilityTimeout: '10s',
      apply: [
        {
          match: { source: ['shop.orders'], 'detail-type': ['OrderStatusChanged'] },
          table: 'public.orders',
          operation: 'update',
          key: { id: 'detail.orderId' },
          set: { status: 'detail.status' },
          version: 'detail.version',
          basedOn: 'detail.basedOn',
          conflict: place.conflict,
        },
      ],
    },
  };
}

async function started(config: object): Promise<WorkerProcess> {
  const worker = await spawnWorker(config);
  await worker.until(isStreaming);
  return worker;
}

/** The old screens: each change has a value of its own. Returns how many there were. */
async function legacyTraffic(pool: pg.Pool, ids: readonly number[], ends: number): Promise<number> {
  let changes = 0;
  while (performance.now() < ends) {
    changes += 1;
    await pool.query('update orders set status = $1 where id = $2', [`L-${changes}`, anyOf(ids)]);
    await pause((Math.random() * 2_000) / RATE);
  }
  return changes;
}

async function newTraffic(newSystem: NewSystem, ids: readonly number[], ends: number): Promise<void> {
  while (performance.now() < ends) {
    newSystem.change(anyOf(ids));
    await pause((Math.random() * 2_000) / RATE);
  }
}

function anyOf(ids: readonly number[]): number {
  return ids[Math.floor(Math.random() * ids.length)] as number;
}

async function statuses(pool: pg.Pool): Promise<Map<number, string>> {
  const { rows } = await pool.query<{ id: number; status: string }>('select id, status from orders');
  return new Map(rows.map(({ id, status }) => [id, status]));
}

/** Nothing waits in the queue or in the worker's hands, and the stream is empty. */
async function isSettled(
  bus: Awaited<ReturnType<typeof startLocalBus>>,
  queueUrl: string,
  worker: WorkerProcess,
): Promise<boolean> {
  const names = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'];
  const answer = await bus.invokeQueues('GetQueueAttributes', { QueueUrl: queueUrl, AttributeNames: names });
  const attributes = answer['Attributes'] as Readonly<Record<string, string>> | undefined;
  if (!names.every((each) => attributes?.[each] === '0')) return false;
  return (await worker.status())?.state === 'streaming';
}
