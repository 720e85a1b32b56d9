import type pg from 'pg';
import type { Logger } from 'pino';
import type { Reverse } from '../config/reverse-schema.ts';
import { type Config, publicationName } from '../config/schema.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { ConflictStore } from '../state/conflicts.ts';
import type { State } from '../state/state.ts';
import { applyTogether } from './apply.ts';
import type { ApplyContext } from './apply-one.ts';
import { type CompiledReverse, compileReverse } from './compile.ts';
import { conflictOf } from './conflict.ts';
import { type RowForPeople, rowsForPeople } from './conflict-rows.ts';
import { decodeEnvelope } from './envelope.ts';
import type { Intent, Target } from './intent.ts';
import { type EventReading, reverseMapper } from './mapper.ts';
import type { ReverseParking } from './parking.ts';
import type { Apply } from './pipeline.ts';
import { grantStatements, missingRights, neededRights } from './privileges.ts';
import { readColumnLists } from './published.ts';
import { grownTables, type TargetTable } from './target-shapes.ts';

/** What events mean and how they are written, compiled against the catalog. */
export interface Engine {
  /** What the body of a message asks for. Throws a BanyanError of the reaction `park` where no event can be read from it. */
  readonly read: (body: string) => EventReading;
  readonly apply: Apply;
  /** Compiles `reverse.apply` against the catalog as it is now, whatever other reload is under way. */
  readonly reload: () => Promise<void>;
  /** Of each entry, as it is compiled. */
  readonly tables: () => readonly TargetTable[];
  /** Names of tables that have got columns since they were compiled. */
  readonly grown: () => Promise<readonly string[]>;
  /** The row of an event has not come within its time: that is a conflict. */
  readonly onRowMissing: (intent: Intent) => Promise<void>;
  /** The statements that give our role what it lacks to write events of the target. */
  readonly missingGrants: (target: Target) => Promise<readonly string[]>;
}

export interface EngineOptions {
  readonly config: Config;
  readonly reverse: Reverse;
  readonly pool: pg.Pool;
  readonly state: State;
  readonly session: { caughtUp(signal: AbortSignal): Promise<void> };
  readonly parking: Pick<ReverseParking, 'parkIn'>;
  readonly stop: AbortSignal;
  readonly log: Logger;
}

export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { config, reverse, pool, state, session, parking, stop, log } = options;
  const show = rowsForPeople(config);
  const context: Omit<ApplyContext, 'byOperator'> = {
    pool,
    connector: config.name,
    stateSchema: config.state.schema,
    secret: await state.reverseSecret.get(),
    inbox: state.inbox,
    versions: state.appliedVersions,
    conflicts: state.conflicts,
    legacyChanges: state.legacyChanges,
    show,
    park: (client, intent, error) => parking.parkIn(client, intent, error),
    caughtUp: () => session.caughtUp(stop),
    horizonMs: reverse.horizon,
  };
  let said: ReadonlySet<string> = new Set();
  const compile = async () => {
    const { entries, findings } = await compiled(options);
    const errors = findings.filter(({ severity }) => severity === 'error');
    for (const { code, message, path, remedy } of errors) {
      // While a table is held this is asked again and again.
      if (!said.has(message))
        log.error({ code, path, remedy }, `an entry of reverse.apply can not be used: ${message}`);
    }
    said = new Set(errors.map(({ message }) => message));
    const tables = entries.map(({ table, plan }): TargetTable => ({ name: table, compiled: plan?.target.table }));
    return { mapper: reverseMapper(entries), tables };
  };
  let current = await compile();
  let compiling: Promise<unknown> = Promise.resolve();
  return {
    read: (body) => current.mapper.read(decodeEnvelope(body)),
    apply: (intents, { byOperator = false, onEnded } = {}) =>
      applyTogether(intents, { ...context, byOperator, ...(onEnded === undefined ? {} : { onEnded }) }),
    async reload() {
      // One after the other: who has read the catalog last is not to be overwritten by who began before.
      const before = compiling;
      const own = (async () => {
        await before;
        current = await compile();
      })();
      compiling = own.catch(() => undefined);
      await own;
    },
    tables: () => current.tables,
    grown: () => grownTables(pool, current.tables),
    onRowMissing: (intent) => recordMissing(intent, { pool, conflicts: state.conflicts, show }),
    missingGrants: (target) => missingGrants(target, pool),
  };
}

async function compiled({ config, reverse, pool }: EngineOptions): Promise<CompiledReverse> {
  try {
    const published = await readColumnLists(pool, publicationName(config));
    return await compileReverse(pool, reverse.apply, { stateSchema: config.state.schema, published });
  } catch (error) {
    throw toDatabaseError(error, 'reading the catalog for reverse.apply');
  }
}

/** Both rows are known: the one that the event wants, and that there is none. */
async function recordMissing(
  intent: Intent,
  { pool, conflicts, show }: { pool: pg.Pool; conflicts: Pick<ConflictStore, 'record'>; show: RowForPeople },
): Promise<void> {
  const client = await pool.connect();
  let isBroken = true;
  try {
    const facts = { kind: 'update_missing', policy: 'park', resolution: 'parked', current: undefined, show } as const;
    await conflicts.record(client, conflictOf(intent, facts));
    isBroken = false;
  } finally {
    client.release(isBroken);
  }
}

async function missingGrants(target: Target, pool: pg.Pool): Promise<readonly string[]> {
  let client: pg.PoolClient | undefined;
  let isBroken = true;
  try {
    client = await pool.connect();
    const missing = await missingRights(client, await neededRights(client, [target]));
    const { rows } = await client.query<{ role: string }>('select current_user::text as role');
    isBroken = false;
    return grantStatements(missing, rows[0]?.role ?? '');
  } catch (error) {
    throw toDatabaseError(error, 'looking which right is missing');
  } finally {
    client?.release(isBroken);
  }
}
