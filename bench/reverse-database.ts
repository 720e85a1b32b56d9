import { EmbeddedPostgres } from '../src/demo/embedded-postgres.ts';

export const PUBLICATION = 'banyan_bench';
export const TABLE = 'public.bench_orders';

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
  const server = await EmbeddedPostgres.start({
    settings: { shared_buffers: '256MB', max_wal_size: '8GB', checkpoint_timeout: '30min', autovacuum: 'off' },
  });
  try {
    const url = await server.createDatabase('bench');
    const query = (sql: string) => server.query(sql, 'bench');
    await query(`create table bench_orders (
      id bigint primary key, customer_id integer not null, status text not null, quantity integer not null,
      unit_price numeric(12,2) not null, paid boolean not null, placed_at timestamptz not null, note text)`);
    await query(`create publication ${PUBLICATION} for table bench_orders`);
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
        await query(`do $$ begin
          while exists (select from pg_replication_slots where slot_name = '${slot}' and active) loop
            perform pg_sleep(0.01);
          end loop;
          perform pg_drop_replication_slot('${slot}');
        end $$`);
        await query(`drop schema if exists ${stateSchema} cascade`);
      },
      [Symbol.asyncDispose]: () => server.stop(),
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}
