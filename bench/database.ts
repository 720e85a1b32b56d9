import { startBenchServer } from './bench-server.ts';

/** The slot that is never read: every run reads a copy of it, so that all of them stream the same WAL. */
const MASTER_SLOT = 'banyan_bench_master';
export const COLUMNS = ['id', 'customer_id', 'status', 'quantity', 'unit_price', 'paid', 'placed_at', 'note'] as const;

/**
 * Rows per transaction, over and over: mostly small ones, as applications write them, and now and then a bulk job. 7,610 rows in 28
 * transactions; every seventh transaction updates rows instead of inserting them.
 */
const SIZES = '1,10,1,10,100,1,10,1000,1,10,1,100,10,1,10,5000,1,10,100,1,10,1,100,10,1000,1,10,100';

export interface BenchDatabase extends AsyncDisposable {
  readonly url: string;
  /** Rows that the WAL after the slot holds; of `existing`, that the table held before. */
  readonly rows: number;
  /** Makes a slot before the first row, and returns its name; it can be read once. */
  copySlot(): Promise<string>;
  /** Waits until its last reader has gone. */
  dropSlot(name: string): Promise<void>;
}

/** `existing`: rows from before the slot, so that it streams nothing. */
export type Load = { readonly kind: 'mixed' | 'one-transaction' | 'one-key' | 'existing'; readonly rows: number };

/** A server of its own with the table, publication and slot, and then the rows: what the slot streams is exactly them. */
export async function loadedDatabase(load: Load): Promise<BenchDatabase> {
  const server = await startBenchServer();
  const { url, query, dropSlot } = server;
  try {
    if (load.kind === 'one-key') await query(`insert into bench_orders ${rowsOf('1', '1')}`);
    if (load.kind === 'existing') {
      await query(`insert into bench_orders ${rowsOf('1', `${load.rows}`)}`);
      await query('vacuum analyze bench_orders');
    }
    await query(`select pg_create_logical_replication_slot('${MASTER_SLOT}', 'pgoutput')`);
    if (load.kind !== 'existing') await query(fillSql[load.kind](load.rows));
    let copies = 0;
    return {
      url,
      rows: load.rows,
      copySlot: async () => {
        const name = `run_${(copies += 1)}`;
        await query(`select pg_copy_logical_replication_slot('${MASTER_SLOT}', '${name}', false)`);
        return name;
      },
      dropSlot,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** One row with the id $1. */
export const insertOrderSql = `insert into bench_orders ${rowsOf('$1::bigint', '$1::bigint')}`;

/** One statement’s rows; `first` and `last` are SQL. */
function rowsOf(first: string, last: string): string {
  return `select i, i % 50000, (array['placed', 'paid', 'shipped', 'cancelled'])[1 + i % 4], 1 + i % 9,
    (i % 100000) / 100.0, i % 3 = 0, timestamptz '2026-03-01 00:00:00Z' + i * interval '1.000001 s',
    case when i % 5 = 0 then null else 'order ' || i || ', leave it at the door' end
    from generate_series(${first}, ${last}) as i`;
}

/** The SQL that writes a load’s rows, committing where the load says. */
const fillSql: Readonly<Record<Exclude<Load['kind'], 'existing'>, (rows: number) => string>> = {
  'one-transaction': (rows) => `insert into bench_orders ${rowsOf('1', `${rows}`)}`,
  'one-key': (rows) => `do $$ begin
    for i in 1..${rows} loop
      update bench_orders set quantity = i where id = 1;
      commit;
    end loop;
  end $$`,
  mixed: (rows) => `do $$
    declare
      sizes integer[] := array[${SIZES}];
      written bigint := 0; last_id bigint := 0; turn integer := 0; n integer;
    begin
      while written < ${rows} loop
        n := least(sizes[1 + turn % array_length(sizes, 1)], ${rows} - written);
        if turn % 7 = 6 and last_id >= n then
          update bench_orders set status = 'changed', quantity = quantity + 1 where id > last_id - n;
        else
          insert into bench_orders ${rowsOf('last_id + 1', 'last_id + n')};
          last_id := last_id + n;
        end if;
        written := written + n;
        turn := turn + 1;
        commit;
      end loop;
    end $$`,
};
