import type pg from 'pg';
import type { Config } from '../config/schema.ts';
import type { Finding } from '../core/finding.ts';
import { resolveTables } from '../postgres/catalog.ts';
import { displayName } from '../postgres/identifier.ts';
import { dropSql, installSql, writerTriggers } from '../postgres/writer-trigger.ts';
import { isObserved, triggerOf } from './writers.ts';

/** Tables whose writers are asked for and say nothing, and triggers that nobody asks any more. */
export async function checkWriters(client: pg.ClientBase, { name, capture, state }: Config): Promise<Finding[]> {
  const stateSchema = state.schema;
  const triggers = await writerTriggers(client, { connector: name, schema: stateSchema });
  const resolved = await resolveTables(client, capture, { stateSchema });
  const place = { connector: name, schema: stateSchema };
  const silent = resolved.tables.flatMap((table): Finding[] => {
    const trigger = triggerOf(table, triggers);
    if (trigger === 'enabled' || !isObserved(table, resolved)) return [];
    return [
      {
        code: trigger === 'missing' ? 'WRITERS_TRIGGER_MISSING' : 'WRITERS_TRIGGER_DISABLED',
        severity: 'warning',
        subject: displayName(table),
        message: `nothing says who writes to ${displayName(table)}: its statement trigger is ${trigger} (it costs about 9 % of a tiny update)`,
        remedy: installSql({ ...place, table }),
      },
    ];
  });
  const left = triggers
    .filter((trigger) => !resolved.tables.some((table) => table.oid === trigger.oid && isObserved(table, resolved)))
    .map((trigger): Finding => ({
      code: 'WRITERS_TRIGGER_UNUSED',
      severity: 'info',
      subject: displayName(trigger),
      message: `a trigger on ${displayName(trigger)} says who writes, and no entry with \`observe: writers\` asks`,
      remedy: dropSql({ connector: name, table: trigger }),
    }));
  return [...silent, ...left];
}
