import type pg from 'pg';
import type { Config } from '../config/schema.ts';
import { displayName } from '../postgres/identifier.ts';
import { sqlStateOf, toDatabaseError } from '../postgres/sqlstate.ts';
import { dropFunctionSql, dropSql, writerFunction, writerTriggers } from '../postgres/writer-trigger.ts';
import type { Step } from './teardown.ts';

/** The triggers that say who writes, and their function where no table of any connector needs it. What only an owner may drop is left, and said. */
export async function teardownWriters(client: pg.ClientBase, { name, state }: Config): Promise<Step[]> {
  const steps: Step[] = [];
  for (const table of await writerTriggers(client, { connector: name, schema: state.schema })) {
    steps.push(await drop(client, `writer trigger of ${displayName(table)}`, dropSql({ connector: name, table })));
  }
  const made = await writerFunction(client, state.schema);
  if (made?.used === false) {
    steps.push(await drop(client, 'function of writer triggers', dropFunctionSql(state.schema)));
  }
  return steps;
}

async function drop(client: pg.ClientBase, what: string, sql: string): Promise<Step> {
  try {
    await client.query(sql);
    return { what, outcome: 'dropped' };
  } catch (error) {
    await client.query('rollback');
    const code = sqlStateOf(error);
    if (code === '42501') return { what, outcome: 'left', remark: `its owner must run:\n${sql}` };
    if (code === '55P03') return { what, outcome: 'left', remark: `its table is locked; later:\n${sql}` };
    throw toDatabaseError(error, `dropping the ${what}`);
  }
}
