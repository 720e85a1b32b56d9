import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import type { WriteCounts } from '../../src/core/progress.ts';
import { ownTransaction } from './own-transaction.ts';
import type { WorkerBed } from './worker-harness.ts';

/** Between two transactions of a writer: what a worker on a small machine keeps up with. */
const PAUSE_MS = 30;

/** Every write of `orders` makes a row of `audit`, in the same transaction. */
export const CLASSED_SETUP = `
  create table orders (id bigint primary key, note text, version int not null default 0);
  create table audit (id bigint generated always as identity primary key, order_id bigint);
  create table scratch (id bigint primary key);
  create table scratch_lines (id bigint primary key, scratch_id bigint references scratch on delete cascade);
  create function audited() returns trigger language plpgsql as $$
    begin insert into audit (order_id) values (coalesce(new.id, old.id)); return null; end $$;
  create trigger audited after insert or update or delete on orders for each row execute function audited();
`;

export const CLASSED_CAPTURE = ['orders', 'audit', 'scratch', 'scratch_lines'].map((name) => ({
  table: `public.${name}`,
}));

type Class = keyof WriteCounts;

/** What was committed, by table and class, as those who wrote know it. */
export type Committed = Record<string, WriteCounts>;

/** Writers of every class, at the same time, until they are stopped. */
export interface ClassedLoad {
  /** Transactions that were committed so far. */
  readonly transactions: number;
  stop(): Promise<Committed>;
}

export async function startClassedLoad(bed: WorkerBed, connector: string): Promise<ClassedLoad> {
  const committed: Record<string, Record<Class, number>> = {};
  let transactions = 0;
  const stopping = new AbortController();
  const directory = await mkdtemp(join(tmpdir(), 'banyan-copy-'));
  // The server may run as another user.
  await chmod(directory, 0o777);
  const add = (what: Class, rows: Readonly<Record<string, number>>) => {
    transactions += 1;
    for (const [table, count] of Object.entries(rows)) {
      const counts = (committed[`public.${table}`] ??= { legacy: 0, reverse: 0, trigger: 0, foreign: 0 });
      counts[what] += count;
    }
  };
  const writer = async (what: Class, first: number, prepare?: (client: pg.Client) => Promise<void>): Promise<void> => {
    const client = new pg.Client({ connectionString: bed.url });
    await client.connect();
    try {
      await prepare?.(client);
      for (let turn = 0; !stopping.signal.aborted; turn += 1) {
        await pause(PAUSE_MS);
        const step = STEPS[turn % STEPS.length] as Step;
        const id = first + turn * 100;
        // A file of the writer's own: COPY of another would be in its way.
        const rows = await step(client, { id, file: join(directory, `${what}-${first}`) });
        if (rows !== undefined) add(what, rows);
      }
    } finally {
      await client.end();
    }
  };
  const scratch = async (): Promise<void> => {
    const client = new pg.Client({ connectionString: bed.url });
    await client.connect();
    try {
      for (let turn = 0; !stopping.signal.aborted; turn += 1) {
        await pause(PAUSE_MS);
        await client.query(`begin; insert into scratch select generate_series(1, 5);
          insert into scratch_lines select n, 1 + n % 5 from generate_series(1, 20) n; commit`);
        add('legacy', { scratch: 5, scratch_lines: 20 });
        if (turn % 2 === 0) {
          await client.query('truncate scratch cascade');
          add('legacy', { scratch: 1, scratch_lines: 1 });
        } else {
          await client.query('delete from scratch');
          add('legacy', { scratch: 5, scratch_lines: 20 });
        }
      }
    } finally {
      await client.end();
    }
  };
  /** As reverse sync writes: every write with its audit row, half of them not as they were meant. */
  const reverse = async (first: number): Promise<void> => {
    for (let turn = 0; !stopping.signal.aborted; turn += 1) {
      await pause(PAUSE_MS);
      const ids = [first + turn * 10, first + turn * 10 + 1];
      await ownTransaction(bed, connector, async (transaction) => {
        for (const id of ids) {
          await transaction.write({
            event: `event-${id}`,
            table: 'orders',
            op: 'insert',
            key: { id: `${id}` },
            sql: `insert into orders values (${id}, 'new')`,
            asMeant: id % 2 === 0 ? 'true' : 'false',
          });
        }
      });
      add('reverse', { orders: ids.length });
      add('trigger', { audit: ids.length });
    }
  };
  const writers = Promise.all([
    writer('legacy', 1_000_000),
    writer('legacy', 2_000_000),
    writer('legacy', 3_000_000),
    writer('foreign', 4_000_000, replayFromElsewhere),
    scratch(),
    reverse(5_000_000),
  ]);
  // Told by whoever stops it.
  writers.catch(() => undefined);
  return {
    get transactions() {
      return transactions;
    },
    async stop() {
      stopping.abort();
      try {
        await writers;
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
      return committed;
    },
  };
}

/** As logical replication from another database does. */
async function replayFromElsewhere(client: pg.Client): Promise<void> {
  await client.query(`select pg_replication_origin_create('elsewhere')`);
  await client.query(`select pg_replication_origin_session_setup('elsewhere')`);
}

/** One transaction or two; returns the rows that it changed, undefined where it was rolled back. */
type Step = (
  client: pg.Client,
  place: { id: number; file: string },
) => Promise<Readonly<Record<string, number>> | undefined>;

const both = (count: number) => ({ orders: count, audit: count });

const STEPS: readonly Step[] = [
  async (client, { id }) => {
    await client.query(`insert into orders select ${id} + n, 'a' from generate_series(0, 9) n`);
    return both(10);
  },
  async (client, { id }) => {
    await client.query(`begin; insert into orders select ${id} + n, 'gone' from generate_series(0, 4) n; rollback`);
    return undefined;
  },
  async (client, { id }) => {
    const before = id - 200;
    await client.query('begin');
    await client.query(`update orders set version = 1 where id between ${before} and ${before + 6}`);
    await client.query('savepoint here');
    await client.query(`delete from orders where id between ${before} and ${before + 9}`);
    await client.query('rollback to savepoint here');
    await client.query(`delete from orders where id between ${before + 8} and ${before + 9}`);
    await client.query('release savepoint here');
    await client.query('commit');
    return both(9);
  },
  async (client, { id, file }) => {
    await client.query(`copy (select ${id} + n, 'copied', 0 from generate_series(0, 29) n) to '${file}'`);
    await client.query(`copy orders from '${file}'`);
    return both(30);
  },
  async (client, { id }) => {
    await client.query(`update orders set note = 'b' where id between ${id - 100} and ${id - 71}`);
    return both(30);
  },
];
