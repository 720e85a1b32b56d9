import type { Problem } from './status.ts';

/**
 * How far a table has moved, in order. mapped: its changes are captured from now on. backfilling: the rows that were there are on their way. shadow: the new
 * system has all of it, and follows. dual: both sides write. new-primary: the new system writes, readers of the legacy table remain. retired: nobody does.
 */
export const STAGES = ['mapped', 'backfilling', 'shadow', 'dual', 'new-primary', 'retired'] as const;
export type Stage = (typeof STAGES)[number];

/** Where a person moves a table to; the stages before go by themselves. */
export type TargetStage = 'shadow' | 'dual' | 'new-primary' | 'retired';

export const GATE_CODES = [
  'BACKFILL_DONE',
  'SLOT',
  'LAG',
  'PARITY',
  'REVERSE_TEST',
  'CONFLICTS_OPEN',
  'DEAD_LETTERS',
  'LEGACY_WRITES',
  'LEGACY_READS',
  'DEPENDANTS',
] as const;
export type GateCode = (typeof GATE_CODES)[number];

export type GateResult = 'pass' | 'fail' | 'unknown';

/** What a person put instead of evidence, in the open. */
export interface Waiver {
  readonly by: string;
  readonly reason: string;
  /** ISO 8601 */
  readonly until: string;
}

/** One condition of a move, as measured. */
export interface Gate {
  readonly code: GateCode;
  /** By the evidence alone: a waiver changes nothing of it. */
  readonly result: GateResult;
  /** What was measured, for people: `12.4 %`. undefined: nothing was. */
  readonly value: string | undefined;
  /** What it must be, for people: `≤ 1 %`. */
  readonly threshold: string;
  /** When it was measured, ISO 8601; undefined: it never was. */
  readonly observedAt: string | undefined;
  /** How long that is good for, seconds; past it the result is unknown. */
  readonly ttlSeconds: number;
  /** Where it comes from: `WAL`, `pg_stat_statements`, `catalog`. */
  readonly source: string;
  /** One sentence, or the part of one that follows the value in a list. */
  readonly reason: string;
  /** What to do next: a command line without the program's name where there is one (`writers orders`), else prose. */
  readonly next: string | undefined;
  readonly waiver: Waiver | undefined;
}

export type VerdictResult = 'ready' | 'not-ready' | 'unknown';

/** Whether a table may move now. Waived gates do not count. */
export interface Verdict {
  /** `schema.name` */
  readonly table: string;
  readonly from: Stage;
  readonly to: TargetStage;
  readonly result: VerdictResult;
  /** ISO 8601 */
  readonly at: string;
  readonly gates: readonly Gate[];
}

/** One stored move of a table. */
export interface StageChange {
  readonly id: number;
  readonly table: string;
  readonly from: Stage;
  readonly to: Stage;
  /** Who gave the command; `banyan` where it went by itself. */
  readonly actor: string;
  /** ISO 8601 */
  readonly at: string;
  /** Of that moment; undefined where it went by itself. */
  readonly verdict: Verdict | undefined;
}

/** Changes of rows that were committed, by who made them. */
export interface WriteCounts {
  readonly legacy: number;
  /** By reverse sync: the new system's. */
  readonly reverse: number;
  /** By the database, because of what reverse sync wrote. */
  readonly trigger: number;
  /** Replicated into the database from elsewhere. */
  readonly foreign: number;
}

/** The writes and events of a table in one period. */
export interface TrafficPoint extends WriteCounts {
  /** Its beginning, ISO 8601. */
  readonly at: string;
  /** Events accepted by the bus. */
  readonly events: number;
}

/** What the whole connector was like in one period; the worst of it where one number must stand for many. */
export interface HealthPoint {
  readonly at: string;
  readonly lagSeconds: number | undefined;
  readonly lagBytes: number | undefined;
  /** WAL that the slot held. */
  readonly heldBytes: number | undefined;
  readonly accepted: number;
  readonly throttled: number;
  readonly parked: number;
  /** Events of the new system that were applied. */
  readonly applied: number;
}

export interface History {
  /** undefined: of the connector. */
  readonly table: string | undefined;
  /** As was asked for, or longer: of what is old only hours are kept. */
  readonly stepSeconds: number;
  /** Every write between the two is counted, ISO 8601: there a period without a point is one without writes, and elsewhere it is not known. undefined: none is, or it is not known up to when. */
  readonly countedSince: string | undefined;
  readonly countedUntil: string | undefined;
  /** Only periods in which something happened. */
  readonly traffic: readonly TrafficPoint[];
  /** Only periods in which something passed, waited or was late, and a worker ran to see it: of the others nothing is known. */
  readonly health: readonly HealthPoint[];
}

/** How far the last backfill of a table is. */
export interface BackfillReport {
  readonly status: 'waiting' | 'running' | 'paused' | 'completed' | 'failed' | 'replaced';
  readonly rowsSent: number;
  /** Of the planner's statistics: always an estimate. undefined: not known. */
  readonly rowsEstimated: number | undefined;
  /** 0 to 1; never 1 before it is complete. An estimate until then. */
  readonly share: number | undefined;
  readonly ratePerSecond: number | undefined;
  readonly etaSeconds: number | undefined;
  /** Why it waits, was paused, or failed. */
  readonly reason: string | undefined;
  readonly finishedAt: string | undefined;
}

/** How much of a window is counted. part: its beginning, its end or something between is not. */
export type CoveredExtent = 'whole' | 'part' | 'none';

export interface WritesReport extends WriteCounts {
  readonly windowSeconds: number;
  /** Since when every write is counted, ISO 8601; undefined: none is yet. */
  readonly countedSince: string | undefined;
  /** Up to when they are counted, ISO 8601; undefined: not known. */
  readonly countedUntil: string | undefined;
  /** How much of the window that is. */
  readonly covered: CoveredExtent;
  /** Why not all of it, for people. */
  readonly uncovered: string | undefined;
  /** Of legacy and foreign writes among those and reverse's, 0 to 1; undefined: there were none. */
  readonly legacyShare: number | undefined;
}

/** One table on one line, and in detail. */
export interface TableReport {
  /** `schema.name` */
  readonly table: string;
  /** As commands take it: with SQL's quotes where the name needs them. */
  readonly display: string;
  readonly stage: Stage;
  /** ISO 8601; undefined: it never moved. */
  readonly stageSince: string | undefined;
  readonly stageBy: string | undefined;
  /** Whose word counts: for a facade to route by. */
  readonly primary: 'legacy' | 'new' | 'nobody';
  /** Whether events of the new system are applied to it now. */
  readonly reverse: 'on' | 'off' | 'not configured';
  /** The stage that comes next; undefined: none. */
  readonly target: TargetStage | undefined;
  /** Of the move to `target`. */
  readonly verdict: VerdictResult | undefined;
  readonly gates: readonly Gate[];
  /** What to do next, as `Gate.next`; or why it waits. */
  readonly next: string | undefined;
  readonly backfill: BackfillReport | undefined;
  readonly writes: WritesReport;
  /** The last hour, minute by minute; only minutes in which something happened. */
  readonly recent: readonly TrafficPoint[];
  readonly open: {
    /** Of both directions, those that wait for a person. */
    readonly deadLetters: number;
    /** Events of the new system that wait for something to come. */
    readonly waiting: number;
    readonly conflicts: number;
    /** Why its changes are set aside. */
    readonly held: Problem | undefined;
  };
  /** When the stream last showed a write of reverse sync, ISO 8601. */
  readonly lastEchoAt: string | undefined;
  /** Newest first, at most 20. */
  readonly changes: readonly StageChange[];
}

/** Changes that the stream may not have had. */
export interface OpenGap {
  readonly kind: string;
  /** The slot's name, or a table. */
  readonly subject: string;
  /** ISO 8601 */
  readonly detectedAt: string;
}

/** WAL that the slot holds, against what it may. */
export interface WalReport {
  readonly heldBytes: number | undefined;
  readonly budgetBytes: number;
  /** What the slot's holding has grown by, bytes a second, over the last minutes; undefined: not seen for long enough. */
  readonly growthPerSecond: number | undefined;
  /** At that growth; undefined: it does not grow. */
  readonly exhaustedInSeconds: number | undefined;
  readonly action: 'warn' | 'drop-slot';
}

/** All that is known of the migration: what the page, `status` and `/v1/tables` show. */
export interface ProgressReport {
  readonly name: string;
  /** ISO 8601 */
  readonly at: string;
  /** Why this is as old as `at` says, and nothing newer is known; undefined: it is of now. */
  readonly stale: Problem | undefined;
  /** The legacy database without credentials: `shop_app@db1:5432/shop`. */
  readonly database: string;
  /** Those that nobody has accepted: changes may be missing. */
  readonly gaps: readonly OpenGap[];
  /** undefined: no worker answered; what only it knows is missing, or as old as it says. */
  readonly worker:
    | {
        readonly state: string;
        readonly problem: Problem | undefined;
        readonly version: string;
        readonly startedAt: string;
      }
    | undefined;
  readonly slot: {
    readonly name: string;
    /** Whether a session reads it, as the server says; undefined: there is no such slot. */
    readonly active: boolean | undefined;
    readonly walStatus: string | undefined;
    readonly lagSeconds: number | undefined;
    readonly lagBytes: number | undefined;
    /** When it was looked at, ISO 8601. */
    readonly observedAt: string | undefined;
    readonly wal: WalReport;
  };
  readonly bus:
    | {
        readonly name: string;
        /** undefined: no session streams, so nothing is sent. */
        readonly state: 'sending' | 'waiting' | 'halted' | undefined;
        readonly accepted: number;
        readonly throttled: number;
        readonly queued: number;
      }
    | undefined;
  readonly reverse:
    | {
        readonly state: string;
        readonly problem: Problem | undefined;
        readonly inHand: number;
        /** Age of the event that was applied last, when it was, seconds. */
        readonly lagSeconds: number | undefined;
      }
    | undefined;
  readonly tables: readonly TableReport[];
}
