import pg from 'pg';
import type { Stage } from '../../src/core/progress.ts';
import { parseTableName } from '../../src/postgres/identifier.ts';
import { openState } from '../../src/state/state.ts';

/** Where a worker of a test keeps its state. */
export interface StatePlace {
  /** As the role that the worker runs as, so that the schema is its own. */
  readonly url: string;
  /** Of the connector. */
  readonly name: string;
}

/**
 * Before a worker starts: what has moved as far as most tests need it, so that no event about a move is among those that they look at. Tables of `reverse.apply` are in
 * `dual`, all others that are there in `shadow`; what was moved already stays where it is.
 */
export async function settleStages({ url, name }: StatePlace, apply: readonly object[] = []): Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  try {
    const { stages } = await openState({ pool, connector: name, schema: 'banyan' });
    const { rows } = await pool.query<{ name: string }>(
      `select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'banyan')`,
    );
    const settled = new Map<string, Stage>(rows.map((table) => [table.name, 'shadow']));
    for (const entry of apply) {
      const { schema, name: table } = parseTableName(String((entry as { readonly table?: unknown }).table));
      settled.set(`${schema.text}.${table.text}`, 'dual');
    }
    for (const { table } of await stages.list()) settled.delete(table);
    for (const [table, stage] of settled) await stages.set(table, stage, 'a test');
  } finally {
    await pool.end();
  }
}
