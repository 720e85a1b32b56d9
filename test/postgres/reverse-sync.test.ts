import { pino } from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createQueue } from '../../src/bus/queue.ts';
import { configSchema } from '../../src/config/schema.ts';
import { BanyanError } from '../../src/core/errors.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { openEngine } from '../../src/reverse/engine.ts';
import { ReverseSync, type ReverseSyncOptions } from '../../src/reverse/sync.ts';
import { banyan } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

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

/** Reverse sync without a worker around it. */
function syncOn(bed: ReverseWorkerBed, name: string, more: Partial<ReverseSyncOptions> = {}): ReverseSync {
  const config = configSchema.parse({
    name,
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', name: 'shop' },
    capture: [{ table: 'public.orders' }],
    reverse: { queue: bed.queue.url, apply: [entry] },
  });
  const { reverse } = config;
  if (reverse === undefined) throw new TypeError('the configuration has no way back');
  return new ReverseSync({
    config,
    reverse,
    connection: { url: bed.workerUrl, name },
    openQueue: () =>
      createQueue({
        url: bed.queue.url,
        endpoint: bed.bus.queuesUrl,
        region: 'us-east-1',
        credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
      }),
    openEngine,
    log: pino({ level: 'silent' }),
    ...more,
  });
}

test('after it has run, a failure is the first one again: the next attempt is not made as late as after a row of them', async () => {
  const name = 'sync_failures';
  const setup = 'create table orders (id integer primary key, status text)';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  const capture = [{ table: 'public.orders' }];
  // Makes the schema; what runs below has no session of its own.
  await (await bed.startRunning({ capture, reverse: { apply: [entry] } })).stop();

  let isBroken = true;
  let refusals = 3;
  const sync = syncOn(bed, name, {
    openEngine: async (options) => {
      const engine = await openEngine(options);
      return { ...engine, apply: (...asked) => (isBroken ? Promise.resolve([]) : engine.apply(...asked)) };
    },
  });
  const session = {
    selfTest: () => {
      refusals -= 1;
      if (refusals >= 0) return Promise.reject(new BanyanError('database-unavailable', 'not yet'));
      return Promise.resolve(undefined);
    },
    caughtUp: () => Promise.resolve(),
    onShape: () => () => undefined,
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

test('its protection is tested again and again, and ends it when it is gone', async () => {
  const name = 'sync_tested';
  const setup = 'create table orders (id integer primary key, status text)';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  await (await bed.startRunning({ capture: [{ table: 'public.orders' }], reverse: { apply: [entry] } })).stop();
  const finding = {
    code: 'LOOP_PROTECTION_OFF',
    severity: 'error',
    subject: 's',
    message: 'nothing of it came',
  } as const;
  let tests = 0;
  let isProtected = true;
  const session = {
    selfTest: () => {
      tests += 1;
      return Promise.resolve(isProtected ? undefined : finding);
    },
    caughtUp: () => Promise.resolve(),
    onShape: () => () => undefined,
  };
  const sync = syncOn(bed, name, { testAgainMs: 50 });
  expect(sync.status.testedAt).toBeUndefined();
  const stop = new AbortController();
  const done = sync.run(session, stop.signal);
  try {
    await eventually(() => sync.status.state === 'running', undefined, { timeoutMs: 20_000 });
    const first = sync.status.testedAt ?? '';
    await eventually(() => tests > 3 && (sync.status.testedAt ?? '') > first);
    isProtected = false;
    await eventually(() => sync.status.state === 'refused', undefined, { timeoutMs: 20_000 });
    const last = sync.status.testedAt;
    expect(sync.status.problem).toMatchObject({ kind: 'preflight', message: 'nothing of it came' });
    // What was proved before stays what it was, with its age.
    expect(last).toBe(sync.status.testedAt);
  } finally {
    stop.abort();
    await done;
  }
});

test('`check --reverse` has the worker test it now', async () => {
  const name = 'sync_asked';
  const setup = 'create table orders (id integer primary key, status text)';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  const running = await bed.startRunning({ capture: [{ table: 'public.orders' }], reverse: { apply: [entry] } });
  const before = running.status().reverse?.testedAt ?? '';
  const configured = {
    name,
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', name: 'shop' },
    capture: [{ table: 'public.orders' }],
  };
  const run = (more: object) =>
    banyan(['check', '--reverse'], { env: { BANYAN_CONFIG_YAML: JSON.stringify({ ...configured, ...more }) } });
  const passed = await run({ reverse: { queue: bed.queue.url, endpoint: bed.bus.queuesUrl, apply: [entry] } });
  expect(passed).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('✓ the stream shows what reverse sync writes') as string,
  });
  expect((running.status().reverse?.testedAt ?? '') > before).toBe(true);
  const without = await run({});
  expect(without.code).toBe(2);
  expect(without.stderr).toContain('there is no way back to test');
});
