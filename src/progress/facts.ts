import type pg from 'pg';
import { type Config, publicationName, slotName } from '../config/schema.ts';
import type { GateCode, WriteCounts } from '../core/progress.ts';
import { BY_ITSELF, FIRST_STAGE, reverseIsOn } from '../core/stages.ts';
import type { WorkerStatus } from '../core/status.ts';
import { readMembership } from '../postgres/publication-catalog.ts';
import { observeSlot } from '../postgres/slot.ts';
import type { State } from '../state/state.ts';
import type { TableStage } from '../state/table-stages.ts';
import type { StoredWaiver } from '../state/waivers.ts';
import { laterOf } from './coverage.ts';
import { allGaps, backfillFacts, openConflicts, parkedLetters, publishedSince, writersSeen } from './state-facts.ts';
import type { Facts, LiveFacts, SlotFacts, TableFacts } from './table-facts.ts';
import { type MigrationTable, observesWriters } from './tables.ts';
import { type LookAtUses, usesOf } from './uses.ts';

export type { Facts, TableFacts };

export interface CollectOptions {
  readonly state: State;
  /** The legacy database. */
  readonly pool: pg.Pool;
  readonly config: Config;
  /** As `migrationTables` finds them. */
  readonly tables: readonly MigrationTable[];
  /** What the worker says of itself; undefined: none answered. */
  readonly live: WorkerStatus | undefined;
  /** When it said that, ISO 8601. */
  readonly liveAt: string | undefined;
  /** Where a worker was looked for, and what came of it: `no worker answered at …`. */
  readonly noWorker?: string | undefined;
  /** Default: looks anew. */
  readonly lookAtUses?: LookAtUses | undefined;
}

const NO_WRITES: WriteCounts = { legacy: 0, reverse: 0, trigger: 0, foreign: 0 };
const NO_LETTERS = { forward: 0, reverse: 0, waiting: 0 };

/** Asks both databases about all tables, in a number of queries that does not depend on theirs. */
export async function collectFacts(options: CollectOptions): Promise<Facts> {
  const { state, pool, config, tables, live, liveAt, lookAtUses = usesOf } = options;
  const { scope } = state;
  const at = new Date().toISOString();
  const { gates } = config.progress;
  const windowMs = gates.legacyWrites.window;
  const stages = await state.stages.list();
  const [
    slot,
    backfills,
    conflicts,
    letters,
    held,
    membership,
    published,
    gaps,
    position,
    window,
    quiet,
    last,
    writers,
    waivers,
  ] = await Promise.all([
    slotFacts(pool, config),
    backfillFacts(scope),
    openConflicts(scope),
    parkedLetters(scope),
    state.held.list(),
    readMembership(pool, publicationName(config)),
    publishedSince(scope),
    allGaps(scope),
    state.traffic.position(),
    state.traffic.sums({ seconds: windowMs / 1_000 }),
    state.traffic.sums({ seconds: gates.legacyWrites.noneFor / 1_000, tables: namesOf(stages, mayRetire) }),
    state.traffic.lastWrites(namesOf(stages, wasReversed)),
    observesWriters(config) ? writersSeen(scope, windowMs) : [],
    state.waivers.list(),
  ]);
  const uses = await lookAtUses({ state, pool, config, tables, stages });
  const stageOf = byName(stages);
  const heldBy = byName(held);
  const allow = new Set(gates.legacyWrites.allow);
  const nameless = namelessLetters(letters);

  const facts = tables.map((table): TableFacts => {
    const name = table.table;
    const stage = stageOf.get(name);
    const wrote = writers.filter((writer) => writer.table === name);
    const lastWrites = last.get(name);
    return {
      ...table,
      stage: stage?.stage ?? FIRST_STAGE,
      stageSince: stage?.changedAt,
      stageBy: stage?.changedBy,
      published: membership.has(table.oid),
      publishedSince: published.get(name),
      backfill: backfills.get(name) ?? { whole: undefined, partitions: [] },
      conflictsOpen: conflicts.get(name) ?? 0,
      deadLetters: { ...(letters.get(name) ?? NO_LETTERS), nameless },
      held: heldBy.get(name)?.problem,
      writes: {
        window: window.get(name) ?? NO_WRITES,
        quiet: stage !== undefined && mayRetire(stage) ? (quiet.get(name) ?? NO_WRITES) : undefined,
        allowed: table.observed
          ? wrote.filter(({ application }) => allow.has(application)).reduce((sum, { changes }) => sum + changes, 0)
          : undefined,
        writers: wrote.filter(({ application }) => !allow.has(application)),
        lastLegacyAt: lastWrites?.legacyAt,
        lastEchoAt: lastWrites?.reverseAt,
      },
      reads: uses.reads.get(name),
      dependants: uses.dependants.get(table.oid) ?? [],
      waivers: waiversOf(waivers, name),
    };
  });
  return {
    at,
    usesAt: uses.at,
    settings: config.progress,
    slot,
    live: live === undefined || liveAt === undefined ? undefined : liveFacts(live, liveAt),
    noWorker: options.noWorker ?? 'no worker was asked',
    countingSince: position?.countingSince,
    countedUntil: laterOf(live?.traffic.countedUntil, position?.countedUntil),
    gaps,
    tables: new Map(facts.map((each) => [each.table, each])),
  };
}

async function slotFacts(pool: pg.Pool, config: Config): Promise<SlotFacts> {
  const name = slotName(config);
  const observed = await observeSlot(pool, name);
  const unknown = { walStatus: undefined, invalidation: undefined, heldBytes: undefined, lagBytes: undefined };
  if (observed === undefined) return { name, state: 'missing', active: false, ...unknown };
  const database = await pool.query<{ name: string }>('select current_database()::text as name');
  const isOurs = observed.plugin === 'pgoutput' && observed.database === database.rows[0]?.name;
  const { walStatus, invalidation, heldBytes, lagBytes, holder } = observed;
  const state = isOurs ? 'ours' : 'foreign';
  return { name, state, active: holder !== undefined, walStatus, invalidation, heldBytes, lagBytes };
}

function liveFacts(status: WorkerStatus, at: string): LiveFacts {
  const { state, problem, startedAt, stream, reverse } = status;
  return {
    at,
    state,
    problem,
    startedAt,
    lagSeconds: stream.lagSeconds,
    calmSince: stream.calmSince,
    reverse,
    testedAt: reverse?.testedAt,
  };
}

function namelessLetters(letters: ReadonlyMap<string, { readonly reverse: number }>): number {
  let count = 0;
  for (const [name, { reverse }] of letters) if (name.startsWith('queue:')) count += reverse;
  return count;
}

function waiversOf(waivers: readonly StoredWaiver[], table: string): ReadonlyMap<GateCode, StoredWaiver> {
  return new Map(waivers.filter((waiver) => waiver.table === table).map((waiver) => [waiver.gate, waiver]));
}

/** So long a time is asked about only where it decides. */
function mayRetire({ stage }: TableStage): boolean {
  return stage === 'new-primary';
}

/** What came to `shadow` by itself had no write of reverse sync yet. */
function wasReversed({ stage, changedBy }: TableStage): boolean {
  return reverseIsOn(stage) || stage === 'retired' || (stage === 'shadow' && changedBy !== BY_ITSELF);
}

function namesOf(stages: readonly TableStage[], isAsked: (stage: TableStage) => boolean): string[] {
  return stages.filter(isAsked).map(({ table }) => table);
}

function byName<T extends { readonly table: string }>(items: readonly T[]): ReadonlyMap<string, T> {
  return new Map(items.map((item) => [item.table, item]));
}
