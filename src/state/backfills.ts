import { queryState, type StateScope } from './scope.ts';

/**
 * waiting: asked for, not begun. running: begun, maybe waiting for its turn. paused: goes on when a person says so. replaced: given up for a newer
 * run of its table.
 */
export type BackfillStatus = 'waiting' | 'running' | 'paused' | 'completed' | 'failed' | 'replaced';

export interface BackfillRun {
  readonly id: number;
  /** `schema.name` */
  readonly table: string;
  readonly status: BackfillStatus;
  /** SQL condition of a run that reads part of the table. */
  readonly where: string | undefined;
  /** `schema.name` of the one partition that is read; undefined: the whole table. */
  readonly partition: string | undefined;
  /** Columns that its cursors hold a value of, with their types; undefined until it begins. */
  readonly key: readonly string[] | undefined;
  /** `configuration` where `backfill: true` asked. */
  readonly requestedBy: string;
  /** Settled so far. */
  readonly rowsSent: number;
  readonly rowsEstimated: number | undefined;
  /** ISO 8601, like the next two. */
  readonly requestedAt: string;
  readonly startedAt: string | undefined;
  readonly finishedAt: string | undefined;
  /** Why it waits, was paused, or failed. */
  readonly reason: string | undefined;
}

/** A table, or one leaf of a partitioned one. */
export interface BackfillPart {
  readonly number: number;
  readonly oid: number;
  /** `schema.name` */
  readonly relation: string;
  /** Which attaching made it a leaf; undefined: no partition. */
  readonly attached: string | undefined;
  /** Only where it is read by ctid. */
  readonly filenode: number | undefined;
  /** Key of the last row whose chunk is settled; by ctid the next page. */
  readonly cursor: readonly string[] | undefined;
  readonly done: boolean;
}

export type NewPart = Pick<BackfillPart, 'number' | 'oid' | 'relation' | 'filenode' | 'attached'>;

/** What is known of a partitioned table whose rows have all been read once. */
export interface Coverage {
  /** The last run of the whole table that completed. */
  readonly run: number;
  /** Leaves whose rows were read, or are being read. */
  readonly leaves: readonly Pick<BackfillPart, 'oid' | 'attached'>[];
  /** Partitions whose own run failed. */
  readonly failed: readonly string[];
}

export interface BackfillStore {
  /** undefined: one is open (waiting, running, paused) for that table already. */
  create(run: {
    table: string;
    where?: string | undefined;
    partition?: string | undefined;
    requestedBy: string;
  }): Promise<BackfillRun | undefined>;
  get(id: number): Promise<BackfillRun | undefined>;
  /** Waiting, running and paused ones, oldest first. */
  open(): Promise<readonly BackfillRun[]>;
  /** The last run of each table, or of one. */
  latest(table?: string): Promise<readonly BackfillRun[]>;
  parts(run: number): Promise<readonly BackfillPart[]>;
  /** undefined: no run of the whole table has completed. */
  coverage(table: string): Promise<Coverage | undefined>;
  /** Adds leaves to a run that has nothing to read in them. */
  cover(run: number, leaves: readonly Pick<BackfillPart, 'oid' | 'relation' | 'attached'>[]): Promise<void>;
  /** From waiting to running, with its parts; false: it was not waiting any more. */
  start(
    run: number,
    plan: { parts: readonly NewPart[]; key: readonly string[]; rowsEstimated: number | undefined },
  ): Promise<boolean>;
  /** Behind a settled chunk. No effect on a run that is finished. */
  advance(
    run: number,
    step: { part: number; cursor: readonly string[] | undefined; done: boolean; rows: number },
  ): Promise<void>;
  /** The part is to be read from its beginning, in another file. */
  restartPart(run: number, step: { part: number; filenode: number }): Promise<void>;
  /** All of the run's parts are to be read from their beginning, in the order of this key. */
  restartParts(run: number, key: readonly string[]): Promise<void>;
  /** Only from the given states; whether it was in one of them. */
  move(run: number, to: BackfillStatus, from: readonly BackfillStatus[], reason?: string): Promise<boolean>;
  /** Writes only where it differs. */
  setReason(run: number, reason: string | undefined): Promise<void>;
}

interface RunRow {
  id: string;
  table_name: string;
  status: BackfillStatus;
  condition: string | null;
  partition: string | null;
  key: string[] | null;
  requested_by: string;
  rows_sent: string;
  rows_estimated: string | null;
  requested_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  reason: string | null;
}

export function backfillStore(scope: StateScope): BackfillStore {
  const { connector } = scope;
  return {
    async create({ table, where, partition, requestedBy }) {
      const [row] = await queryState<RunRow>(
        scope,
        `insert into {backfill_run} (connector, table_name, condition, partition, requested_by) values ($1, $2, $3, $4, $5)
         on conflict (connector, table_name) where status in ('waiting', 'running', 'paused') do nothing returning *`,
        [connector, table, where ?? null, partition ?? null, scope.storableText(requestedBy)],
      );
      return row && runOf(row);
    },

    async get(id) {
      const [row] = await queryState<RunRow>(scope, 'select * from {backfill_run} where connector = $1 and id = $2', [
        connector,
        id,
      ]);
      return row && runOf(row);
    },

    async open() {
      const rows = await queryState<RunRow>(
        scope,
        `select * from {backfill_run} where connector = $1 and status in ('waiting', 'running', 'paused') order by id`,
        [connector],
      );
      return rows.map(runOf);
    },

    async latest(table) {
      const rows = await queryState<RunRow>(
        scope,
        `select distinct on (table_name) * from {backfill_run}
         where connector = $1 and ($2::text is null or table_name = $2) order by table_name, id desc`,
        [connector, table ?? null],
      );
      return rows.map(runOf);
    },

    async parts(run) {
      const rows = await queryState<{
        number: number;
        oid: string;
        relation: string;
        attached: string | null;
        filenode: string | null;
        cursor: string[] | null;
        done: boolean;
      }>(
        scope,
        `select number, oid::int8::text as oid, relation, attached, filenode::int8::text as filenode, cursor, done
         from {backfill_part} where run = (select id from {backfill_run} where connector = $1 and id = $2) order by number`,
        [connector, run],
      );
      return rows.map(({ oid, attached, filenode, cursor, ...row }) => ({
        ...row,
        oid: Number(oid),
        attached: attached ?? undefined,
        filenode: filenode === null ? undefined : Number(filenode),
        cursor: cursor ?? undefined,
      }));
    },

    async coverage(table) {
      const [row] = await queryState<{ run: string | null; leaves: Coverage['leaves']; failed: string[] }>(
        scope,
        `with own as (
           select id, status, partition from {backfill_run} where connector = $1 and table_name = $2 and condition is null
         )
         select (select max(id) from own where status = 'completed' and partition is null) as run,
           (select coalesce(json_agg(json_build_object('oid', p.oid::int8, 'attached', p.attached)), '[]')
            from own join {backfill_part} p on p.run = own.id
            where own.status in ('completed', 'waiting', 'running', 'paused')) as leaves,
           (select coalesce(json_agg(partition), '[]') from own where status = 'failed' and partition is not null) as failed`,
        [connector, table],
      );
      if (row === undefined || row.run === null) return undefined;
      const leaves = row.leaves.map(({ oid, attached }) => ({ oid, attached: attached ?? undefined }));
      return { run: Number(row.run), leaves, failed: row.failed };
    },

    async cover(run, leaves) {
      await queryState(
        scope,
        `with run as (select id from {backfill_run} where connector = $1 and id = $2),
         leaf as (
           select row_number() over () as n, l.*
           from json_to_recordset($3::json) as l(oid int8, relation text, attached text)
         )
         insert into {backfill_part} (run, number, oid, relation, attached, done)
         select run.id, n + coalesce((select max(number) from {backfill_part} where run = $2), -1), oid::oid, relation, attached, true
         from run, leaf`,
        [connector, run, scope.storableJson(JSON.stringify(leaves))],
      );
    },

    async start(run, { parts, key, rowsEstimated }) {
      const [row] = await queryState<{ started: boolean }>(
        scope,
        `with plan as (
           select * from json_to_recordset($3::json) as p(number int, oid int8, relation text, attached text, filenode int8)
         ), run as (
           update {backfill_run} set status = 'running', started_at = now(), rows_estimated = $4, key = $5, reason = null
           where connector = $1 and id = $2 and status = 'waiting' returning id
         ), parts as (
           insert into {backfill_part} (run, number, oid, relation, attached, filenode)
           select run.id, plan.number, plan.oid::oid, plan.relation, plan.attached, plan.filenode::oid from run, plan
         )
         select exists (select from run) as started`,
        [
          connector,
          run,
          scope.storableJson(JSON.stringify(parts)),
          rowsEstimated ?? null,
          scope.storableJson(JSON.stringify(key)),
        ],
      );
      return row?.started === true;
    },

    async advance(run, { part, cursor, done, rows }) {
      await queryState(
        scope,
        `with run as (
           update {backfill_run} set rows_sent = rows_sent + $6
           where connector = $1 and id = $2 and status in ('running', 'paused') returning id
         )
         update {backfill_part} p set cursor = $4, done = $5 from run where p.run = run.id and p.number = $3`,
        [connector, run, part, cursor === undefined ? null : scope.storableJson(JSON.stringify(cursor)), done, rows],
      );
    },

    async restartPart(run, { part, filenode }) {
      await queryState(
        scope,
        `update {backfill_part} set cursor = null, filenode = $4::int8::oid
         where run = (select id from {backfill_run} where connector = $1 and id = $2) and number = $3`,
        [connector, run, part, filenode],
      );
    },

    async restartParts(run, key) {
      await queryState(
        scope,
        `with run as (update {backfill_run} set key = $3 where connector = $1 and id = $2 returning id)
         update {backfill_part} p set cursor = null, done = false from run where p.run = run.id`,
        [connector, run, scope.storableJson(JSON.stringify(key))],
      );
    },

    async move(run, to, from, reason) {
      const rows = await queryState(
        scope,
        `update {backfill_run} set status = $3, reason = $5,
           finished_at = case when $3 in ('completed', 'failed', 'replaced') then now() end
         where connector = $1 and id = $2 and status = any($4) returning id`,
        [connector, run, to, from, reason === undefined ? null : scope.storableText(reason)],
      );
      return rows.length > 0;
    },

    async setReason(run, reason) {
      await queryState(
        scope,
        `update {backfill_run} set reason = $3
         where connector = $1 and id = $2 and status in ('waiting', 'running') and reason is distinct from $3`,
        [connector, run, reason === undefined ? null : scope.storableText(reason)],
      );
    },
  };
}

function runOf(row: RunRow): BackfillRun {
  return {
    id: Number(row.id),
    table: row.table_name,
    status: row.status,
    where: row.condition ?? undefined,
    partition: row.partition ?? undefined,
    key: row.key ?? undefined,
    requestedBy: row.requested_by,
    rowsSent: Number(row.rows_sent),
    rowsEstimated: row.rows_estimated === null ? undefined : Number(row.rows_estimated),
    requestedAt: row.requested_at.toISOString(),
    startedAt: row.started_at?.toISOString(),
    finishedAt: row.finished_at?.toISOString(),
    reason: row.reason ?? undefined,
  };
}
