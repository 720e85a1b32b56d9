import type pg from 'pg';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import { type AppliedVersionStore, appliedVersionStore } from './applied-versions.ts';
import { type BackfillStore, backfillStore } from './backfills.ts';
import { type ConflictStore, conflictStore } from './conflicts.ts';
import { type DeadLetterStore, deadLetterStore } from './dead-letters.ts';
import { type GapStore, gapStore } from './gaps.ts';
import { type HealthStore, healthStore } from './health-history.ts';
import { type HeldTableStore, heldTableStore } from './held-tables.ts';
import { type InboxStore, inboxStore } from './inbox.ts';
import { type LegacyChangeStore, legacyChangeStore } from './legacy-changes.ts';
import { migrate, requireMigrated } from './migrate.ts';
import { type ReadWatchStore, readWatchStore } from './read-watch.ts';
import { type RequestStore, requestStore } from './requests.ts';
import { type ReverseLetterStore, reverseLetterStore } from './reverse-letters.ts';
import { type ReverseSecretStore, reverseSecretStore } from './reverse-secret.ts';
import { type StateScope, storable, usingState } from './scope.ts';
import { type SlotStore, slotStore } from './slots.ts';
import { type StageChangeStore, stageChangeStore } from './stage-changes.ts';
import { type TableStageStore, tableStageStore } from './table-stages.ts';
import { type TableStore, tableStore } from './tables.ts';
import { type TrafficStore, trafficStore } from './traffic.ts';
import { type WaiverStore, waiverStore } from './waivers.ts';

/** What one connector remembers beside its slot. All stores share the pool that was given; closing it stays with the caller. */
export interface State {
  /** For the statements that use the state's tables together with others. */
  readonly scope: StateScope;
  readonly slots: SlotStore;
  readonly tables: TableStore;
  readonly deadLetters: DeadLetterStore;
  readonly held: HeldTableStore;
  readonly requests: RequestStore;
  readonly gaps: GapStore;
  readonly backfills: BackfillStore;
  /** Dead letters of the way back; `deadLetters` are those of the way out. */
  readonly reverseLetters: ReverseLetterStore;
  readonly reverseSecret: ReverseSecretStore;
  readonly inbox: InboxStore;
  readonly appliedVersions: AppliedVersionStore;
  readonly conflicts: ConflictStore;
  readonly stages: TableStageStore;
  readonly stageChanges: StageChangeStore;
  readonly legacyChanges: LegacyChangeStore;
  readonly traffic: TrafficStore;
  readonly waivers: WaiverStore;
  readonly readWatch: ReadWatchStore;
  readonly health: HealthStore;
}

export interface StateOptions {
  readonly pool: pg.Pool;
  /** `config.name` */
  readonly connector: string;
  /** `config.state.schema` */
  readonly schema: string;
}

/** For the worker: makes the schema or brings it up to date first. */
export async function openState(options: StateOptions): Promise<State> {
  await migrate(options);
  return stores(options);
}

/** For every other command: throws a BanyanError `preflight` where the schema is not there yet, and never changes it. */
export async function readState(options: StateOptions): Promise<State> {
  await requireMigrated(options);
  return stores(options);
}

async function stores(options: StateOptions): Promise<State> {
  const scope = { ...options, ...storable(await serverEncoding(options)) };
  const reverseSecret = reverseSecretStore(scope);
  return {
    scope,
    slots: slotStore(scope),
    tables: tableStore(scope),
    deadLetters: deadLetterStore(scope),
    held: heldTableStore(scope),
    requests: requestStore(scope),
    gaps: gapStore(scope),
    backfills: backfillStore(scope),
    reverseLetters: reverseLetterStore(scope),
    reverseSecret,
    inbox: inboxStore(scope),
    appliedVersions: appliedVersionStore(scope),
    conflicts: conflictStore(scope),
    stages: tableStageStore(scope),
    stageChanges: stageChangeStore(scope, reverseSecret),
    legacyChanges: legacyChangeStore(scope),
    traffic: trafficStore(scope),
    waivers: waiverStore(scope),
    readWatch: readWatchStore(scope),
    health: healthStore(scope),
  };
}

async function serverEncoding(options: StateOptions): Promise<string> {
  try {
    const { rows } = await options.pool.query<{ server_encoding: string }>('show server_encoding');
    return rows[0]?.server_encoding ?? 'UTF8';
  } catch (error) {
    throw toDatabaseError(error, usingState(options.schema));
  }
}
