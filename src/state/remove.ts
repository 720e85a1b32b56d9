import pg from 'pg';
import { quoteIdentifier } from '../postgres/identifier.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import { usingState } from './scope.ts';
import type { StateOptions } from './state.ts';

/** kept: other connectors still use the schema, or something that is not ours stands in it. */
export interface RemovedState {
  readonly schema: 'absent' | 'dropped' | 'kept';
  readonly otherConnectors: readonly string[];
}

/** Made together by the first migration: where one is missing, the schema is not ours. With a column `connector`, like those of LATER. */
const FIRST = ['slot_record', 'table_record', 'dead_letter', 'held_table', 'request', 'gap'];
/** An older version did not make them. */
const LATER = [
  'backfill_run',
  'reverse_secret',
  'inbox',
  'applied_version',
  'legacy_change',
  'conflict',
  'table_stage',
  'stage_change',
  'gate_waiver',
  'traffic',
  'traffic_position',
  'writer_traffic',
  'health',
  'read_watch',
];
const OURS = new Set([...FIRST, ...LATER, 'backfill_part', 'migration']);

/** How many dead letters go with a connector's state; whichever version left the schema, if any did. */
export async function lettersLost(options: StateOptions): Promise<number> {
  try {
    if (!isState(await tablesIn(options.pool, options.schema))) return 0;
    const { rows } = await options.pool.query<{ parked: number }>(
      `select count(*)::float8 as parked from ${quoteIdentifier(options.schema)}.dead_letter
       where connector = $1 and status = 'parked'`,
      [options.connector],
    );
    return rows[0]?.parked ?? 0;
  } catch (error) {
    throw toDatabaseError(error, usingState(options.schema));
  }
}

/**
 * Forgets a connector: its rows, and when nobody else's are left, the tables and the schema. Never cascades: what others put into the
 * schema stays. The caller has dropped the slot before, and has asked about dead letters.
 */
export async function removeState(options: StateOptions): Promise<RemovedState> {
  const quoted = quoteIdentifier(options.schema);
  try {
    const client = await options.pool.connect();
    try {
      const present = await tablesIn(client, options.schema);
      if (!isState(present)) {
        client.release();
        return { schema: 'absent', otherConnectors: [] };
      }
      await client.query('begin');
      const others = new Set<string>();
      for (const table of [...FIRST, ...LATER].filter((each) => present.includes(each))) {
        await client.query(`delete from ${quoted}.${table} where connector = $1`, [options.connector]);
        const { rows } = await client.query<{ connector: string }>(`select distinct connector from ${quoted}.${table}`);
        for (const row of rows) others.add(row.connector);
      }
      let schema: RemovedState['schema'] = 'kept';
      if (others.size === 0) {
        const ours = present.filter((table) => OURS.has(table)).map((table) => `${quoted}.${table}`);
        await client.query(`drop table ${ours.join(', ')}`);
        schema = (await dropSchema(client, options.schema)) ? 'dropped' : 'kept';
      }
      await client.query('commit');
      client.release();
      return { schema, otherConnectors: [...others].toSorted() };
    } catch (error) {
      client.release(true);
      throw error;
    }
  } catch (error) {
    throw toDatabaseError(error, usingState(options.schema));
  }
}

function isState(present: readonly string[]): boolean {
  return ['migration', ...FIRST].every((table) => present.includes(table));
}

async function tablesIn(client: pg.ClientBase | pg.Pool, schema: string): Promise<string[]> {
  const { rows } = await client.query<{ relname: string }>(
    `select relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and relkind = 'r'`,
    [schema],
  );
  return rows.map((row) => row.relname);
}

/** False where the schema is not empty (2BP01). The role owns it, or it could not have dropped the tables' schema. */
async function dropSchema(client: pg.ClientBase, schema: string): Promise<boolean> {
  await client.query('savepoint before_drop');
  try {
    await client.query(`drop schema ${quoteIdentifier(schema)}`);
    return true;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError) || (error.code !== '2BP01' && error.code !== '42501')) throw error;
    await client.query('rollback to savepoint before_drop');
    return false;
  }
}
