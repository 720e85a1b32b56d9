import { SQSClient } from '@aws-sdk/client-sqs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createQueueTarget } from '../local-bus/queue-target.ts';
import { startLocalBus, type LocalBus } from '../local-bus/local-bus.ts';
import { Accounting, nearestRank, type DemoReport, type SeenEvent } from './accounting.ts';
import { consume, type Envelope } from './consumer.ts';
import { startDemoWorker } from './demo-worker.ts';
import { EmbeddedPostgres } from './embedded-postgres.ts';
import { type HistorySize, openShop } from './history.ts';
import type { DemoOptions } from './options.ts';
import type { Screen } from './screen.ts';
import { runTraffic } from './traffic.ts';

/** How long nothing may arrive, after the shop has closed, until what is missing is called missing. */
const PATIENCE_MS = 15_000;

/** What was there before: enough for some seconds of backfill beside the traffic. */
const HISTORY: HistorySize = { customers: 4_000, orders: 8_000 };

/** Receive loops at once, of each queue: some wait for their deletes while others receive. */
const CONSUMERS = 4;

/**
 * Opens the shop, runs the worker beside it, and counts. Resolves with the books when `signal` has aborted or the time was over, and
 * everything is closed and removed. Rejects when a part fails.
 */
export async function runDemo(
  options: DemoOptions,
  { screen, signal }: { screen: Screen; signal: AbortSignal },
): Promise<DemoReport> {
  const accounting = new Accounting();
  await using parts = new AsyncDisposableStack();
  parts.defer(() => screen.close());
  screen.say('starting a PostgreSQL server, an EventBridge bus with two rules and SQS queues, and the worker');

  const server = parts.use(await EmbeddedPostgres.start());
  const url = await server.createDatabase('shop');
  const history = await openShop(url, HISTORY);
  accounting.wasThere(history.rows);
  const tables = new Set(history.rows.map(({ table }) => table)).size;

  const bus = await startLocalBus();
  parts.defer(() => bus.close());
  const queueUrls = await createQueues(bus);
  const latency = countAccepted(bus, accounting);

  const worker = await startDemoWorker({ url, bus, screen });
  parts.use(worker);
  const drawing = setInterval(() => {
    screen.numbers({ ...accounting.now, latencyMs: latency(), state: worker.state(), backfills: worker.backfills() });
  }, 250);
  parts.defer(() => clearInterval(drawing));

  const stop = new AbortController();
  const consuming = consumeAll(bus, {
    queueUrls,
    signal: stop.signal,
    onEvent: (envelope) => {
      accounting.received(seen(envelope['detail-type'], envelope.detail));
      screen.event(envelope);
    },
  });
  const ends = [stop.signal, signal];
  if (options.seconds !== undefined) ends.push(AbortSignal.timeout(options.seconds * 1_000));
  const traffic = runTraffic({ url, rate: options.rate, accounting, history }, AbortSignal.any(ends));
  parts.defer(async () => {
    stop.abort();
    // How they end is known already: whoever failed first was reported below.
    await Promise.allSettled([traffic, consuming]);
  });

  const failing = Promise.race([consuming, worker.halted]);
  screen.say(`the shop is open, with ${options.rate} transactions a second; look in with: psql ${url}`);
  screen.say(
    `${history.rows.length.toLocaleString('en-US')} rows were there before: their backfill goes on beside the traffic`,
  );
  if (options.seconds === undefined) screen.say('Ctrl-C closes it');
  await Promise.race([traffic, failing]);
  const left = accounting.now.backfillsCompleted === tables ? '' : ', and for the rest of the backfill';
  screen.say(`the shop is closed; waiting for what is still on the way${left}`);
  await Promise.race([everythingArrived(accounting, tables), failing]);
  // Whatever else was sent comes now: repeats, and events that nobody expected.
  await worker[Symbol.asyncDispose]();
  await bus.drained();
  await Promise.race([Promise.all(queueUrls.map((queueUrl) => emptied(bus, queueUrl))), failing]);
  return accounting.report();
}

/**
 * Listens where the bus accepts, before it answers. Returns the median latency of the last moments. Latency is the bus's clock minus the
 * commit time that the server wrote: both are this machine's.
 */
function countAccepted(bus: LocalBus, accounting: Accounting): () => number | undefined {
  const last: number[] = [];
  bus.onAccepted(({ detailType, detail }) => {
    const now = performance.timeOrigin + performance.now();
    const parsed = JSON.parse(detail) as Envelope['detail'];
    const { committedAt } = parsed.metadata.transaction ?? {};
    if (committedAt === undefined) {
      accounting.accepted(seen(detailType, parsed), undefined);
      return;
    }
    // `Date` keeps milliseconds; the three digits behind them are added back.
    const latencyMs = now - (Date.parse(committedAt) + Number(committedAt.slice(23, 26)) / 1_000);
    accounting.accepted(seen(detailType, parsed), latencyMs);
    last.push(latencyMs);
    if (last.length > 100) last.shift();
  });
  return () =>
    nearestRank(
      last.toSorted((a, b) => a - b),
      0.5,
    ) ?? undefined;
}

function seen(detailType: string, { metadata, data }: Envelope['detail']): SeenEvent {
  const { version } = data;
  return {
    id: metadata.id,
    operation: metadata.operation,
    table: metadata.table,
    key: Object.values(metadata.key).map(String),
    version: typeof version === 'number' ? version : '-',
    detailType,
  };
}

async function consumeAll(
  bus: LocalBus,
  what: { queueUrls: readonly string[]; signal: AbortSignal; onEvent: (envelope: Envelope) => void },
): Promise<void> {
  const sqs = new SQSClient({
    endpoint: bus.queuesUrl ?? '',
    region: bus.region,
    credentials: { accessKeyId: 'demo', secretAccessKey: 'demo' },
  });
  try {
    const loops = what.queueUrls.flatMap((queueUrl) =>
      Array.from({ length: CONSUMERS }, () => consume({ sqs, queueUrl, onEvent: what.onEvent }, what.signal)),
    );
    await Promise.all(loops);
  } finally {
    sqs.destroy();
  }
}

/** What a backfill sends has a queue of its own, so that no live event waits behind thousands of old rows. */
async function createQueues(bus: LocalBus): Promise<string[]> {
  const old = ['read', 'backfill'];
  const rules = [
    { ruleName: 'live', queueName: 'shop-events', operation: [{ 'anything-but': old }] },
    { ruleName: 'backfilled', queueName: 'shop-backfill', operation: old },
  ];
  const targets = await Promise.all(
    rules.map(({ operation, ...names }) =>
      createQueueTarget(bus, {
        busName: 'shop',
        pattern: { source: ['legacy.demo'], detail: { metadata: { operation } } },
        ...names,
      }),
    ),
  );
  return targets.map(({ queueUrl }) => queueUrl);
}

/** Until nothing is missing, of changes as of rows from before, and the backfills are over, or nothing has arrived for too long. */
async function everythingArrived(accounting: Accounting, tables: number): Promise<void> {
  const arrived = () => accounting.now.received + accounting.now.reads;
  let before = arrived();
  let arrivedAt = performance.now();
  const isWhole = () => {
    const { missing, notBackfilled, backfillsCompleted } = accounting.now;
    return missing === 0 && notBackfilled === 0 && backfillsCompleted === tables;
  };
  while (!isWhole() && performance.now() - arrivedAt < PATIENCE_MS) {
    await sleep(20);
    if (arrived() === before) continue;
    before = arrived();
    arrivedAt = performance.now();
  }
}

/** Until the queue holds nothing, neither waiting nor in a consumer's hands. */
async function emptied(bus: LocalBus, queueUrl: string): Promise<void> {
  const names = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'];
  for (let tries = 0; tries < 500; tries += 1) {
    const answer = await bus.invokeQueues('GetQueueAttributes', { QueueUrl: queueUrl, AttributeNames: names });
    const attributes = answer['Attributes'] as Readonly<Record<string, string>> | undefined;
    if (names.every((name) => attributes?.[name] === '0')) return;
    await sleep(20);
  }
}
