import type pg from 'pg';
import { toDatabaseError } from './sqlstate.ts';

/**
 * Several reads of one view of the database. Names and OIDs that are read one after the other do not agree while tables are renamed: a table
 * that was swapped in between would look as if it were gone.
 */
export async function inSnapshot<T>(pool: pg.Pool, read: (client: pg.ClientBase) => Promise<T>): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw toDatabaseError(error, 'connecting to PostgreSQL');
  });
  let failed = true;
  try {
    await client.query('begin isolation level repeatable read read only');
    const result = await read(client);
    await client.query('commit');
    failed = false;
    return result;
  } catch (error) {
    throw toDatabaseError(error, 'reading the catalog');
  } finally {
    // Whatever state a failed read left it in, nobody gets this connection again.
    client.release(failed);
  }
}
