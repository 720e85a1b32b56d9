import { readdir, readFile } from 'node:fs/promises';
import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import { quoteIdentifier } from '../postgres/identifier.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import { usingState } from './scope.ts';

/** One file of `migrations/`: `0002-name.sql`, or `0002-name.breaking.sql` where older workers can not live with it. */
interface Migration {
  readonly number: number;
  readonly name: string;
  readonly breaking: boolean;
  readonly sql: string;
}

interface AppliedMigration {
  readonly number: number;
  readonly name: string;
  readonly breaking: boolean;
}

export interface MigrateOptions {
  readonly pool: pg.Pool;
  readonly schema: string;
}

/** Beside this module, both in `src` and in `dist`. */
const FOLDER = new URL('./migrations/', import.meta.url);

/** How long an install waits for another one; each migration takes milliseconds. */
const LOCK_TIMEOUT_MS = 10_000;

/**
 * Brings the schema up to this version. Each migration is one transaction under an advisory lock, so concurrent installs wait for each
 * other and an interrupted one leaves whole steps. Nothing is written, and no lock taken, where nothing is pending.
 *
 * @throws BanyanError `preflight` where a newer version left a breaking migration; `database-privilege` where the role may not.
 */
export async function migrate(options: MigrateOptions): Promise<void> {
  const known = await knownMigrations();
  try {
    const applied = await appliedMigrations(options.pool, options.schema);
    refuseNewer(applied ?? [], { known, schema: options.schema });
    for (const migration of pending(known, applied ?? [])) await apply(options, { migration, known });
  } catch (error) {
    throw toDatabaseError(error, usingState(options.schema));
  }
}

/**
 * For commands that only read: throws a BanyanError `preflight` unless the schema is there and as new as this version needs.
 */
export async function requireMigrated(options: MigrateOptions): Promise<void> {
  const { schema } = options;
  const known = await knownMigrations();
  try {
    const applied = await appliedMigrations(options.pool, schema);
    if (applied === undefined) {
      throw new BanyanError('preflight', `there is no state schema ${schema} in this database yet`, {
        context: { schema },
        remedy: 'start the worker once with `banyan run`: it creates the schema',
      });
    }
    refuseNewer(applied, { known, schema });
    const [missing] = pending(known, applied);
    if (missing !== undefined) {
      throw new BanyanError(
        'preflight',
        `the state schema ${schema} is older than this version (no ${missing.name} yet)`,
        {
          context: { schema },
          remedy: 'start the worker of this version with `banyan run`: it brings the schema up to date',
        },
      );
    }
  } catch (error) {
    throw toDatabaseError(error, usingState(schema));
  }
}

async function knownMigrations(): Promise<Migration[]> {
  const files = (await readdir(FOLDER)).filter((file) => file.endsWith('.sql')).toSorted();
  return Promise.all(
    files.map(async (file) => ({
      number: Number.parseInt(file, 10),
      name: file.replace(/\.sql$/, ''),
      breaking: file.endsWith('.breaking.sql'),
      sql: await readFile(new URL(file, FOLDER), 'utf8'),
    })),
  );
}

/** undefined: the schema, or our table in it, is not there. */
async function appliedMigrations(
  client: Pick<pg.ClientBase, 'query'> | pg.Pool,
  schema: string,
): Promise<AppliedMigration[] | undefined> {
  const found = await client.query<{ there: boolean }>(
    `select exists (
       select from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = $1 and c.relname = 'migration' and c.relkind = 'r'
     ) as there`,
    [schema],
  );
  if (found.rows[0]?.there !== true) return undefined;
  const { rows } = await client.query<AppliedMigration>(
    `select number, name, breaking from ${quoteIdentifier(schema)}.migration order by number`,
  );
  return rows;
}

/** A newer migration that is not breaking is fine: during a rolling deploy the older worker goes on beside the newer one. */
function refuseNewer(
  applied: readonly AppliedMigration[],
  place: { known: readonly Migration[]; schema: string },
): void {
  const newest = place.known.at(-1)?.number ?? 0;
  const breaking = applied.find((migration) => migration.number > newest && migration.breaking);
  if (breaking === undefined) return;
  throw new BanyanError(
    'preflight',
    `the state schema ${place.schema} was written by a newer version (${breaking.name}) that this one can not work with`,
    {
      context: { schema: place.schema, migration: breaking.number },
      remedy: 'run the newer version; going back needs a backup of the schema from before the upgrade',
    },
  );
}

function pending(known: readonly Migration[], applied: readonly AppliedMigration[]): Migration[] {
  const done = new Set(applied.map((migration) => migration.number));
  return known.filter((migration) => !done.has(migration.number));
}

async function apply(
  options: MigrateOptions,
  step: { migration: Migration; known: readonly Migration[] },
): Promise<void> {
  const { pool, schema } = options;
  const { migration, known } = step;
  const quoted = quoteIdentifier(schema);
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await client.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`banyan state ${schema}`]);
    await createSchema(client, schema);
    await client.query(`set local search_path = ${quoted}`);
    await client.query(
      `create table if not exists migration (
         number integer primary key,
         name text not null,
         breaking boolean not null,
         applied_at timestamptz not null default now()
       )`,
    );
    // Another install may have been here while we waited for the lock.
    const applied = (await appliedMigrations(client, schema)) ?? [];
    refuseNewer(applied, { known, schema });
    if (!applied.some((done) => done.number === migration.number)) {
      await client.query(migration.sql);
      await client.query('insert into migration (number, name, breaking) values ($1, $2, $3)', [
        migration.number,
        migration.name,
        migration.breaking,
      ]);
    }
    await client.query('commit');
    client.release();
  } catch (error) {
    // A connection in a failed transaction is of no use to the next one; closing it rolls back.
    client.release(true);
    throw error;
  }
}

/** `create schema if not exists` asks for the right to create one even where it exists, which a prepared role does not have. */
async function createSchema(client: pg.ClientBase, schema: string): Promise<void> {
  const { rows } = await client.query<{ there: boolean; may: boolean; role: string }>(
    `select exists (select from pg_namespace where nspname = $1) as there,
            has_database_privilege(current_database(), 'create') as may,
            current_user as role`,
    [schema],
  );
  const [facts] = rows;
  if (facts?.there === true) return;
  const quoted = quoteIdentifier(schema);
  if (facts?.may !== true) {
    throw new BanyanError('database-privilege', `the role may not create the state schema ${schema}`, {
      context: { schema },
      remedy: `as an administrator: \`create schema ${quoted} authorization ${quoteIdentifier(facts?.role ?? 'ROLE')};\``,
    });
  }
  await client.query(`create schema ${quoted}`);
}
