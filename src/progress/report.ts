import type pg from 'pg';
import { type Config, slotName } from '../config/schema.ts';
import type {
  ProgressReport,
  TableReport,
  TrafficPoint,
  Verdict,
  WriteCounts,
  WritesReport,
} from '../core/progress.ts';
import { FIRST_STAGE, primaryOf, reverseIsOn } from '../core/stages.ts';
import type { WorkerStatus } from '../core/status.ts';
import { type ObservedSlot, observeSlot } from '../postgres/slot.ts';
import { NOTHING_OPEN } from '../state/open-work.ts';
import type { State } from '../state/state.ts';
import { backfillReport } from './backfill-report.ts';
import { nextStep } from './next-step.ts';
import { nextTarget } from './stages.ts';
import { type MigrationTable, migrationTables } from './tables.ts';

export interface ReportOptions {
  readonly config: Config;
  readonly state: State;
  /** The legacy database. */
  readonly pool: pg.Pool;
  /** What the worker says of itself; undefined: none answers. */
  readonly live: WorkerStatus | undefined;
  /** When it said so, ISO 8601. */
  readonly liveAt: string | undefined;
  readonly now: Date;
}

const MINUTE_MS = 60_000;
const RECENT_MS = 60 * MINUTE_MS;
const CHANGES = 20;

/** How far everything is, in a number of queries that does not grow with the tables. */
export async function progressReport(options: ReportOptions): Promise<ProgressReport> {
  const { config, pool, live, liveAt, now } = options;
  const tables = await migrationTables(pool, config);
  const known = await read(options);
  const verdicts = new Map<string, Verdict>();
  const slot = live === undefined ? await observeSlot(pool, slotName(config)) : undefined;
  return {
    name: config.name,
    at: now.toISOString(),
    stale: undefined,
    database: databaseOf(config.legacy.url),
    worker: live && {
      state: live.state,
      problem: live.problem,
      version: live.version,
      startedAt: live.startedAt,
    },
    slot: slotOf(options, slot),
    bus: live && {
      name: live.bus.name,
      state: live.bus.state,
      accepted: live.bus.accepted,
      throttled: live.bus.throttled,
      queued: live.bus.queued,
    },
    reverse: live?.reverse && {
      state: live.reverse.state,
      problem: live.reverse.problem,
      inHand: live.reverse.inHand,
      lagSeconds: undefined,
    },
    tables: tables.map((table) => tableReport(table, { ...known, verdicts, live, liveAt, config, now })),
  };
}

type Known = Awaited<ReturnType<typeof read>>;
type Surroundings = Known &
  Pick<ReportOptions, 'live' | 'liveAt' | 'config' | 'now'> & { readonly verdicts: ReadonlyMap<string, Verdict> };

/** Of all tables at once. */
async function read({ state, config, now }: ReportOptions) {
  const recentSince = new Date(Math.floor((now.getTime() - RECENT_MS) / MINUTE_MS) * MINUTE_MS);
  const [stages, changes, backfills, sums, lastWrites, position, recent, open, held] = await Promise.all([
    state.stages.list(),
    state.stageChanges.latest(CHANGES),
    state.backfills.latest(),
    state.traffic.sums({ seconds: windowSeconds(config) }),
    state.traffic.lastWrites(),
    state.traffic.position(),
    state.traffic.points({ from: recentSince, to: new Date(now.getTime() + MINUTE_MS), stepSeconds: 60 }),
    state.openWork.byTable(),
    state.held.list(),
  ]);
  return {
    stages: new Map(stages.map((stage) => [stage.table, stage])),
    changes,
    backfills: new Map(backfills.map((run) => [run.table, run])),
    sums,
    lastWrites,
    position,
    recent: Map.groupBy(recent, ({ table }) => table),
    open,
    held: new Map(held.map(({ table, problem }) => [table, problem])),
  };
}

function tableReport(followed: MigrationTable, known: Surroundings): TableReport {
  const { table, display, reversed, captured } = followed;
  const { live, verdicts } = known;
  const moved = known.stages.get(table);
  const stage = moved?.stage ?? FIRST_STAGE;
  const run = known.backfills.get(table);
  const backfill =
    run &&
    backfillReport(
      run,
      live?.backfills.find((each) => each.table === table),
    );
  const verdict = verdicts.get(table);
  const open = { ...(known.open.get(table) ?? NOTHING_OPEN), held: known.held.get(table) };
  const target = nextTarget(stage, { reversed, captured });
  const gates = verdict?.gates ?? [];
  const step = {
    display,
    stage,
    target,
    verdict: verdict?.result,
    gates,
    backfill,
    open,
    isRunning: live !== undefined,
  };
  return {
    table,
    stage,
    stageSince: moved?.changedAt,
    stageBy: moved?.changedBy,
    primary: primaryOf(stage),
    reverse: !reversed ? 'not configured' : reverseIsOn(stage) ? 'on' : 'off',
    target,
    verdict: verdict?.result,
    gates,
    next: nextStep(step),
    backfill,
    writes: writesOf(table, known),
    recent: (known.recent.get(table) ?? []).map(pointOf),
    open,
    lastEchoAt: known.lastWrites.get(table)?.reverseAt,
    changes: known.changes.get(table) ?? [],
  };
}

function writesOf(table: string, { sums, position, live, config, now }: Surroundings): WritesReport {
  const counts = sums.get(table) ?? { legacy: 0, reverse: 0, trigger: 0, foreign: 0 };
  const seconds = windowSeconds(config);
  const since = position?.countingSince;
  const isCovered = since !== undefined && Date.parse(since) <= now.getTime() - seconds * 1_000;
  const { legacy, reverse, trigger, foreign } = counts;
  return {
    legacy,
    reverse,
    trigger,
    foreign,
    windowSeconds: seconds,
    coveredSince: isCovered ? undefined : since,
    countedUntil: live?.traffic.countedUntil ?? position?.countedAt,
    legacyShare: legacyShare(counts),
  };
}

function legacyShare({ legacy, foreign, reverse }: WriteCounts): number | undefined {
  const all = legacy + foreign + reverse;
  return all === 0 ? undefined : (legacy + foreign) / all;
}

function pointOf({ at, legacy, reverse, trigger, foreign, events }: TrafficPoint): TrafficPoint {
  return { at, legacy, reverse, trigger, foreign, events };
}

/** Without a worker the server is asked, which knows what the slot holds, but not how that grew. */
function slotOf({ config, live, now }: ReportOptions, observed: ObservedSlot | undefined): ProgressReport['slot'] {
  const heldBytes = live === undefined ? observed?.heldBytes : live.slot.heldBytes;
  return {
    name: slotName(config),
    active: live === undefined ? observed && observed.holder !== undefined : isActive(live),
    walStatus: live === undefined ? observed?.walStatus : live.slot.walStatus,
    lagSeconds: live?.stream.lagSeconds,
    lagBytes: live === undefined ? observed?.lagBytes : live.slot.lagBytes,
    observedAt: live === undefined ? now.toISOString() : live.slot.observedAt,
    wal: {
      heldBytes,
      budgetBytes: config.legacy.walBudget,
      growthPerSecond: live?.slot.growthPerSecond,
      exhaustedInSeconds: live?.slot.exhaustedInSeconds,
      action: config.legacy.onWalBudget,
    },
  };
}

/** Read by this worker, or by the one that it stands by for. */
function isActive({ state }: WorkerStatus): boolean {
  return state === 'streaming' || state === 'catching-up' || state === 'standby';
}

function windowSeconds({ progress }: Config): number {
  return progress.gates.legacyWrites.window / 1_000;
}

/** Without password and parameters; also of a URL whose password holds what it must not. */
export function databaseOf(url: string): string {
  const [place = ''] = url.replace(/^postgres(ql)?:\/\//, '').split('?');
  const at = place.lastIndexOf('@');
  const [user = ''] = place.slice(0, Math.max(0, at)).split(':');
  const server = place.slice(at + 1);
  return user === '' ? server : `${user}@${server}`;
}
