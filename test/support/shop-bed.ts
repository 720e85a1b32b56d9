import type { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { eventually } from './eventually.ts';
import { Recorder } from './recorder.ts';
import { isStreaming, spawnWorker } from './worker-process.ts';
import { WORKLOAD_SCHEMA } from './workload.ts';

/** A database with the workload's tables, and a bus in this process whose every accepted event is recorded. */
export interface ShopBed extends AsyncDisposable {
  readonly url: string;
  readonly slot: string;
  readonly bus: LocalBus;
  readonly recorder: Recorder;
  /** The worker's configuration; `url` where it goes another way to the database. */
  config(options?: { readonly url?: string }): object;
  /** Lets a worker make publication and slot, and end: every change from now on is somebody's event. */
  captured(): Promise<void>;
  /**
   * Waits until the slot's confirmed position has passed everything that is committed now: then, by the worker's promise, the bus has all of it.
   * On another server after a promotion.
   */
  confirmed(server?: EmbeddedPostgres): Promise<void>;
  /** Waits until the bus has accepted `count` more events, repeats included. */
  accepted(count: number): Promise<void>;
}

const BUS = 'shop-legacy';

export async function makeShopBed(server: EmbeddedPostgres, name: string): Promise<ShopBed> {
  const url = await server.createDatabase(name);
  await server.query(WORKLOAD_SCHEMA, name);
  const bus = await startLocalBus({ queues: false });
  bus.invoke('CreateEventBus', { Name: BUS });
  const recorder = new Recorder();
  // That a table was moved is no change of the workload.
  bus.onAccepted((event) => {
    if (event.source.startsWith('legacy.')) recorder.accept(event);
  });
  const slot = `banyan_${name}`;
  const config: ShopBed['config'] = (options = {}) => ({
    name,
    legacy: { url: options.url ?? url },
    bus: { type: 'local', name: BUS, endpoint: bus.url },
    capture: [{ table: 'shop.items' }],
  });
  return {
    url,
    slot,
    bus,
    recorder,
    config,
    async captured() {
      await using worker = await spawnWorker(config());
      await worker.until(isStreaming);
      await worker.stop();
    },
    async confirmed(on = server) {
      const end = String(await scalar(on, 'select pg_current_wal_lsn()'));
      await eventually(
        async () => {
          const sql = `select confirmed_flush_lsn >= '${end}' from pg_replication_slots where slot_name = '${slot}'`;
          return (await scalar(on, sql)) === true;
        },
        () => `slot ${slot} was never confirmed up to ${end}`,
      );
    },
    async accepted(count) {
      const enough = bus.counters.accepted + count;
      await eventually(
        () => bus.counters.accepted >= enough,
        () => `the bus accepted ${bus.counters.accepted} events and not ${enough}`,
        { everyMs: 2 },
      );
    },
    [Symbol.asyncDispose]: () => bus.close(),
  };
}

async function scalar(server: EmbeddedPostgres, sql: string): Promise<unknown> {
  const { rows } = await server.query(sql);
  return Object.values((rows[0] ?? {}) as object)[0];
}
