import { startBenchServer } from './bench-server.ts';

export interface ReverseDatabase extends AsyncDisposable {
  readonly url: string;
  /** An empty table, and a slot that streams from here on. Both sides begin with one: the server does the same work for each. */
  fresh(): Promise<ReversePlace>;
  /** Rows of the inbox, and transactions that wrote them. */
  applied(place: ReversePlace): Promise<{ readonly events: number; readonly transactions: number }>;
  /** Drops the slot, and with it the WAL that it holds; waits until its last reader has gone. */
  done(place: ReversePlace): Promise<void>;
}

export interface ReversePlace {
  readonly slot: string;
  readonly stateSchema: string;
}

export async function reverseDatabase(): Promise<ReverseDatabase> {
  const server = await startBenchServer();
  const { url, query, dropSlot } = server;
  let runs = 0;
  return {
    url,
    async fresh() {
      const name = `run_${(runs += 1)}`;
      await query('truncate bench_orders');
      await query(`select pg_create_logical_replication_slot('${name}', 'pgoutput')`);
      return { slot: name, stateSchema: `state_${name}` };
    },
    async applied({ stateSchema }) {
      // `now()` of a transaction, to the microsecond.
      const { rows } = await query(
        `select count(*)::int as events, count(distinct received_at)::int as transactions
          from ${stateSchema}.inbox where outcome = 'applied'`,
      );
      return rows[0] as { events: number; transactions: number };
    },
    async done({ slot, stateSchema }) {
      await dropSlot(slot);
      await query(`drop schema if exists ${stateSchema} cascade`);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
