import type { ProgressSettings } from '../config/progress-schema.ts';
import type { GateCode, Stage, WriteCounts } from '../core/progress.ts';
import type { Problem, WorkerStatus } from '../core/status.ts';
import type { StoredWaiver } from '../state/waivers.ts';
import type { Dependant } from './dependants.ts';
import type { ReadFacts } from './compare-reads.ts';
import type { MigrationTable } from './tables.ts';

/** What is known of the migration at one moment. Gates judge nothing else. Times are ISO 8601. */
export interface Facts {
  /** When the databases were asked. */
  readonly at: string;
  /** When it was looked who reads the tables and what needs them, which may be a while ago. */
  readonly usesAt: string;
  readonly settings: ProgressSettings;
  readonly slot: SlotFacts;
  /** What the worker said of itself; undefined: none answered. */
  readonly live: LiveFacts | undefined;
  /** Where one was looked for, and what came of it, for people. */
  readonly noWorker: string;
  /** Since when every write is counted; undefined: it never was. */
  readonly countingSince: string | undefined;
  /** Everything that was committed between the two is counted and stored: by the worker's word, or as it was stored last. undefined: not known. */
  readonly countedUntil: string | undefined;
  /** Of the connector's whole life. */
  readonly gaps: readonly GapFacts[];
  readonly tables: ReadonlyMap<string, TableFacts>;
}

export interface SlotFacts {
  readonly name: string;
  /** missing: there is none of that name. foreign: it is for another database or plugin. */
  readonly state: 'ours' | 'foreign' | 'missing';
  readonly walStatus: string | undefined;
  readonly invalidation: string | undefined;
  readonly active: boolean;
  /** As `ObservedSlot`; undefined: there is none. */
  readonly heldBytes: number | undefined;
  readonly lagBytes: number | undefined;
}

export type LiveFacts = { readonly at: string } & Pick<WorkerStatus, 'state' | 'problem' | 'startedAt'> & {
    readonly lagSeconds: number | undefined;
    /** Since when the lag has been as small as is asked for. */
    readonly calmSince: string | undefined;
    /** undefined: it is not configured, or does not run. */
    readonly reverse: Pick<NonNullable<WorkerStatus['reverse']>, 'state' | 'problem'> | undefined;
    /** When this worker last saw a write of its own in the stream. */
    readonly testedAt: string | undefined;
  };

export interface GapFacts {
  readonly kind: string;
  /** The slot's name, or a table. */
  readonly subject: string;
  readonly detectedAt: string;
  readonly acceptedAt: string | undefined;
}

export interface TableFacts extends MigrationTable {
  readonly stage: Stage;
  /** undefined: it never moved. */
  readonly stageSince: string | undefined;
  readonly stageBy: string | undefined;
  /** The publication has it now, this table and no other of its name. What is on record may be older than what somebody did to it. */
  readonly published: boolean;
  /** Since when its changes are in the stream; undefined: they are not yet. */
  readonly publishedSince: string | undefined;
  readonly backfill: {
    /** The last run of the whole table. */
    readonly whole: RunFacts | undefined;
    /** Runs of single partitions since then that have not completed. */
    readonly partitions: readonly RunFacts[];
  };
  readonly conflictsOpen: number;
  readonly deadLetters: {
    readonly forward: number;
    readonly reverse: number;
    /** Events of the new system that wait for something to come, with a deadline. */
    readonly waiting: number;
    /** Letters of the way back that name no table: any of them may be this one's. */
    readonly nameless: number;
  };
  readonly held: Problem | undefined;
  readonly writes: {
    /** In `legacyWrites.window`. */
    readonly window: WriteCounts;
    /** In `legacyWrites.noneFor`; undefined: not asked, since the table can not retire from its stage. */
    readonly quiet: WriteCounts | undefined;
    /** Changes in the window by applications of the allow list, as the statement trigger says; undefined: nothing says who writes. */
    readonly allowed: number | undefined;
    /** Who else wrote in the window, most first. */
    readonly writers: readonly { readonly application: string; readonly role: string; readonly changes: number }[];
    /** Beginning of the last minute (later: hour) with one. */
    readonly lastLegacyAt: string | undefined;
    /** When the stream last showed a write of reverse sync, to the minute. */
    readonly lastEchoAt: string | undefined;
  };
  /** undefined: it could not be looked at, since the table is not there. */
  readonly reads: ReadFacts | undefined;
  readonly dependants: readonly Dependant[];
  readonly waivers: ReadonlyMap<GateCode, StoredWaiver>;
}

export interface RunFacts {
  readonly status: 'waiting' | 'running' | 'paused' | 'completed' | 'failed' | 'replaced';
  /** `schema.name` of the one partition that it reads. */
  readonly partition: string | undefined;
  readonly rowsSent: number;
  readonly rowsEstimated: number | undefined;
  readonly startedAt: string;
  readonly finishedAt: string | undefined;
  readonly reason: string | undefined;
}
