import { pino } from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createQueue } from '../../src/bus/queue.ts';
import { configSchema } from '../../src/config/schema.ts';
import { BanyanError } from '../../src/core/errors.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { openEngine } from '../../src/reverse/engine.ts';
import { ReverseSync } from '../../src/reverse/sync.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const entry = {
  match: { source: ['shop.orders'] },
  table: 'public.orders',
  operation: 'upsert',
  key: { id: 'detail.id' },
  set: { status: 'detail.status' },
  version: 'detail.version',
};

test('after it has run, a failure is the first one again: the next attempt is not made as late as after a row of them', async () => {
  const name = 'sync_failures';
  const setup = 'create table orders (id integer primary key, status text)';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  const capture = [{ table: 'public.orders' }];
  // Makes the schema; what runs below has no session of its own.
  await (await bed.startRunning({ capture, reverse: { apply: [entry] } })).stop();

  const config = configSchema.parse({
    name,
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', name: 'shop' },
    capture,
    reverse: { queue: bed.queue.url, apply: [entry] },
  });
  let isBroken = true;
  let refusals = 3;
  const sync = new ReverseSync({
    config,
    reverse: config.reverse!,
    connection: { url: bed.workerUrl, name },
    openQueue: () =>
      createQueue({
        url: bed.queue.url,
        endpoint: bed.bus.queuesUrl,
        region: 'us-east-1',
        credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
      }),
    openEngine: async (options) => {
      const engine = await openEngine(options);
      return { ...engine, apply: (...asked) => (isBroken ? Promise.resolve([]) : engine.apply(...asked)) };
    },
    log: pino({ level: 'silent' }),
  });
  const session = {
    selfTest: () => {
      refusals -= 1;
      if (refusals >= 0) return Promise.reject(new BanyanError('database-unavailable', 'not yet'));
      return Promise.resolve(undefined);
    },
    caughtUp: () => Promise.resolve(),
  };
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.999);
  const stop = new AbortController();
  const done = sync.run(session, stop.signal);
  const reaches = (state: string) =>
    eventually(
      () => sync.status.state === state,
      () => `it is ${sync.status.state}, not ${state}`,
      { timeoutMs: 20_000, everyMs: 5 },
    );
  try {
    await reaches('running');
    await bed.queue.send(bodyOf({ id: 'o-1', type: 'Order', detail: { id: 1, version: 1, status: 'v1' } }));
    await reaches('refused');
    const begun = performance.now();
    isBroken = false;
    await reaches('running');
    // The fourth in a row would wait for eight seconds.
    expect(performance.now() - begun).toBeLessThan(4_000);
  } finally {
    random.mockRestore();
    stop.abort();
    await done;
  }
  expect(sync.status.state).toBe('off');
});
