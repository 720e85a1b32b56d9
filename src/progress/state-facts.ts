import { queryState, type StateScope } from '../state/scope.ts';
import type { GapFacts, RunFacts } from './table-facts.ts';

/** What the state's tables say of all tables at once: one query each, whatever their number. By `schema.name`. */

interface RunRow {
  table_name: string;
  partition: string | null;
  id: string;
  status: RunFacts['status'];
  rows_sent: string;
  rows_estimated: string | null;
  began_at: Date;
  finished_at: Date | null;
  reason: string | null;
}

export interface BackfillFacts {
  readonly whole: RunFacts | undefined;
  readonly partitions: readonly RunFacts[];
}

/** The last run of each whole table, and those of its partitions since. A run with a condition proves nothing of either. */
export async function backfillFacts(scope: StateScope): Promise<ReadonlyMap<string, BackfillFacts>> {
  const rows = await queryState<RunRow>(
    scope,
    `select distinct on (table_name, partition) table_name, partition, id, status, rows_sent, rows_estimated,
            coalesce(started_at, requested_at) as began_at, finished_at, reason
     from {backfill_run} where connector = $1 and condition is null order by table_name, partition, id desc`,
    [scope.connector],
  );
  return new Map(
    Array.from(
      Map.groupBy(rows, (row) => row.table_name),
      ([table, runs]) => {
        const whole = runs.find((run) => run.partition === null);
        const since = runs.filter(
          (run) => run.partition !== null && run.status !== 'completed' && Number(run.id) > Number(whole?.id ?? 0),
        );
        return [table, { whole: whole && runOf(whole), partitions: since.map(runOf) }];
      },
    ),
  );
}

function runOf(row: RunRow): RunFacts {
  return {
    status: row.status,
    partition: row.partition ?? undefined,
    rowsSent: Number(row.rows_sent),
    rowsEstimated: row.rows_estimated === null ? undefined : Number(row.rows_estimated),
    startedAt: row.began_at.toISOString(),
    finishedAt: row.finished_at?.toISOString(),
    reason: row.reason ?? undefined,
  };
}

/** Until when a backfill of the table last read it; of one that is not finished: now. */
export async function lastBackfillReads(scope: StateScope): Promise<ReadonlyMap<string, Date>> {
  const rows = await queryState<{ table_name: string; at: Date }>(
    scope,
    `select table_name, max(coalesce(finished_at, now())) as at from {backfill_run}
     where connector = $1 and started_at is not null group by table_name`,
    [scope.connector],
  );
  return new Map(rows.map((row) => [row.table_name, row.at]));
}

export async function openConflicts(scope: StateScope): Promise<ReadonlyMap<string, number>> {
  const rows = await queryState<{ table_name: string; open: number }>(
    scope,
    `select table_name, count(*)::float8 as open from {conflict} where connector = $1 and resolved_at is null group by table_name`,
    [scope.connector],
  );
  return new Map(rows.map((row) => [row.table_name, row.open]));
}

export interface LetterCounts {
  readonly forward: number;
  readonly reverse: number;
  readonly waiting: number;
}

/** By what the letter names: a table, or the queue that it came from. */
export async function parkedLetters(scope: StateScope): Promise<ReadonlyMap<string, LetterCounts>> {
  const rows = await queryState<{ table_name: string } & LetterCounts>(
    scope,
    `select table_name, (count(*) filter (where direction = 'forward'))::float8 as forward,
            (count(*) filter (where direction = 'reverse' and waits_until is null))::float8 as reverse,
            (count(*) filter (where direction = 'reverse' and waits_until is not null))::float8 as waiting
     from {dead_letter} where connector = $1 and status = 'parked' group by table_name`,
    [scope.connector],
  );
  return new Map(rows.map(({ table_name, ...counts }) => [table_name, counts]));
}

/** Since when the changes of each table are in the stream, ISO 8601. One whose gap was accepted is not in it until it is recorded anew. */
export async function publishedSince(scope: StateScope): Promise<ReadonlyMap<string, string>> {
  const rows = await queryState<{ table_name: string; recorded_at: Date }>(
    scope,
    `select table_name, recorded_at from {table_record} where connector = $1 and published_since_lsn > '0/0'`,
    [scope.connector],
  );
  return new Map(rows.map((row) => [row.table_name, row.recorded_at.toISOString()]));
}

export async function allGaps(scope: StateScope): Promise<readonly GapFacts[]> {
  const rows = await queryState<{ kind: string; subject: string; detected_at: Date; accepted_at: Date | null }>(
    scope,
    'select kind, subject, detected_at, accepted_at from {gap} where connector = $1 order by id',
    [scope.connector],
  );
  return rows.map((row) => ({
    kind: row.kind,
    subject: row.subject,
    detectedAt: row.detected_at.toISOString(),
    acceptedAt: row.accepted_at?.toISOString(),
  }));
}

export interface WriterFacts {
  readonly table: string;
  readonly role: string;
  readonly application: string;
  readonly changes: number;
}

/** Who wrote to which table in the window. A period counts as a whole only where all of it is inside: an allowed write more would be one too many. */
export async function writersSeen(scope: StateScope, windowMs: number): Promise<readonly WriterFacts[]> {
  return queryState<WriterFacts & { table: string }>(
    scope,
    `select table_name as "table", role, application, sum(changes)::float8 as changes from {writer_traffic}
     where connector = $1 and starts_at >= now() - make_interval(secs => $2)
     group by 1, 2, 3 order by 1, sum(changes) desc, 2, 3`,
    [scope.connector, windowMs / 1_000],
  );
}
