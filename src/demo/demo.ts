import { SQSClient } from '@aws-sdk/client-sqs';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startLocalBus, type LocalBus } from '../local-bus/local-bus.ts';
import { Accounting, nearestRank, type DemoReport, type SeenEvent } from './accounting.ts';
import { consume, type Envelope } from './consumer.ts';
import { startDemoWorker } from './demo-worker.ts';
import { EmbeddedPostgres } from './embedded-postgres.ts';
import { type HistorySize, openShop } from './history.ts';
import type { DemoOptions } from './options.ts';
import { startOrderService, type OrderService } from './order-service.ts';
import { createQueues, emptied, isEmpty, LEGACY_SOURCE } from './queues.ts';
import { type BackEvent, legacyState, ReverseBooks, type ReverseReport } from './reverse-books.ts';
import type { Screen } from './screen.ts';
import { runTraffic } from './traffic.ts';
import { Walk } from './walk.ts';

/** How long nothing may arrive, after the shop has closed, until what is missing is called missing. */
const PATIENCE_MS = 15_000;

/** What was there before: enough for some seconds of backfill beside the traffic. */
const HISTORY: HistorySize = { customers: 4_000, orders: 8_000 };

/** Receive loops at once, of each queue: some wait for their deletes while others receive. */
const CONSUMERS = 4;

/** The books of both directions. */
export type WholeReport = DemoReport & { readonly reverse: ReverseReport };

/**
 * Opens the shop, runs the worker and the new service beside it, and counts. Resolves with the books when `signal` has aborted or the time was
 * over, and everything is closed and removed. Rejects when a part fails.
 */
export async function runDemo(
  options: DemoOptions,
  { screen, signal }: { screen: Screen; signal: AbortSignal },
): Promise<WholeReport> {
  const books: Books = { accounting: new Accounting(), reverse: new ReverseBooks() };
  const { accounting } = books;
  await using parts = new AsyncDisposableStack();
  parts.defer(() => screen.close());
  screen.say(
    'starting a PostgreSQL server, an EventBridge bus with its rules and SQS queues, the worker, and a new service',
  );

  const server = parts.use(await EmbeddedPostgres.start());
  const url = await server.createDatabase('shop');
  const history = await openShop(url, HISTORY);
  accounting.wasThere(history.rows);
  const tables = new Set(history.rows.map(({ table }) => table)).size;

  const bus = await startLocalBus();
  parts.defer(() => bus.close());
  const queues = await createQueues(bus);
  const latency = countAccepted(bus, accounting);

  const worker = await startDemoWorker({ url, bus, reverseQueueUrl: queues.back, screen });
  parts.use(worker);
  const drawing = setInterval(() => {
    screen.numbers({
      ...accounting.now,
      latencyMs: latency(),
      state: worker.state(),
      backfills: worker.backfills(),
      wayBack: { ...books.reverse.now, echoes: books.reverse.echoes((event) => accounting.explains(event)) },
    });
  }, 250);
  parts.defer(() => clearInterval(drawing));

  const stop = new AbortController();
  const consuming = consumeAll(bus, {
    queueUrls: queues.books,
    signal: stop.signal,
    onEvent: (envelope) => {
      enter(books, envelope);
      screen.event(envelope);
    },
  });
  const ends = [stop.signal, signal];
  if (options.seconds !== undefined) ends.push(AbortSignal.timeout(options.seconds * 1_000));
  const closes = AbortSignal.any(ends);
  let clerksReschedule = true;
  const reschedules = () => clerksReschedule;
  const traffic = runTraffic({ url, rate: options.rate, accounting, history, reschedules }, closes);
  const walk = new Walk({ env: worker.env, screen });
  // What the service decides while the table takes no events would be skipped: its queue keeps the orders until then.
  const moved = walk.toDual(stop.signal);
  const serving = moved.then(() =>
    startOrderService({ bus, queueUrl: queues.service, books: books.reverse }, stop.signal),
  );
  const walking = moved.then(() => walk.toNewPrimary(() => (clerksReschedule = false), closes));
  const running = serving.then((service) => service.running);
  parts.defer(async () => {
    stop.abort();
    // How they end is known already: whoever failed first was reported below.
    await Promise.allSettled([traffic, consuming, running, walking]);
  });

  // They end when they are told to; before that only by what went wrong.
  const failing = Promise.all([consuming, running, worker.halted, walking]).then(() => new Promise<never>(() => {}));
  screen.say(`the shop is open, with ${options.rate} transactions a second; look in with: psql ${url}`);
  screen.say(
    `${history.rows.length.toLocaleString('en-US')} rows were there before: their backfill goes on beside the traffic`,
  );
  screen.say('a new service promises deliveries; its events become rows of shop.deliveries');
  screen.say(`how far its tables are: ${worker.url}`);
  if (options.seconds === undefined) screen.say('Ctrl-C closes it');
  await Promise.race([traffic, failing]);
  const left = accounting.now.backfillsCompleted === tables ? '' : ', and for the rest of the backfill';
  screen.say(`the shop is closed; waiting for what is still on the way${left}`);
  const client = new pg.Client({ connectionString: url, application_name: 'books' });
  await client.connect();
  parts.defer(() => client.end());
  const service = await Promise.race([serving, failing]);
  const back: WayBack = { service, books, client, isQueueEmpty: () => isEmpty(bus, queues.back) };
  await Promise.race([everythingArrived(books, { tables, isBackWhole: () => isWayBackWhole(back) }), failing]);
  // Whatever else was sent comes now: repeats, and events that nobody expected.
  await worker[Symbol.asyncDispose]();
  await bus.drained();
  const read = [...queues.books, queues.service];
  await Promise.race([Promise.all(read.map((queueUrl) => emptied(bus, queueUrl))), failing]);
  return { ...accounting.report(), reverse: await reportOf(back) };
}

interface Books {
  readonly accounting: Accounting;
  readonly reverse: ReverseBooks;
}

/** Changes by the shop belong into one book, what reverse sync led to into the other. */
function enter({ accounting, reverse }: Books, { 'detail-type': detailType, detail }: Envelope): void {
  const { origin, causedBy } = detail.metadata;
  const event = seen(detailType, detail);
  if (origin === 'legacy') accounting.received(event);
  reverse.received({ ...event, origin, causedBy, data: detail.data });
}

interface WayBack {
  readonly service: OrderService;
  readonly books: Books;
  readonly client: pg.Client;
  readonly isQueueEmpty: () => Promise<boolean>;
}

async function reportOf({ service, books: { accounting, reverse }, client }: WayBack): Promise<ReverseReport> {
  const explains = (event: BackEvent) => accounting.explains(event);
  return reverse.report(service.deliveries, { legacy: await legacyState(client), explains });
}

async function isWayBackWhole(back: WayBack): Promise<boolean> {
  if (!back.service.isIdle || !(await back.isQueueEmpty())) return false;
  const { differing, causedMissing } = await reportOf(back);
  return differing === 0 && causedMissing === 0;
}

/**
 * Listens where the bus accepts, before it answers. Returns the median latency of the last moments. Latency is the bus's clock minus the
 * commit time that the server wrote: both are this machine's.
 */
function countAccepted(bus: LocalBus, accounting: Accounting): () => number | undefined {
  const last: number[] = [];
  bus.onAccepted(({ source, detailType, detail }) => {
    if (source !== LEGACY_SOURCE) return;
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

/**
 * Until nothing is missing, of changes as of rows from before, the backfills are over, and the legacy tables are as the service has them; or until nothing
 * has arrived for too long.
 */
async function everythingArrived(
  { accounting, reverse }: Books,
  { tables, isBackWhole }: { tables: number; isBackWhole: () => Promise<boolean> },
): Promise<void> {
  const arrived = () => accounting.now.received + accounting.now.reads + reverse.now.seen;
  let before = arrived();
  let arrivedAt = performance.now();
  const isWhole = () => {
    const { missing, notBackfilled, backfillsCompleted } = accounting.now;
    return missing === 0 && notBackfilled === 0 && backfillsCompleted === tables;
  };
  while (performance.now() - arrivedAt < PATIENCE_MS) {
    if (isWhole() && (await isBackWhole())) return;
    await sleep(20);
    if (arrived() === before) continue;
    before = arrived();
    arrivedAt = performance.now();
  }
}
