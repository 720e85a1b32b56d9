import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { FLAWLESS, type Verdict } from '../support/recorder.ts';
import { makeShopBed, type ShopBed } from '../support/shop-bed.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { isStreaming, spawnWorker, type WorkerProcess } from '../support/worker-process.ts';
import { startWorkload, type Workload } from '../support/workload.ts';

let server: EmbeddedPostgres;
let proxy: TcpProxy;
let bed: ShopBed;
let worker: WorkerProcess;
let load: Workload;
let databases = 0;

beforeAll(async () => {
  // How long a dead connection goes unnoticed, at either end.
  server = await EmbeddedPostgres.start({ settings: { wal_sender_timeout: '2s' } });
  proxy = await startTcpProxy(server.port);
});
afterAll(async () => {
  await proxy.close();
  await server.stop();
});
beforeEach(async () => {
  databases += 1;
  bed = await makeShopBed(server, `reconnect_${databases}`);
  worker = await spawnWorker(bed.config({ url: proxy.through(bed.url) }));
  await worker.until(isStreaming);
  // The writers go straight to the server: it is the worker's network that fails.
  load = startWorkload(bed.url, { writers: 4, pauseMs: 10 });
  await bed.accepted(100);
});
afterEach(async () => {
  await load.stop();
  await worker.kill();
  await bed[Symbol.asyncDispose]();
});

/** Of everything, after the load has ended. */
async function verdict(): Promise<Verdict> {
  await load.stop();
  await bed.confirmed();
  return await bed.recorder.verdict(bed.url);
}

/** Until it streams again in another session than before. */
async function reconnected(before: number): Promise<void> {
  await worker.until((status) => isStreaming(status) && status.stream.reconnects > before);
  await bed.accepted(100);
}

async function reconnects(): Promise<number> {
  return (await worker.until(isStreaming)).stream.reconnects;
}

test('a PostgreSQL that crashes and comes back costs nothing but time', async () => {
  for (let crash = 0; crash < 2; crash += 1) {
    const before = await reconnects();
    await server.shutdown('immediate');
    await worker.until(({ state }) => state === 'starting');
    await server.restart();
    await reconnected(before);
  }
  expect(await verdict()).toEqual(FLAWLESS);
});

test('a walsender that is terminated is replaced', async () => {
  for (let ended = 0; ended < 3; ended += 1) {
    const before = await reconnects();
    const { rows } = await server.query(
      `select pg_terminate_backend(active_pid) as done from pg_replication_slots where slot_name = '${bed.slot}'`,
    );
    expect(rows).toEqual([{ done: true }]);
    await reconnected(before);
  }
  expect(await verdict()).toEqual(FLAWLESS);
});

test('connections that break are opened again', async () => {
  for (let cut = 0; cut < 3; cut += 1) {
    const before = await reconnects();
    proxy.cut();
    await reconnected(before);
  }
  expect(await verdict()).toEqual(FLAWLESS);
});

test('a network that swallows everything is noticed by the missing answers', async () => {
  const before = await reconnects();
  proxy.freeze();
  try {
    await worker.until(({ state }) => state === 'starting');
    await eventually(
      async () => {
        const { rows } = await server.query(
          `select active from pg_replication_slots where slot_name = '${bed.slot}' and not active`,
        );
        return rows.length === 1;
      },
      () => 'the server never noticed that its client is gone',
    );
  } finally {
    proxy.thaw();
  }
  await reconnected(before);
  expect(await verdict()).toEqual(FLAWLESS);
});
