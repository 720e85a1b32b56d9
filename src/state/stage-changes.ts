import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import type { Stage, StageChange, Verdict } from '../core/progress.ts';
import { FIRST_STAGE } from '../core/stages.ts';
import { applyPrefix, formatMessage, shortXid, type StageMessage } from '../postgres/apply-tag.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import { queryState, queryStateIn, type StateScope, usingState } from './scope.ts';
import type { ReverseSecretStore } from './reverse-secret.ts';

export type NewStageChange = Omit<StageChange, 'id' | 'at'>;

/** Every move of a table, each with a message about it in the WAL of the legacy database: capture publishes it at its place in the stream. */
export interface StageChangeStore {
  /** Newest first. */
  list(filter: { readonly table?: string | undefined; readonly limit: number }): Promise<StageChange[]>;
  /** The last moves of every table, newest first. */
  latest(perTable: number): Promise<Map<string, StageChange[]>>;
  /**
   * Moves the table, remembers that, and announces it in the WAL, in one transaction where the state is in the legacy database. Else it is announced after the
   * commit, by `announce`. Throws `usage` where the table is not in `from` any more.
   */
  move(change: NewStageChange, legacyPool: pg.Pool): Promise<StageChange>;
  /** Announces what was not yet, oldest first; returns how many. What stops between the two databases is announced twice. */
  announce(legacyPool: pg.Pool): Promise<number>;
  /**
   * Announces the last move of each table again, in their order: for a slot that is read for the first time, since what was announced before it was made is in nobody's
   * stream. Whoever knew of a move already knows it by its number.
   */
  announceAgain(legacyPool: pg.Pool): Promise<void>;
}

interface ChangeRow {
  id: string;
  table_name: string;
  from_stage: Stage;
  to_stage: Stage;
  actor: string;
  changed_at: Date;
  verdict: Verdict | null;
}

const COLUMNS = 'id, table_name, from_stage, to_stage, actor, changed_at, verdict';

export function stageChangeStore(scope: StateScope, secrets: ReverseSecretStore): StageChangeStore {
  const { connector } = scope;

  async function emit(client: pg.ClientBase, change: StageChange, secret: Uint8Array): Promise<void> {
    try {
      const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
      const content = formatMessage(messageOf(change), { secret, xid: shortXid(rows[0]?.xid ?? '0') });
      await client.query('select pg_logical_emit_message(true, $1::text, $2::text)', [applyPrefix(connector), content]);
    } catch (error) {
      throw toDatabaseError(error, 'announcing a stage in the WAL');
    }
  }

  /** By the transaction of the state where it is in the legacy database, or else each by one of its own. */
  async function emitAll(
    client: pg.ClientBase,
    what: { readonly rows: readonly ChangeRow[]; readonly legacyPool: pg.Pool; readonly secret: Uint8Array },
  ): Promise<void> {
    const { rows, legacyPool, secret } = what;
    for (const change of rows.map(changeOf)) {
      if (legacyPool === scope.pool) await emit(client, change, secret);
      else await inTransaction(legacyPool, scope, (legacy) => emit(legacy, change, secret));
    }
  }

  return {
    async list({ table, limit }) {
      const rows = await queryState<ChangeRow>(
        scope,
        `select ${COLUMNS} from {stage_change}
         where connector = $1 and ($2::text is null or table_name = $2) order by id desc limit $3`,
        [connector, table ?? null, limit],
      );
      return rows.map(changeOf);
    },

    async latest(perTable) {
      const rows = await queryState<ChangeRow>(
        scope,
        `select ${COLUMNS} from (
           select *, row_number() over (partition by table_name order by id desc) as place
           from {stage_change} where connector = $1
         ) as placed where place <= $2 order by id desc`,
        [connector, perTable],
      );
      return Map.groupBy(rows.map(changeOf), ({ table }) => table);
    },

    async move(change, legacyPool) {
      const isTogether = legacyPool === scope.pool;
      const secret = await secrets.get();
      return inTransaction(scope.pool, scope, async (client) => {
        const moved = await queryStateIn<{ stage: string }>(client, scope, {
          // A table that never moved has no row.
          sql: `insert into {table_stage} as known (connector, table_name, stage, changed_by)
                select $1, $2, $4, $5
                where $3 = $6 or exists (select from {table_stage} where connector = $1 and table_name = $2)
                on conflict (connector, table_name) do update
                set stage = excluded.stage, changed_at = now(), changed_by = excluded.changed_by
                where known.stage = $3 returning stage`,
          values: [connector, change.table, change.from, change.to, scope.storableText(change.actor), FIRST_STAGE],
        });
        if (moved.length === 0) throw overtaken(change);
        const { verdict } = change;
        const [row] = await queryStateIn<ChangeRow>(client, scope, {
          sql: `insert into {stage_change} (connector, table_name, from_stage, to_stage, actor, verdict, announced)
                values ($1, $2, $3, $4, $5, $6, $7) returning ${COLUMNS}`,
          values: [
            connector,
            change.table,
            change.from,
            change.to,
            scope.storableText(change.actor),
            verdict === undefined ? null : scope.storableJson(JSON.stringify(verdict)),
            isTogether,
          ],
        });
        const stored = changeOf(row as ChangeRow);
        if (isTogether) await emit(client, stored, secret);
        return stored;
      });
    },

    async announce(legacyPool) {
      const secret = await secrets.get();
      return inTransaction(scope.pool, scope, async (client) => {
        // Locked: a command and a worker may be at it at the same time, and the second is to find nothing left.
        const rows = await queryStateIn<ChangeRow>(client, scope, {
          sql: `select ${COLUMNS} from {stage_change} where connector = $1 and not announced order by id for update`,
          values: [connector],
        });
        await emitAll(client, { rows, legacyPool, secret });
        await queryStateIn(client, scope, {
          sql: 'update {stage_change} set announced = true where connector = $1 and id = any($2::bigint[])',
          values: [connector, rows.map(({ id }) => id)],
        });
        return rows.length;
      });
    },

    async announceAgain(legacyPool) {
      const secret = await secrets.get();
      await inTransaction(scope.pool, scope, async (client) => {
        // Whoever moves a table meanwhile waits, so that the move before it does not stand behind it.
        await queryStateIn(client, scope, {
          sql: 'select from {table_stage} where connector = $1 order by table_name for update',
          values: [connector],
        });
        const rows = await queryStateIn<ChangeRow>(client, scope, {
          // With what was not announced yet: it would come behind a later move of its table.
          sql: `update {stage_change} set announced = true where connector = $1 and (not announced or id in (
                  select max(id) from {stage_change} where connector = $1 group by table_name))
                returning ${COLUMNS}`,
          values: [connector],
        });
        const inOrder = rows.toSorted((a, b) => Number(a.id) - Number(b.id));
        await emitAll(client, { rows: inOrder, legacyPool, secret });
      });
    },
  };
}

function changeOf(row: ChangeRow): StageChange {
  return {
    id: Number(row.id),
    table: row.table_name,
    from: row.from_stage,
    to: row.to_stage,
    actor: row.actor,
    at: row.changed_at.toISOString(),
    verdict: row.verdict ?? undefined,
  };
}

function messageOf({ id, table, from, to, actor, at, verdict }: StageChange): StageMessage {
  const gates = (verdict?.gates ?? []).map(({ code, result, waiver }) => ({
    code,
    result,
    waived: waiver !== undefined,
  }));
  return { kind: 'stage', move: id, table, from, to, actor, at, gates };
}

function overtaken({ table, from }: NewStageChange): BanyanError {
  return new BanyanError('usage', `${table} is not ${from} any more: somebody else moved it meanwhile`, {
    remedy: `\`banyan stage ${table}\` says where it is now, and who moved it`,
  });
}

async function inTransaction<T>(
  pool: pg.Pool,
  { schema }: Pick<StateScope, 'schema'>,
  work: (client: pg.ClientBase) => Promise<T>,
): Promise<T> {
  try {
    const client = await pool.connect();
    let failed = true;
    try {
      await client.query('begin');
      const result = await work(client);
      await client.query('commit');
      failed = false;
      return result;
    } finally {
      // What failed is rolled back with its connection.
      client.release(failed);
    }
  } catch (error) {
    throw error instanceof BanyanError ? error : toDatabaseError(error, usingState(schema));
  }
}
