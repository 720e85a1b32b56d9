import type pg from 'pg';
import type { Logger } from 'pino';
import type { TransactionHeader } from '../../core/change.ts';
import { BanyanError, toBanyanError } from '../../core/errors.ts';
import { sleep } from '../../flow/supervise.ts';
import { backfillEvent, type BackfillNote } from '../../mapping/backfill-event.ts';
import { type Leaf, leafName, leavesOf } from '../../postgres/backfill-facts.ts';
import { qualifiedName } from '../../postgres/identifier.ts';
import { loadTables } from '../../postgres/catalog.ts';
import { SpareRows } from '../../postgres/wire-rows.ts';
import { describeWriter, remaining, writersOf } from '../../postgres/writers.ts';
import type { CatalogColumn, CatalogTable } from '../../postgres/table.ts';
import type { BackfillRun } from '../../state/backfills.ts';
import { type Shape, shapeOf } from '../table-shape.ts';
import type { LiveSession } from '../upkeep.ts';
import { BeginAgain } from './moved.ts';
import { sendKeys, type SendOptions } from './send.ts';
import { backfillTable } from './table-backfill.ts';
import { throttleReason } from './throttle.ts';
import { TableWatch } from './watch.ts';

const WRITERS_LOOK_MS = 200;

interface RunContext {
  readonly session: LiveSession;
  /** Connections of the backfill alone, so that nobody waits for a chunk. */
  readonly pool: pg.Pool;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** read: the table, from where the run is. moves: only what the stream leaves to a run that has begun, while it is paused or others read. */
export type RunMode = 'read' | 'moves';

/**
 * One run of one table, to its end. Its watch begins before anything else: from then on no change of the table is overlooked, and what was written
 * before is waited for. The watch is the runner's to close.
 */
export async function performRun(run: BackfillRun, mode: RunMode, context: RunContext): Promise<void> {
  const { session, log } = context;
  const ended = new AbortController();
  const signal = AbortSignal.any([context.signal, ended.signal]);
  const table = await tableOf(run, context);
  const watch = watchOf(run, table, session);
  const options = sending(run, { ...context, signal, table, watch });
  const root = { schema: table.schema, name: table.name, partitioned: table.kind === 'partitioned' };
  // Serving never ends by itself.
  const tasks: Promise<void>[] = [watch.moved.serve((keys) => sendKeys(keys, root, options), signal)];
  if (mode === 'read') tasks.push(readAll(run, { ...context, signal, table, options }));
  try {
    await Promise.race(tasks);
  } catch (error) {
    if (!(error instanceof BeginAgain)) throw error;
    ended.abort();
    // A chunk that is still being stored would move a part on again.
    await Promise.allSettled(tasks);
    await session.state.backfills.restartParts(run.id, keyTexts(table));
    watch.moved.forget();
    log.info({ table: run.table, run: run.id }, `reading the table from its beginning again: ${error.message}`);
  } finally {
    ended.abort();
    await Promise.allSettled(tasks);
  }
}

/** Watches of the runs that have begun, before the stream brings the first change. */
export async function openWatches(session: LiveSession, pool: pg.Pool): Promise<void> {
  for (const run of await session.state.backfills.open()) {
    if (run.startedAt === undefined) continue;
    try {
      watchOf(run, await tableOf(run, { session, pool }), session);
    } catch (error) {
      // The run itself will say so.
      if (toBanyanError(error, 'opening a backfill').reaction === 'retry') throw error;
    }
  }
}

function watchOf(run: BackfillRun, table: CatalogTable, session: LiveSession): TableWatch {
  const key = keyOf(table);
  if (key.length === 0 && table.replicaIdentity !== 'full') {
    throw new BanyanError(
      'preflight',
      `${run.table} can not be backfilled: nothing in the stream tells its rows apart`,
      {
        remedy: `give it a primary key, or: alter table ${qualifiedName(table)} replica identity full;`,
      },
    );
  }
  const names = key.map(({ name }) => name);
  let watch = session.watches.get(table.oid);
  if (watch?.run !== run.id || JSON.stringify(watch.keyColumns) !== JSON.stringify(names)) {
    // Of a run that this one replaces; or its rows had another key, and then all parts begin anew.
    watch?.moved.giveUp();
    watch = new TableWatch(run.id, names, { isPartitioned: table.kind === 'partitioned' });
    session.watches.set(table.oid, watch);
  }
  return watch;
}

function sending(
  run: BackfillRun,
  { session, pool, signal, log, table, watch }: RunContext & { table: CatalogTable; watch: TableWatch },
): SendOptions {
  return {
    source: {
      pool,
      marks: session.marks,
      watch,
      key: keyOf(table),
      where: run.where,
      spare: new SpareRows(),
      shape: () => shapeNow(table, session),
      onRepeat: (reason) => log.info({ table: run.table, run: run.id }, `reading a chunk again: ${reason}`),
      signal,
    },
    feeding: {
      dispatcher: session.dispatcher,
      parking: session.parking,
      counters: session.routes.countersOf(run.table),
      table: run.table,
      run: run.id,
      signal,
    },
  };
}

async function readAll(
  run: BackfillRun,
  context: RunContext & { table: CatalogTable; options: SendOptions },
): Promise<void> {
  const { session, table, options, signal, log } = context;
  await writersGone(table, { ...context, run });
  const parts = await planned(run, context);
  if (parts === undefined) return;
  await backfillTable({
    ...options,
    parts,
    advance: (step) => session.state.backfills.advance(run.id, step),
    restart: (part, filenode) => session.state.backfills.restartPart(run.id, { part, filenode }),
    throttle: () => throttleReason(session, run.table),
    onReason: async (reason) => session.state.backfills.setReason(run.id, reason),
    signal,
    log,
  });
  await options.source.watch.moved.drained(signal);
  // The run is over: what moves from here on is not its own, and must not hold back the stream with nobody left to send it.
  options.source.watch.moved.giveUp();
  await complete(run, context);
}

async function tableOf(
  run: BackfillRun,
  { session, pool }: Pick<RunContext, 'session' | 'pool'>,
): Promise<CatalogTable> {
  const captured = session.factory.captured.find(({ table }) => `${table.schema}.${table.name}` === run.table);
  const [table] = captured === undefined ? [] : await loadTables(pool, [captured.table.oid]);
  if (table === undefined) {
    throw new BanyanError('preflight', `${run.table} can not be backfilled: it is not captured`, {
      remedy: 'name it in capture[] and restart, or give the backfill up',
    });
  }
  return table;
}

/** What tells rows apart both in the stream and in the table, and is indexed. */
export function keyOf(table: CatalogTable): readonly CatalogColumn[] {
  const names = table.replicaIdentity === 'full' ? table.primaryKey : table.identityColumns;
  return names.flatMap((name) => table.columns.find((column) => column.name === name) ?? []);
}

/** What a cursor's values belong to: in another order, or of other types, they are another place in the table. */
function keyTexts(table: CatalogTable): readonly string[] {
  return keyOf(table).map(({ name, typeName, collation }) => [name, typeName, collation].filter(Boolean).join(' '));
}

function hasKey(table: CatalogTable, key: readonly string[] | undefined): boolean {
  return JSON.stringify(keyTexts(table)) === JSON.stringify(key);
}

/** Form of the table now. Throws BeginAgain where its key is not that of `before` any more. */
async function shapeNow(before: CatalogTable, session: LiveSession): Promise<Shape> {
  const [table] = await loadTables(session.pool, [before.oid]);
  if (table === undefined) throw new BanyanError('schema-drift', 'the table is gone');
  if (!hasKey(table, keyTexts(before))) throw new BeginAgain('it has another key');
  return shapeOf(table, session);
}

/**
 * A row that an open transaction wrote may be in no chunk and in nobody's stream: written before the table was published, or streamed before this watch
 * began and still invisible. Whoever holds a write lock on the table now is waited for.
 */
async function writersGone(
  table: CatalogTable,
  { pool, session, signal, run, log }: RunContext & { run: BackfillRun },
): Promise<void> {
  const oids = (await leavesOf(pool, table.oid)).map(({ oid }) => oid);
  const relations = [...new Set([table.oid, ...oids])];
  let left = await writersOf(pool, relations);
  for (;;) {
    const [first] = left;
    if (first === undefined) return;
    const reason = `waiting for a transaction that wrote to the table: ${describeWriter(first)}`;
    await session.state.backfills.setReason(run.id, reason);
    log.debug({ table: run.table, run: run.id, writers: left.length }, reason);
    await sleep(WRITERS_LOOK_MS, signal);
    left = remaining(left, await writersOf(pool, relations));
  }
}

/**
 * The parts that are left; of a run that has not begun, all of them, after everybody was told that it begins. undefined: it was paused or replaced
 * meanwhile, and has none.
 */
async function planned(run: BackfillRun, context: RunContext & { table: CatalogTable }) {
  const { session, pool, table, log } = context;
  const { backfills } = session.state;
  const leaves = leavesFor(run, await leavesOf(pool, table.oid));
  if (run.startedAt === undefined) {
    await tell({ ...aboutOf(run), detailType: 'BackfillStarted', rows: undefined }, context);
    const estimates = leaves.map(({ estimatedRows }) => estimatedRows);
    const started = await backfills.start(run.id, {
      parts: leaves.map((leaf, number) => ({
        number,
        oid: leaf.oid,
        relation: leafName(leaf),
        attached: leaf.attached,
        filenode: keyOf(table).length === 0 ? leaf.filenode : undefined,
      })),
      key: keyTexts(table),
      rowsEstimated: run.where === undefined ? estimates.reduce((sum, rows) => sum + rows, 0) : undefined,
    });
    if (!started) return undefined;
  } else if (!hasKey(table, run.key)) {
    log.info({ table: run.table, run: run.id }, 'reading the table from its beginning again: it has another key');
    await backfills.restartParts(run.id, keyTexts(table));
  }
  const placeByOid = new Map(leaves.map(({ oid, schema, name }) => [oid, { schema, name }]));
  return (await backfills.parts(run.id)).flatMap((part) => {
    const place = placeByOid.get(part.oid);
    // A partition that was dropped or detached meanwhile has nothing to send any more.
    return part.done || place === undefined ? [] : [{ part, place }];
  });
}

async function complete(run: BackfillRun, context: RunContext): Promise<void> {
  const { backfills } = context.session.state;
  const now = await backfills.get(run.id);
  // Consumers sweep by what is told here: nothing is said of a run that was paused or given up on the way.
  if (now?.status !== 'running') return;
  const rows = now.rowsSent;
  await tell({ ...aboutOf(run), detailType: 'BackfillCompleted', rows }, context);
  // Paused since then, it has nothing left to do.
  await backfills.move(run.id, 'completed', ['running', 'paused']);
  context.log.info({ table: run.table, run: run.id, rows }, 'backfill completed');
}

/** A partition that was attached when the rest had been read is all that its run reads. */
function leavesFor({ partition }: BackfillRun, leaves: readonly Leaf[]): readonly Leaf[] {
  return partition === undefined ? leaves : leaves.filter((leaf) => leafName(leaf) === partition);
}

function aboutOf({
  id,
  table,
  where,
  partition,
}: BackfillRun): Pick<BackfillNote, 'run' | 'table' | 'where' | 'partition'> {
  return { run: id, table, where, partition };
}

/** Sends the event at a mark of its own; resolves when the bus has it. */
async function tell(note: BackfillNote, { session, pool, signal }: RunContext): Promise<void> {
  const { marks, dispatcher, config, factory } = session;
  const { seen } = await marks.set(pool, { signal });
  const mark: TransactionHeader = await seen;
  const event = backfillEvent(note, { mark, name: config.name, identity: factory.identity });
  const outcome = await dispatcher.send(event, signal);
  if (outcome.status === 'rejected') throw outcome.error;
}
