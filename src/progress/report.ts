import type pg from 'pg';
import type { Config } from '../config/schema.ts';
import type { ProgressReport, TableReport, TrafficPoint, WritesReport } from '../core/progress.ts';
import { primaryOf, reverseIsOn } from '../core/stages.ts';
import type { WorkerStatus } from '../core/status.ts';
import type { State } from '../state/state.ts';
import { backfillReport } from './backfill-report.ts';
import { coverageOf } from './coverage.ts';
import { collectFacts } from './facts.ts';
import { legacyShare } from './legacy-gates.ts';
import { nextStep } from './next-step.ts';
import { nextTarget } from './stages.ts';
import type { Facts, GapFacts, SlotFacts, TableFacts } from './table-facts.ts';
import { migrationTables } from './tables.ts';
import type { LookAtUses } from './uses.ts';
import { judge } from './verdict.ts';

export interface ReportOptions {
  readonly config: Config;
  readonly state: State;
  /** The legacy database. */
  readonly pool: pg.Pool;
  /** What the worker says of itself; undefined: none answers. */
  readonly live: WorkerStatus | undefined;
  /** When it said so, ISO 8601. */
  readonly liveAt: string | undefined;
  /** Where one was looked for, and what came of it, for people. */
  readonly noWorker?: string | undefined;
  /** Default: looks anew. */
  readonly lookAtUses?: LookAtUses | undefined;
  readonly now: Date;
}

const MINUTE_MS = 60_000;
const RECENT_MS = 60 * MINUTE_MS;
const CHANGES = 20;

/** How far everything is, in a number of queries that does not grow with the tables. */
export async function progressReport(options: ReportOptions): Promise<ProgressReport> {
  const { config, pool, live, now } = options;
  const tables = await migrationTables(pool, config);
  const facts = await collectFacts({ ...options, tables });
  const known = { ...(await read(options)), facts, live, config, now };
  return {
    name: config.name,
    at: now.toISOString(),
    stale: undefined,
    database: databaseOf(config.legacy.url),
    gaps: openGaps(facts).map(({ kind, subject, detectedAt }) => ({ kind, subject, detectedAt })),
    worker: live && {
      state: live.state,
      problem: live.problem,
      version: live.version,
      startedAt: live.startedAt,
    },
    slot: slotOf(options, facts.slot),
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
      lagSeconds: live.reverse.lagSeconds,
    },
    tables: [...facts.tables.values()].map((table) => tableReport(table, known)),
  };
}

type Surroundings = Awaited<ReturnType<typeof read>> &
  Pick<ReportOptions, 'live' | 'config' | 'now'> & { readonly facts: Facts };

/** What no gate asks for, of all tables at once. */
async function read({ state, now }: ReportOptions) {
  const recentSince = new Date(Math.floor((now.getTime() - RECENT_MS) / MINUTE_MS) * MINUTE_MS);
  const [changes, backfills, recent] = await Promise.all([
    state.stageChanges.latest(CHANGES),
    state.backfills.latest(),
    state.traffic.points({ from: recentSince, to: new Date(now.getTime() + MINUTE_MS), stepSeconds: 60 }),
  ]);
  return {
    changes,
    backfills: new Map(backfills.map((run) => [run.table, run])),
    recent: Map.groupBy(recent, ({ table }) => table),
  };
}

function tableReport(facts: TableFacts, known: Surroundings): TableReport {
  const { table, display, stage, reversed, deadLetters, held } = facts;
  const { live } = known;
  const run = known.backfills.get(table);
  const backfill =
    run &&
    backfillReport(
      run,
      live?.backfills.find((each) => each.table === table),
    );
  const target = nextTarget(stage, facts);
  const verdict = target && judge(known.facts, table, target, known.now);
  const gates = verdict?.gates ?? [];
  const open = {
    deadLetters: deadLetters.forward + deadLetters.reverse,
    waiting: deadLetters.waiting,
    conflicts: facts.conflictsOpen,
    held,
  };
  const step = { display, stage, target, verdict: verdict?.result, gates, backfill, open };
  return {
    table,
    display,
    stage,
    stageSince: facts.stageSince,
    stageBy: facts.stageBy,
    primary: primaryOf(stage),
    reverse: reversed ? (reverseIsOn(stage) ? 'on' : 'off') : 'not configured',
    target,
    verdict: verdict?.result,
    gates,
    next: nextStep({
      ...step,
      isRunning: live !== undefined,
      isInGap: openGaps(known.facts).some(({ subject }) => subject === table || subject === known.facts.slot.name),
    }),
    backfill,
    writes: writesOf(facts, known),
    recent: (known.recent.get(table) ?? []).map(pointOf),
    open,
    lastEchoAt: facts.writes.lastEchoAt,
    changes: known.changes.get(table) ?? [],
  };
}

function openGaps({ gaps }: Facts): readonly GapFacts[] {
  return gaps.filter(({ acceptedAt }) => acceptedAt === undefined);
}

function writesOf(table: TableFacts, { facts, config, now }: Surroundings): WritesReport {
  const { writes } = table;
  const windowMs = config.progress.gates.legacyWrites.window;
  const { since, until, extent, why } = coverageOf(facts, { table, windowMs, now });
  return {
    legacy: writes.window.legacy,
    reverse: writes.window.reverse,
    trigger: writes.window.trigger,
    foreign: writes.window.foreign,
    windowSeconds: windowMs / 1_000,
    countedSince: since,
    countedUntil: until,
    covered: extent,
    uncovered: why,
    legacyShare: extent === 'none' ? undefined : legacyShare(writes.window),
  };
}

function pointOf({ at, legacy, reverse, trigger, foreign, events }: TrafficPoint): TrafficPoint {
  return { at, legacy, reverse, trigger, foreign, events };
}

/** Who reads it is the server's to say: a worker may hold it that waits for its bus, or another one. Without a worker the server also knows what it holds, but not how that grew. */
function slotOf({ config, live, now }: ReportOptions, seen: SlotFacts): ProgressReport['slot'] {
  return {
    name: seen.name,
    active: seen.state === 'missing' ? undefined : seen.active,
    walStatus: seen.walStatus,
    lagSeconds: live?.stream.lagSeconds,
    lagBytes: live === undefined ? seen.lagBytes : live.slot.lagBytes,
    observedAt: live === undefined ? now.toISOString() : live.slot.observedAt,
    wal: {
      heldBytes: live === undefined ? seen.heldBytes : live.slot.heldBytes,
      budgetBytes: config.legacy.walBudget,
      growthPerSecond: live?.slot.growthPerSecond,
      exhaustedInSeconds: live?.slot.exhaustedInSeconds,
      action: config.legacy.onWalBudget,
    },
  };
}

/** Without password and parameters; also of a URL whose password holds what it must not. */
export function databaseOf(url: string): string {
  const [place = ''] = url.replace(/^postgres(ql)?:\/\//, '').split('?');
  const at = place.lastIndexOf('@');
  const [user = ''] = place.slice(0, Math.max(0, at)).split(':');
  const server = place.slice(at + 1);
  return user === '' ? server : `${user}@${server}`;
}
