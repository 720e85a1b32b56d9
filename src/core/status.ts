import type { Finding } from './finding.ts';
import type { ErrorKind } from './errors.ts';

/**
 * One word for what the worker does. starting: connecting, preflight. standby: another worker holds the slot. catching-up: streaming,
 * behind the server by more than a moment. streaming: caught up. waiting: a set-up fault, goes on by itself once mended. halted: a
 * person must act. stopping: draining.
 */
export type WorkerState = 'starting' | 'standby' | 'catching-up' | 'streaming' | 'waiting' | 'halted' | 'stopping';

export interface Problem {
  readonly kind: ErrorKind;
  readonly message: string;
  readonly remedy: string;
  /** ISO 8601 */
  readonly since: string;
}

export interface TableStatus {
  /** `schema.name` */
  readonly table: string;
  readonly received: Readonly<Record<'insert' | 'update' | 'delete' | 'truncate' | 'read', number>>;
  /** Events accepted by the bus. */
  readonly accepted: number;
  /** Changes that no `emit` rule took. */
  readonly dropped: number;
  /** Conditions that were false because of NULL or an absent value. */
  readonly nullConditions: number;
  readonly parked: number;
  readonly origins: OriginCounters;
  /** Why the table is held: its changes go to dead_letter until the mapping is mended. */
  readonly held: Problem | undefined;
}

/**
 * Changes of a table by where they come from. legacy: the legacy system. foreign: replicated into the database from elsewhere. echo: written by reverse
 * sync as the event meant it, so not published. correction: written by reverse sync, and otherwise than meant. trigger: done by the database because
 * of that. refusal: a row that reverse sync left as it was, published so that the other side knows.
 */
export interface OriginCounters {
  readonly legacy: number;
  readonly foreign: number;
  readonly echo: number;
  readonly correction: number;
  readonly trigger: number;
  readonly refusal: number;
}

/** How our own writes fare in the stream. */
export interface LoopStatus {
  /** Messages of reverse sync's prefix that were not ours. */
  readonly forged: number;
  /** Changes that were not published because they ran in circles. */
  readonly exceeded: number;
  /** Changes of captured tables by the replication origin that their transaction named. */
  readonly origins: Readonly<Record<string, number>>;
}

/** The last backfill of a table, as it was looked at last. */
export interface BackfillProgress {
  /** `schema.name` */
  readonly table: string;
  /** `schema.name` of the one partition that the run reads; undefined: the whole table. */
  readonly partition: string | undefined;
  readonly run: number;
  readonly status: 'waiting' | 'running' | 'paused' | 'completed' | 'failed' | 'replaced';
  /** Settled so far, from the run's beginning. */
  readonly rowsSent: number;
  /** By the planner's statistics, never exact; undefined: not known. */
  readonly rowsEstimated: number | undefined;
  /** Of the last moments; undefined where it does not run, or was not looked at for long enough. */
  readonly ratePerSecond: number | undefined;
  /** Until the estimated rows are sent, at this rate. */
  readonly etaSeconds: number | undefined;
  /** Why it waits, was paused, or failed. */
  readonly reason: string | undefined;
}

/**
 * The way back. off: no session streams. testing: it is looked whether our own writes are recognized. waiting: for the queue or the database, goes on by itself.
 * refused: a person must act; capture goes on.
 */
export type ReverseState = 'off' | 'testing' | 'running' | 'waiting' | 'refused';

/**
 * Counters count since the worker started; an event counts once for each entry of `reverse.apply` that took it. Letters and held tables are known while it runs;
 * undefined: it does not.
 */
export interface ReverseStatus {
  readonly state: ReverseState;
  /** When the stream last showed this worker a test of its own, so that it would know its writes, ISO 8601; undefined: it never did. */
  readonly testedAt: string | undefined;
  readonly problem: Problem | undefined;
  /** Messages, repeats included. */
  readonly received: number;
  /** Messages that no entry took. */
  readonly unmatched: number;
  /** Messages that no event could be read from. */
  readonly invalid: number;
  /** echo: written as the event meant it. correction: the database made something else of it. unchanged: the row was so already. */
  readonly applied: Readonly<Record<'echo' | 'correction' | 'unchanged', number>>;
  readonly duplicate: number;
  /** Older than what the row has. */
  readonly stale: number;
  /** Of tables whose stage does not take events. */
  readonly skipped: number;
  /** Lost against a change of the legacy side. */
  readonly refused: number;
  /** Conflicts that were decided, whoever won. */
  readonly conflicts: number;
  /** Attempts that had to be made again. */
  readonly retried: number;
  /** How old the event that was applied last was then, by its own time, seconds; undefined: none was, or it names no time. */
  readonly lagSeconds: number | undefined;
  /** Messages in hand. */
  readonly inHand: number;
  /** Events that workers are at. */
  readonly inFlight: number;
  /** Letters that wait for a person, as they were looked at last. */
  readonly parked: number | undefined;
  /** Letters that wait for something to come. */
  readonly waiting: number | undefined;
  /** `schema.name` */
  readonly heldTables: readonly string[] | undefined;
}

/** What `dead_letter` holds of the way out. */
export interface LetterCounts {
  readonly parked: number;
  readonly groups: number;
  /** When it was looked at, ISO 8601. */
  readonly observedAt: string;
}

/** What `/v1/status` serves and metrics are read from. Counters count since `startedAt`. Positions are PostgreSQL's text form. */
export interface WorkerStatus {
  readonly name: string;
  readonly version: string;
  readonly startedAt: string;
  readonly state: WorkerState;
  readonly problem: Problem | undefined;
  readonly slot: {
    readonly name: string;
    readonly walStatus: string | undefined;
    readonly restartLsn: string | undefined;
    readonly confirmedLsn: string | undefined;
    /** WAL that the server keeps for the slot, bytes. */
    readonly heldBytes: number | undefined;
    /** WAL between the server's end and the confirmed position, bytes. */
    readonly lagBytes: number | undefined;
    readonly budgetBytes: number;
    /** What is held has grown by, bytes a second, over the last minutes; undefined: not seen for long enough. */
    readonly growthPerSecond: number | undefined;
    /** Until the budget is used up, at that growth; undefined: it does not grow. */
    readonly exhaustedInSeconds: number | undefined;
    /** When the server was asked last, ISO 8601. */
    readonly observedAt: string | undefined;
  };
  readonly server: {
    readonly systemId: string | undefined;
    readonly timeline: number | undefined;
    readonly epoch: number | undefined;
  };
  readonly stream: {
    readonly reconnects: number;
    readonly transactions: number;
    readonly receivedLsn: string | undefined;
    readonly settledLsn: string | undefined;
    /** How long a mark of ours was on its way through the stream, by our clock alone, seconds; undefined: none has come for long. */
    readonly lagSeconds: number | undefined;
    /** Since when that has not been above `progress.gates.lag.atMost`, ISO 8601; undefined: it is now, or is not known. */
    readonly calmSince: string | undefined;
  };
  readonly bus: {
    readonly type: string;
    readonly name: string;
    /** undefined: no session streams, so nothing is sent, and nobody knows whether it could be. */
    readonly state: 'sending' | 'waiting' | 'halted' | undefined;
    readonly accepted: number;
    /** Entries sent again after a retriable failure. */
    readonly retried: number;
    readonly throttled: number;
    readonly requests: number;
    readonly inFlight: number;
    readonly queued: number;
    /** Requests per second that throttling allows now; undefined: unlimited. */
    readonly rateLimit: number | undefined;
  };
  readonly traffic: {
    /** Everything that was committed up to then is counted and stored, ISO 8601; undefined: not known. */
    readonly countedUntil: string | undefined;
  };
  readonly loop: LoopStatus;
  /** undefined: not configured. */
  readonly reverse: ReverseStatus | undefined;
  /** As they were looked at last, by the session that streams or by the last one. undefined: none has, or another worker may have changed them since. */
  readonly deadLetters: LetterCounts | undefined;
  readonly tables: readonly TableStatus[];
  /** Of the tables that had one, the last run of each. */
  readonly backfills: readonly BackfillProgress[];
  /** undefined: no session streams that would have looked. */
  readonly findings: readonly Finding[] | undefined;
}
