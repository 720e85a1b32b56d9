import { isTableCapture } from '../config/schema.ts';
import { parseLsn, ZERO_LSN } from '../core/lsn.ts';
import { primaryOf } from '../core/stages.ts';
import type { ResolvedTables } from '../postgres/catalog.ts';
import type { PrepareOptions } from './prepare.ts';

type Options = Pick<PrepareOptions, 'pool' | 'state' | 'log'>;

/**
 * Remembers from where on each table is in the stream, and forgets those that are no longer captured. Of a table that is recorded anew nobody saw what changed before:
 * what was under way does not go on, and one that was put back is read again. The record comes last, so that whoever is interrupted does it all again.
 * @param isNewStream the slot is used for the first time: what any of them changed before is in nobody's stream
 */
export async function recordTables(
  options: Options,
  { resolved, isNewStream }: { readonly resolved: ResolvedTables; readonly isNewStream: boolean },
): Promise<void> {
  const { pool, state } = options;
  const records = await state.tables.list();
  const known = new Map(records.map((record) => [record.table, record]));
  const added = resolved.tables.filter((table) => {
    const record = known.get(nameOf(table));
    return isNewStream || record?.oid !== table.oid || record.publishedSinceLsn === ZERO_LSN;
  });
  if (added.length > 0) {
    const names = new Set(added.map(nameOf));
    await endRuns(names, options);
    // Of one whose gap was accepted, whoever did so has decided about its rows.
    const unknown = [...names].filter((table) => !known.has(table));
    await readAgain(wantedOf(unknown, resolved), options);
    const { rows } = await pool.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
    const publishedSinceLsn = parseLsn(rows[0]?.lsn ?? '');
    await state.tables.save(added.map((table) => ({ table: nameOf(table), oid: table.oid, publishedSinceLsn })));
  }
  const present = new Set(resolved.tables.map(nameOf));
  await state.tables.remove(records.map(({ table }) => table).filter((table) => !present.has(table)));
}

/** Behind its cursor, a run that has begun would never see what changed; and of another table under the name it would read nothing, and say that it is complete. */
async function endRuns(tables: ReadonlySet<string>, { state, log }: Options): Promise<void> {
  for (const { id, table, startedAt } of await state.backfills.open()) {
    if (!tables.has(table) || startedAt === undefined) continue;
    const reason = 'changes of the table were not in the stream for a while';
    if (!(await state.backfills.move(id, 'failed', ['running', 'paused'], reason))) continue;
    log.warn({ table, run: id }, `backfill given up: ${reason}`);
  }
}

/** The end of a new run has consumers sweep away what was deleted meanwhile. What never had a run is asked for with every table that has none. */
async function readAgain(tables: readonly string[], { state, log }: Options): Promise<void> {
  if (tables.length === 0) return;
  const read = new Set((await state.backfills.latest()).map(({ table }) => table));
  for (const table of tables) {
    if (!read.has(table)) continue;
    // Rows of a table that is not primary any more may be older than what the new system has: whether they are sent is for a person to say.
    if (primaryOf(await state.stages.get(table)) !== 'legacy') continue;
    const run = await state.backfills.create({ table, requestedBy: 'configuration' });
    if (run !== undefined) log.info({ table, run: run.id }, 'the table was put back: it is read again');
  }
}

function wantedOf(tables: readonly string[], { entries }: ResolvedTables): readonly string[] {
  const wanted = new Set(
    entries.filter(({ entry }) => isTableCapture(entry) && entry.backfill).flatMap((each) => each.tables.map(nameOf)),
  );
  return tables.filter((table) => wanted.has(table));
}

/** As events and state name it, unquoted. */
export function nameOf({ schema, name }: { readonly schema: string; readonly name: string }): string {
  return `${schema}.${name}`;
}
