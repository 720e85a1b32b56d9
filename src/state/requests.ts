import { setTimeout as sleep } from 'node:timers/promises';
import { queryState, type StateScope } from './scope.ts';

/** What a command asks of the worker. */
export interface NewRequest {
  readonly command: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Who asks, for the record: an operating-system or database user. */
  readonly requestedBy: string;
}

export interface WorkerRequest extends NewRequest {
  readonly id: number;
  /** ISO 8601 */
  readonly requestedAt: string;
}

/**
 * What became of a request. unclaimed: no worker took it in time, and none will. running: a worker took it and is not done yet;
 * it goes on.
 */
export type RequestOutcome =
  | { readonly status: 'finished'; readonly result: unknown }
  | { readonly status: 'failed'; readonly error: string; readonly remedy: string | undefined }
  | { readonly status: 'unclaimed' }
  | { readonly status: 'running' };

export interface RequestFailure {
  readonly error: string;
  /** What a person does about it; undefined: nothing more than the error says. */
  readonly remedy?: string | undefined;
}

export interface RequestStore {
  insert(request: NewRequest): Promise<number>;
  /** The oldest request that no worker took yet, now taken. Writes nothing where there is none. */
  claimNext(): Promise<WorkerRequest | undefined>;
  finish(id: number, outcome: { readonly result: unknown } | RequestFailure): Promise<void>;
  /** Fails what an earlier worker took and never finished; to be called once, when this worker holds the slot. Returns how many. */
  failInterrupted(): Promise<number>;
  /** Deletes up to `limit` requests that were done so long ago, the oldest first; resolves with whether none is left. */
  forget(done: { readonly olderThanMs: number; readonly limit: number }): Promise<boolean>;
  /** Waits until the request is done. After `timeoutMs` a request that nobody took is withdrawn, so that no later worker runs it. */
  await(id: number, wait: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<RequestOutcome>;
}

/** Where a new request is notified of. Its payload says nothing. */
export function requestChannel(connector: string): string {
  return `banyan.${connector}.request`;
}

/** The worker hears of it at once, or looks once a second; this adds little to it. */
const POLL_MS = 200;

export const INTERRUPTED = 'the worker stopped before it was done; ask again';
const WITHDRAWN = 'withdrawn: no worker took it in time';

interface RequestRow {
  id: string;
  command: string;
  arguments: Record<string, unknown>;
  requested_by: string;
  requested_at: Date;
}

export function requestStore(scope: StateScope): RequestStore {
  return {
    async insert(request) {
      const [row] = await queryState<{ id: string }>(
        scope,
        `with added as (
           insert into {request} (connector, command, arguments, requested_by) values ($1, $2, $3, $4) returning id
         )
         select id, pg_notify($5, '') from added`,
        [
          scope.connector,
          request.command,
          scope.storableJson(JSON.stringify(request.arguments)),
          scope.storableText(request.requestedBy),
          requestChannel(scope.connector),
        ],
      );
      return Number(row?.id);
    },

    async claimNext() {
      const [row] = await queryState<RequestRow>(
        scope,
        `update {request} set started_at = now()
         where id = (
           select id from {request} where connector = $1 and finished_at is null and started_at is null
           order by id limit 1 for update skip locked
         )
         returning id, command, arguments, requested_by, requested_at`,
        [scope.connector],
      );
      if (row === undefined) return undefined;
      return {
        id: Number(row.id),
        command: row.command,
        arguments: row.arguments,
        requestedBy: row.requested_by,
        requestedAt: row.requested_at.toISOString(),
      };
    },

    async finish(id, outcome) {
      const failed = 'error' in outcome;
      await queryState(
        scope,
        `update {request} set finished_at = now(), result = $3, error = $4
         where connector = $1 and id = $2 and finished_at is null`,
        [
          scope.connector,
          id,
          scope.storableJson(JSON.stringify(failed ? { remedy: outcome.remedy } : (outcome.result ?? null))),
          failed ? scope.storableText(outcome.error) : null,
        ],
      );
    },

    async failInterrupted() {
      const rows = await queryState(
        scope,
        `update {request} set finished_at = now(), error = $2
         where connector = $1 and finished_at is null and started_at is not null returning id`,
        [scope.connector, INTERRUPTED],
      );
      return rows.length;
    },

    async forget({ olderThanMs, limit }) {
      const rows = await queryState(
        scope,
        `delete from {request} where id = any(array(
           select id from {request} where connector = $1 and finished_at < now() - make_interval(secs => $2)
           order by id limit $3 for update skip locked)) returning id`,
        [scope.connector, olderThanMs / 1_000, limit],
      );
      return rows.length < limit;
    },

    async await(id, { timeoutMs, signal }) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const outcome = await outcomeOf(scope, id);
        if (outcome.status === 'finished' || outcome.status === 'failed') return outcome;
        if (Date.now() >= deadline) return (await withdraw(scope, id)) ? { status: 'unclaimed' } : outcomeOf(scope, id);
        await sleep(Math.min(POLL_MS, Math.max(0, deadline - Date.now())), undefined, { signal });
      }
    },
  };
}

async function outcomeOf(scope: StateScope, id: number): Promise<RequestOutcome> {
  const [row] = await queryState<{ started: boolean; finished: boolean; result: unknown; error: string | null }>(
    scope,
    `select started_at is not null as started, finished_at is not null as finished, result, error
     from {request} where connector = $1 and id = $2`,
    [scope.connector, id],
  );
  if (row?.finished !== true) return { status: row?.started === true ? 'running' : 'unclaimed' };
  if (row.error === null) return { status: 'finished', result: row.result };
  // Of a request that failed the result is what can be done about it; of one that was interrupted, nothing.
  const { remedy } = (row.result ?? {}) as { readonly remedy?: string };
  return { status: 'failed', error: row.error, remedy };
}

async function withdraw(scope: StateScope, id: number): Promise<boolean> {
  const rows = await queryState(
    scope,
    `update {request} set finished_at = now(), error = $3
     where connector = $1 and id = $2 and started_at is null and finished_at is null returning id`,
    [scope.connector, id, WITHDRAWN],
  );
  return rows.length > 0;
}
