import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { startLocalBus } from '../../src/local-bus/local-bus.ts';
import { readState } from '../../src/state/state.ts';
import { CHURN_CAPTURE, CHURN_SCHEMA, fillChurn, startChurn } from '../support/churn.ts';
import { eventually } from '../support/eventually.ts';
import { type Detail, ReferenceConsumer } from '../support/reference-consumer.ts';
import { isStreaming, spawnWorker } from '../support/worker-process.ts';

const ROWS = 6_000;
const KILLS = 5;
/** A chunk is meant to take half a second; a transaction that spanned several would be far beyond this. */
const LONGEST_TRANSACTION_S = 5;

test.each([14, 18] as const)(
  'PostgreSQL %s: backfill, changes, kills and faults, delivered shuffled and repeated, are the table',
  async (major) => {
    const server = await EmbeddedPostgres.start({ major });
    try {
      const url = await server.createDatabase('churn');
      const pool = new pg.Pool({ connectionString: url, max: 2 });
      pool.on('error', () => undefined);
      await pool.query(CHURN_SCHEMA);
      await fillChurn(url, ROWS);
      await using bus = await closable();
      bus.invoke('CreateEventBus', { Name: 'shop' });
      bus.faults.set({
        failEntries: { probability: 0.02 },
        answerLost: { probability: 0.02 },
        delayMs: 3,
      });
      const details: string[] = [];
      bus.onAccepted(({ detail }) => void details.push(detail));
      const config = {
        name: 'churn',
        legacy: { url },
        bus: { type: 'local', name: 'shop', endpoint: bus.url },
        capture: CHURN_CAPTURE,
      };
      const watch = watchTransactions(pool);
      const churn = startChurn(url, { writers: 3, rows: ROWS });
      const state = () => readState({ pool, connector: 'churn', schema: 'banyan' });
      const allCompleted = async (from: number) => {
        const runs = await (await state()).backfills.latest();
        return runs.length === 4 && runs.every(({ status, id }) => status === 'completed' && id >= from);
      };
      for (let kill = 0; kill < KILLS; kill += 1) {
        await using worker = await spawnWorker(config);
        await worker.until(isStreaming);
        await pause(200 + Math.random() * 800);
        await worker.kill();
      }
      await using worker = await spawnWorker(config);
      const incomplete = () =>
        `a backfill never ended; ${details.length} events; the worker logged:\n${worker.log().slice(-3_000)}`;
      await eventually(() => allCompleted(1), incomplete, { timeoutMs: 120_000 });
      await churn.stop();
      // Changes that these do not publish are the next run's, and what it does not send is gone.
      const { requests } = await state();
      for (const table of ['public.picky', 'public.keyless']) {
        const id = await requests.insert({
          command: 'backfill',
          arguments: { action: 'start', table },
          requestedBy: 'test',
        });
        const answer = await requests.await(id, { timeoutMs: 20_000, signal: AbortSignal.timeout(30_000) });
        expect(answer.status).toBe('finished');
      }
      await eventually(async () => (await (await state()).backfills.open()).length === 0, incomplete, {
        timeoutMs: 60_000,
      });
      await confirmed(pool);
      await worker.stop();
      expect(await watch.longest()).toBeLessThan(LONGEST_TRANSACTION_S);
      expect(churn.changes).toBeGreaterThan(200);

      const consumer = new ReferenceConsumer();
      for (const detail of shuffled([...details, ...details.filter(() => Math.random() < 0.3)])) {
        consumer.apply(JSON.parse(detail) as Detail);
      }
      for (const table of ['plain', 'picky', 'small', 'keyless']) {
        expect({ table, ...(await difference(pool, table, consumer)) }).toEqual({ table, missing: [], extra: [] });
      }
      await pool.end();
    } finally {
      await server.stop();
    }
  },
  400_000,
);

async function closable() {
  const bus = await startLocalBus({ queues: false });
  return Object.assign(bus, { [Symbol.asyncDispose]: () => bus.close() });
}

/** Asks again and again how long the oldest transaction of the worker's is open. */
function watchTransactions(pool: pg.Pool): { longest(): Promise<number> } {
  let longest = 0;
  const ended = new AbortController();
  const looking = (async () => {
    while (!ended.signal.aborted) {
      const { rows } = await pool.query<{ seconds: number | null }>(
        `select max(extract(epoch from clock_timestamp() - xact_start))::float8 as seconds from pg_stat_activity
         where application_name like 'banyan %' and backend_type = 'client backend' and state <> 'idle'`,
      );
      longest = Math.max(longest, rows[0]?.seconds ?? 0);
      await pause(20);
    }
  })();
  // A test that failed before its end has no server any more.
  looking.catch(() => undefined);
  return {
    async longest() {
      ended.abort();
      await looking;
      return longest;
    },
  };
}

async function confirmed(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
  await eventually(
    async () => {
      const found = await pool.query(`select 1 from pg_replication_slots where confirmed_flush_lsn >= $1::pg_lsn`, [
        rows[0]?.lsn,
      ]);
      return found.rowCount === 1;
    },
    () => 'the slot was never confirmed up to the end',
  );
}

/** Keys of rows that the copy lacks or has otherwise, and of those that only the copy has: decided by the server, over all columns. */
async function difference(pool: pg.Pool, table: string, consumer: ReferenceConsumer) {
  const copy = JSON.stringify(consumer.rows(`public.${table}`));
  const { rows } = await pool.query<{ missing: number[]; extra: number[] }>(
    `with copy as (select * from json_populate_recordset(null::${table}, $1::json)),
      missing as (select * from ${table} except all select * from copy),
      extra as (select * from copy except all select * from ${table})
     select (select coalesce(array_agg(id order by id), '{}') from missing) as missing,
            (select coalesce(array_agg(id order by id), '{}') from extra) as extra`,
    [copy],
  );
  return rows[0];
}

function shuffled<T>(items: T[]): T[] {
  for (let at = items.length - 1; at > 0; at -= 1) {
    const other = Math.floor(Math.random() * (at + 1));
    [items[at], items[other]] = [items[other] as T, items[at] as T];
  }
  return items;
}
