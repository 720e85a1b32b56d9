import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { expect } from 'vitest';
import type { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { createQueueTarget } from '../../src/local-bus/queue-target.ts';
import { eventually } from './eventually.ts';
import { NewSystem } from './new-system.ts';
import { settleStages } from './settled-stages.ts';
import { workerRole } from './worker-role.ts';
import { isStreaming, spawnWorker, type WorkerProcess } from './worker-process.ts';

const ORDERS = 20;
/** How long both sides write. */
export const SECONDS = Number(process.env['BANYAN_TEST_PING_PONG_SECONDS'] ?? 60);
const SECONDS_PER_KILL = 6;
/** Changes a second, of each side. */
const RATE = 25;
/** What may pass until both sides are equal, once they are still. */
const SETTLE_MS = 120_000;
export const TIMEOUT_MS = SECONDS * 1_000 + SETTLE_MS + 60_000;

/** `orders_log` is the judge: what was written to a row, by whomever, in order. Nobody captures it. */
const SCHEMA = `
  create table orders (id integer primary key, status text not null, touched integer not null default 0);
  create table orders_log (n bigint generated always as identity, id integer, status text);
  create function log_order() returns trigger language plpgsql security definer as $$
    begin insert into orders_log (id, status) values (new.id, new.status); return null; end $$;
  create trigger log_order after update of status on orders for each row execute function log_order();
  insert into orders select n, 'placed' from generate_series(1, ${ORDERS}) n`;

const IDS = Array.from({ length: ORDERS }, (_, index) => index + 1);

/** How often a conflict was resolved so. */
export type Resolutions = Readonly<Partial<Record<'legacy-wins' | 'new-wins' | 'parked', number>>>;

export interface PingPongOptions {
  readonly server: EmbeddedPostgres;
  readonly conflict: 'legacy-wins' | 'new-wins' | 'park';
  /** Somebody who decides, with `banyan` under this configuration, until the signal aborts. */
  readonly operator?: (config: object, signal: AbortSignal) => Promise<void>;
}

/**
 * Both sides write the same rows for a while, with repeats, disorder and kills of the worker. Then they become equal and stay so, no event was applied twice, no echo
 * was published, and there are no more events than changes. Returns what became of the conflicts.
 */
export async function pingPong({ server, conflict, operator }: PingPongOptions): Promise<Resolutions> {
  const name = `ping_${conflict.replace('-', '_')}`;
  const url = await server.createDatabase(name);
  const role = workerRole(url);
  await using parts = new AsyncDisposableStack();
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  pool.on('error', () => undefined);
  parts.defer(() => pool.end());
  await pool.query(SCHEMA);
  const bus = await startLocalBus();
  parts.defer(() => bus.close());
  const newSystem = newSystemOn(bus);
  const queue = await createQueueTarget(bus, {
    busName: 'shop',
    ruleName: 'back',
    pattern: { source: ['shop.orders'] },
    queueName: 'back',
  });
  const configAs = (legacyUrl: string) => configOf({ name, url: legacyUrl, bus, queueUrl: queue.queueUrl, conflict });
  await role.grant(configAs(url));
  const config = configAs(role.url);
  await settleStages({ url: role.url, name }, [{ table: 'public.orders' }]);

  let worker = await started(config);
  parts.defer(() => worker.kill());
  const stop = new AbortController();
  const operating = operator?.(config, stop.signal);
  const still = AbortSignal.any([AbortSignal.timeout(SECONDS * 1_000), stop.signal]);
  const legacy = legacyTraffic(pool, still);
  const change = newTraffic(newSystem, still);
  // Also where the test has failed: nobody writes into what is closed.
  parts.defer(async () => {
    stop.abort();
    await Promise.allSettled([operating, legacy, change]);
    await newSystem.quiet();
  });
  const kills = Math.max(3, Math.floor(SECONDS / SECONDS_PER_KILL) - 1);
  for (let kill = 0; kill < kills; kill += 1) {
    await pause((SECONDS * 1_000) / (kills + 1));
    await worker.kill();
    worker = await started(config);
  }
  const legacyChanges = await legacy;
  await change;

  const isEqual = async () => {
    await newSystem.quiet();
    const rows = await statuses(pool);
    return IDS.every((id) => rows.get(id) === newSystem.orders.get(id)?.status);
  };
  await eventually(
    async () =>
      (await setAside(pool)) === 0 && (await isEqual()) && (await isSettled(bus, { queueUrl: queue.queueUrl, worker })),
    () => `the two sides never became equal; the worker logged:\n${worker.log().slice(-3_000)}`,
    { timeoutMs: SETTLE_MS, everyMs: 200 },
  );
  stop.abort();
  await operating;
  // Equal, and it stays so: nothing of it comes round again.
  const counted = newSystem.seen.length;
  await pause(1_500);
  expect(newSystem.seen.length).toBe(counted);
  expect(await isEqual()).toBe(true);
  await worker.stop();

  const events = new Set(newSystem.seen.map(({ id }) => id)).size;
  const conflicts = await resolutions(pool);
  console.info(
    `${conflict}, ${SECONDS} s, ${kills} kills: ${legacyChanges} legacy changes, ${newSystem.written.length} of the new system, ` +
      `${events} events of the legacy side in ${newSystem.seen.length} messages, conflicts ${JSON.stringify(conflicts)}`,
  );
  await expectEachOnce(pool, newSystem);
  // A change makes one event, and one of the new system one answer at most: more would be a loop.
  expect(events).toBeLessThanOrEqual(legacyChanges + newSystem.written.length);
  return conflicts;
}

async function expectEachOnce(pool: pg.Pool, newSystem: NewSystem): Promise<void> {
  // Legacy writes are told by their values: one of the new system under the legacy side's name is an echo.
  const echoes = newSystem.seen.filter(({ origin, status }) => origin === 'legacy' && status?.startsWith('N-'));
  expect(echoes).toEqual([]);
  const { rows } = await pool.query<{ status: string; count: number }>(
    `select status, count(*)::int from orders_log where status like 'N-%' group by status`,
  );
  expect(rows.filter(({ count }) => count > 1)).toEqual([]);
  const unknown = new Set(rows.map(({ status }) => status)).difference(new Set(newSystem.written));
  expect([...unknown]).toEqual([]);
  expect(rows.length).toBeGreaterThan(newSystem.written.length / 20);
  // None is lost: each was applied, or something newer or the legacy side was let stand.
  const { rows: inbox } = await pool.query<{ outcome: string; count: number }>(
    `select outcome, count(*)::int from banyan.inbox group by outcome`,
  );
  expect(inbox.reduce((sum, { count }) => sum + count, 0)).toBe(newSystem.written.length);
}

/** Conflicts that wait for a person, and events that stand aside. */
async function setAside(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    `select (select count(*) from banyan.conflict where resolution = 'parked')::int
          + (select count(*) from banyan.dead_letter where status = 'parked')::int as count`,
  );
  return rows[0]?.count ?? 0;
}

async function resolutions(pool: pg.Pool): Promise<Resolutions> {
  const { rows } = await pool.query<{ resolution: string; count: number }>(
    `select resolution, count(*)::int from banyan.conflict group by resolution`,
  );
  return Object.fromEntries(rows.map(({ resolution, count }) => [resolution, count]));
}

function newSystemOn(bus: LocalBus): NewSystem {
  const publish = (Detail: string) =>
    void bus.invoke('PutEvents', {
      Entries: [{ EventBusName: 'shop', Source: 'shop.orders', DetailType: 'OrderStatusChanged', Detail }],
    });
  const newSystem = new NewSystem({ publish, delayMs: 150, repeats: 0.2 });
  for (const id of IDS) newSystem.knows(id, 'placed');
  bus.onAccepted(({ source, detail }) => {
    if (source === 'legacy.shop') newSystem.receive(JSON.parse(detail) as Parameters<NewSystem['receive']>[0]);
  });
  return newSystem;
}

function configOf(place: {
  readonly name: string;
  readonly url: string;
  readonly bus: LocalBus;
  readonly queueUrl: string;
  readonly conflict: PingPongOptions['conflict'];
}): object {
  return {
    name: place.name,
    legacy: { url: place.url },
    bus: { type: 'local', name: 'shop', endpoint: place.bus.url, linger: '1ms' },
    capture: [{ table: 'public.orders', source: 'legacy.shop' }],
    reverse: {
      queue: place.queueUrl,
      endpoint: place.bus.queuesUrl,
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
async function legacyTraffic(pool: pg.Pool, still: AbortSignal): Promise<number> {
  let changes = 0;
  while (!still.aborted) {
    changes += 1;
    await pool.query('update orders set status = $1 where id = $2', [`L-${changes}`, anyId()]);
    await pause((Math.random() * 2_000) / RATE);
  }
  return changes;
}

async function newTraffic(newSystem: NewSystem, still: AbortSignal): Promise<void> {
  while (!still.aborted) {
    newSystem.change(anyId());
    await pause((Math.random() * 2_000) / RATE);
  }
}

function anyId(): number {
  return IDS[Math.floor(Math.random() * IDS.length)] as number;
}

async function statuses(pool: pg.Pool): Promise<Map<number, string>> {
  const { rows } = await pool.query<{ id: number; status: string }>('select id, status from orders');
  return new Map(rows.map(({ id, status }) => [id, status]));
}

/** Nothing waits in the queue or in the worker's hands, and the stream is empty. */
async function isSettled(
  bus: LocalBus,
  { queueUrl, worker }: { readonly queueUrl: string; readonly worker: WorkerProcess },
): Promise<boolean> {
  const names = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'];
  const answer = await bus.invokeQueues('GetQueueAttributes', { QueueUrl: queueUrl, AttributeNames: names });
  const attributes = answer['Attributes'] as Readonly<Record<string, string>> | undefined;
  if (!names.every((each) => attributes?.[each] === '0')) return false;
  return (await worker.status())?.state === 'streaming';
}
