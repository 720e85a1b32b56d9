import { noProgress, type StreamProgress } from './capture/pipeline.ts';
import type { LiveSession } from './capture/upkeep.ts';
import type { SeenSlot } from './capture/wal-guard.ts';
import { type Config, slotName } from './config/schema.ts';
import type { BanyanError } from './core/errors.ts';
import { formatLsn } from './core/lsn.ts';
import type { WalReport } from './core/progress.ts';
import type {
  LetterCounts,
  LoopStatus,
  Problem,
  ReverseStatus,
  TableStatus,
  WorkerState,
  WorkerStatus,
} from './core/status.ts';
import { version } from './version.ts';

/** Further behind than this at its last transaction, the worker is catching up. */
const CAUGHT_UP_SECONDS = 5;

type BusCounters = Pick<WorkerStatus['bus'], 'accepted' | 'retried' | 'throttled' | 'requests'>;

/** What the slot holds, also while no session streams. */
interface WalSeen {
  readonly seen: SeenSlot | undefined;
  readonly report: WalReport;
}

/** What the worker says of itself. Counters go on over reconnects: each session counts for itself, and is added when it ends. */
export class StatusBoard {
  readonly progress: StreamProgress = noProgress();
  readonly #config: Config;
  readonly #reverse: () => ReverseStatus | undefined;
  readonly #wal: () => WalSeen | undefined;
  readonly #startedAt = new Date().toISOString();
  #state: Exclude<WorkerState, 'catching-up'> = 'starting';
  #problem: Problem | undefined;
  #session: LiveSession | undefined;
  #streamed = false;
  #reconnects = 0;
  /** Of the last session. Only sessions set letters aside: it holds until another worker has one. */
  #lastLetters: LetterCounts | undefined;
  #ended: { bus: BusCounters; loop: LoopStatus; tables: Map<string, TableStatus> } = {
    bus: { accepted: 0, retried: 0, throttled: 0, requests: 0 },
    loop: { forged: 0, exceeded: 0, origins: {} },
    tables: new Map(),
  };

  constructor(
    config: Config,
    parts: { readonly reverse: () => ReverseStatus | undefined; readonly wal: () => WalSeen | undefined },
  ) {
    this.#config = config;
    this.#reverse = parts.reverse;
    this.#wal = parts.wal;
  }

  /** The session that streams now. */
  get session(): LiveSession | undefined {
    return this.#session;
  }

  streams(session: LiveSession): void {
    this.#session = session;
    this.#streamed = true;
    this.#state = 'streaming';
    this.#problem = undefined;
  }

  /** Whether a session has streamed since this was asked last. */
  takeStreamed(): boolean {
    const streamed = this.#streamed;
    this.#streamed = false;
    return streamed;
  }

  /** Returns whether that is news. */
  standsBy(error: BanyanError): boolean {
    const news = this.#rest('standby', error);
    this.#lastLetters = undefined;
    return news;
  }

  waits(error: BanyanError): boolean {
    return this.#rest('waiting', error);
  }

  reconnects(error: BanyanError): void {
    this.#reconnects += 1;
    this.#rest('starting', error);
  }

  halts(error: BanyanError): void {
    this.#rest('halted', error);
  }

  stops(): void {
    this.#state = 'stopping';
  }

  status(): WorkerStatus {
    const session = this.#session;
    const bus = session?.dispatcher.status;
    const { progress } = this;
    const problem = this.#problem ?? bus?.problem;
    return {
      name: this.#config.name,
      version,
      startedAt: this.#startedAt,
      state: this.#stateWith(bus?.state),
      problem,
      slot: this.#slot(),
      server: {
        systemId: session?.server.systemId,
        timeline: session?.server.timeline,
        epoch: session?.factory.identity.epoch,
      },
      stream: {
        reconnects: this.#reconnects,
        transactions: progress.transactions,
        receivedLsn: progress.receivedLsn === undefined ? undefined : formatLsn(progress.receivedLsn),
        settledLsn: session === undefined ? undefined : formatLsn(session.ledger.watermark),
        lagSeconds: seconds(session?.lag.lagMs),
        calmSince: session?.lag.calmSince,
      },
      bus: {
        type: this.#config.bus.type,
        name: this.#config.bus.name,
        state: bus?.state,
        ...sum(this.#ended.bus, bus),
        inFlight: bus?.inFlight ?? 0,
        queued: bus?.queued ?? 0,
        rateLimit: bus?.rateLimit,
      },
      traffic: { countedUntil: isoOf(session?.traffic.countedUntilMs) },
      loop: sumLoops(this.#ended.loop, session?.ownWrites.status),
      reverse: this.#reverse(),
      deadLetters: session?.deadLetters ?? this.#lastLetters,
      tables: this.#tables(),
      backfills: session?.backfills ?? [],
      findings: session?.findings,
    };
  }

  #rest(state: 'standby' | 'waiting' | 'starting' | 'halted', error: BanyanError): boolean {
    this.#endSession();
    const news = this.#state !== state || this.#problem?.message !== error.message;
    if (this.#state !== 'stopping') this.#state = state;
    if (news) {
      const { kind, message, remedy } = error;
      this.#problem = { kind, message, remedy, since: new Date().toISOString() };
    }
    return news;
  }

  #stateWith(bus: 'sending' | 'waiting' | 'halted' | undefined): WorkerState {
    if (this.#state !== 'streaming') return this.#state;
    if (bus === 'waiting' || bus === 'halted') return bus;
    const lag = arrivalSeconds(this.progress);
    const recent = this.progress.lastArrivalMs !== undefined && Date.now() - this.progress.lastArrivalMs < 10_000;
    return recent && lag !== undefined && lag > CAUGHT_UP_SECONDS ? 'catching-up' : 'streaming';
  }

  #slot(): WorkerStatus['slot'] {
    const wal = this.#wal();
    const seen = wal?.seen;
    const { observed } = seen ?? {};
    return {
      name: slotName(this.#config),
      walStatus: observed?.walStatus,
      restartLsn: observed?.restartLsn === undefined ? undefined : formatLsn(observed.restartLsn),
      confirmedLsn: observed?.confirmedLsn === undefined ? undefined : formatLsn(observed.confirmedLsn),
      heldBytes: observed?.heldBytes,
      lagBytes: observed?.lagBytes,
      budgetBytes: this.#config.legacy.walBudget,
      growthPerSecond: wal?.report.growthPerSecond,
      exhaustedInSeconds: wal?.report.exhaustedInSeconds,
      observedAt: seen?.observedAt,
    };
  }

  #tables(): readonly TableStatus[] {
    const live = this.#session?.routes.status() ?? [];
    const names = new Set([...this.#ended.tables.keys(), ...live.map(({ table }) => table)]);
    return [...names].map((table) => {
      const now = live.find((candidate) => candidate.table === table);
      const before = this.#ended.tables.get(table);
      return now === undefined || before === undefined ? ((now ?? before) as TableStatus) : addTables(before, now);
    });
  }

  /** Keeps what the session counted, and lets go of it. */
  #endSession(): void {
    const session = this.#session;
    if (session === undefined) return;
    const tables = new Map(this.#tables().map((table) => [table.table, table]));
    const loop = sumLoops(this.#ended.loop, session.ownWrites.status);
    this.#lastLetters = session.deadLetters;
    this.#ended = { bus: sum(this.#ended.bus, session.dispatcher.status), loop, tables };
    this.#session = undefined;
  }
}

/** By two clocks, but of every transaction. */
function arrivalSeconds({ lastArrivalMs, lastCommitMicros }: StreamProgress): number | undefined {
  if (lastArrivalMs === undefined || lastCommitMicros === undefined) return undefined;
  return Math.max(0, lastArrivalMs - Number(lastCommitMicros / 1_000n)) / 1_000;
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1_000;
}

function isoOf(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

function sum(before: BusCounters, now: BusCounters | undefined): BusCounters {
  return {
    accepted: before.accepted + (now?.accepted ?? 0),
    retried: before.retried + (now?.retried ?? 0),
    throttled: before.throttled + (now?.throttled ?? 0),
    requests: before.requests + (now?.requests ?? 0),
  };
}

function sumLoops(before: LoopStatus, now: LoopStatus | undefined): LoopStatus {
  if (now === undefined) return before;
  const origins = { ...before.origins };
  for (const [name, changes] of Object.entries(now.origins)) origins[name] = (origins[name] ?? 0) + changes;
  return { forged: before.forged + now.forged, exceeded: before.exceeded + now.exceeded, origins };
}

function addTables(before: TableStatus, now: TableStatus): TableStatus {
  const received = { ...now.received };
  for (const operation of ['insert', 'update', 'delete', 'truncate', 'read'] as const)
    received[operation] += before.received[operation];
  const origins = { ...now.origins };
  for (const origin of ['legacy', 'foreign', 'echo', 'correction', 'trigger', 'refusal'] as const)
    origins[origin] += before.origins[origin];
  return {
    table: now.table,
    received,
    accepted: before.accepted + now.accepted,
    dropped: before.dropped + now.dropped,
    nullConditions: before.nullConditions + now.nullConditions,
    parked: before.parked + now.parked,
    origins,
    held: now.held,
  };
}
