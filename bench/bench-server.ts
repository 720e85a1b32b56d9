import { EmbeddedPostgres } from '../src/demo/embedded-postgres.ts';

export const PUBLICATION = 'banyan_bench';
export const TABLE = 'public.bench_orders';

/** A server with an empty table in a publication. */
export interface BenchServer extends AsyncDisposable {
  readonly url: string;
  readonly query: (sql: string) => ReturnType<EmbeddedPostgres['query']>;
  /** Waits until its last reader has gone. */
  readonly dropSlot: (name: string) => Promise<void>;
}

export async function startBenchServer(): Promise<BenchServer> {
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
    return {
      url,
      query,
      async dropSlot(name) {
        await query(`do $$ begin
          while exists (select from pg_replication_slots where slot_name = '${name}' and active) loop
            perform pg_sleep(0.01);
          end loop;
          perform pg_drop_replication_slot('${name}');
        end $$`);
      },
      [Symbol.asyncDispose]: () => server.stop(),
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}
