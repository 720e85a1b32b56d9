import type pg from 'pg';
import type { Logger } from 'pino';
import { type Config, slotName } from '../config/schema.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import { formatLsn } from '../core/lsn.ts';
import type { WalReport } from '../core/progress.ts';
import { sleep } from '../flow/supervise.ts';
import { type ConnectionSettings, createPool, withClient } from '../postgres/connection.ts';
import { gapError, type GapReport } from '../postgres/gap.ts';
import { dropSlot, type ObservedSlot, observeSlot } from '../postgres/slot.ts';
import { WalTrend } from '../postgres/wal-budget.ts';
import { type DrainVerdict, WalDrain } from '../postgres/wal-drain.ts';
import { readState, type State } from '../state/state.ts';
import type { Ledger } from './ledger.ts';
import { seldom } from './seldom.ts';

/** The slot as it was looked at last. */
export interface SeenSlot {
  readonly observed: ObservedSlot;
  /** ISO 8601 */
  readonly observedAt: string;
}

/** The session that reads the slot now, as far as the guard needs it. */
export interface GuardedSession {
  readonly slot: SeenSlot | undefined;
  readonly ledger: Pick<Ledger, 'settled'>;
  /** Ends it with this error. */
  readonly halt: (error: BanyanError) => void;
}

export interface WalGuardOptions {
  readonly config: Config;
  readonly connection: ConnectionSettings;
  /** undefined: none streams; then the guard looks at the slot itself. */
  readonly session: () => GuardedSession | undefined;
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** How long the server may take to notice that nobody reads the slot any more. */
const RELEASE_MS = 15_000;
/** Then its end is asked for. */
const PATIENCE_MS = 3_000;
const LOOK_AGAIN_MS = 100;

/**
 * Watches what the slot holds for as long as the worker lives: also while it waits for a bus, or is halted, when nothing else asks the database anything and the
 * WAL grows. Past `legacy.walBudget` it says so, or with `drop-slot` gives up a slot that does not drain, so that the database lives.
 */
export class WalGuard {
  readonly #options: WalGuardOptions;
  readonly #trend: WalTrend;
  readonly #drain: WalDrain;
  readonly #warn: (facts: object) => void;
  #seen: SeenSlot | undefined;
  /** At the look before. */
  #session: GuardedSession | undefined;
  #usedSlot: SeenSlot | undefined;

  constructor(options: WalGuardOptions) {
    this.#options = options;
    this.#trend = new WalTrend(Math.min(10_000, 4 * options.intervalMs));
    this.#drain = new WalDrain(options.config.legacy.walBudget);
    this.#warn = seldom((facts) => options.log.error(facts, 'the slot holds more WAL than legacy.walBudget'));
  }

  /** By whoever looked last. */
  get seen(): SeenSlot | undefined {
    return this.#options.session()?.slot ?? this.#seen;
  }

  get report(): WalReport {
    const { config } = this.#options;
    return this.#trend.report({ budgetBytes: config.legacy.walBudget, action: config.legacy.onWalBudget });
  }

  /** Resolves when `signal` aborts. What fails is tried again: the guard must outlive every outage. */
  async run(): Promise<void> {
    const { intervalMs, signal, log } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#look();
      } catch (error) {
        if (signal.aborted) return;
        const failure = toBanyanError(error, 'looking at what the slot holds');
        log.debug({ kind: failure.kind, code: failure.code }, failure.message);
      }
      await sleep(intervalMs, signal).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    const { config, session } = this.#options;
    const live = session();
    if (live !== undefined && live !== this.#session) this.#drain.begins();
    this.#session = live;
    const observed = this.#observedBy(live) ?? (await this.#observe());
    if (observed === undefined) {
      this.#forget();
      return;
    }
    this.#trend.add({ atMs: performance.now(), heldBytes: observed.heldBytes });
    const verdict = this.#drain.look({ ...observed, settled: live?.ledger.settled });
    if (verdict === 'within') return;
    if (config.legacy.onWalBudget === 'drop-slot' && verdict !== 'draining') await this.#giveUp();
    else this.#warn({ ...this.#factsOf(observed), remedy: REMEDY });
  }

  /** What the session has seen since the look before; undefined: nothing. The same seen twice would pass for a slot that stands still. */
  #observedBy(live: GuardedSession | undefined): ObservedSlot | undefined {
    if (live?.slot === undefined || live.slot === this.#usedSlot) return undefined;
    this.#usedSlot = live.slot;
    return live.slot.observed;
  }

  async #observe(): Promise<ObservedSlot | undefined> {
    const { connection, config } = this.#options;
    const observed = await withClient(
      connection,
      (client) => observeSlot(client, slotName(config)),
      this.#options.signal,
    );
    this.#seen = observed && { observed, observedAt: new Date().toISOString() };
    return observed;
  }

  /** Only a slot that is ours, and as it is now: what was seen last may be old. */
  async #giveUp(): Promise<void> {
    const { config, session, connection, signal } = this.#options;
    await withClient(
      connection,
      async (client) => {
        const now = await observeSlot(client, slotName(config));
        const live = session();
        if (now === undefined) return;
        const verdict = this.#drain.look({ ...now, settled: live?.ledger.settled });
        if (verdict !== 'stalled' && verdict !== 'losing') return;
        // Another worker reads it, and has a guard of its own.
        if (live === undefined && now.holder !== undefined) return;
        if (live === undefined && !(await this.#isOurs(client, now))) return;
        await this.#drop(client, { observed: now, live, verdict });
      },
      signal,
    );
  }

  /** A slot that nobody of us has ever read is somebody else's, whatever it is called. Whoever streams from it has been told so before. */
  async #isOurs(client: pg.ClientBase, { plugin, database }: ObservedSlot): Promise<boolean> {
    const { rows } = await client.query<{ name: string }>('select current_database() as name');
    if (plugin !== 'pgoutput' || database !== rows[0]?.name) return false;
    return this.#withState(async ({ slots }) => (await slots.get())?.slotName === slotName(this.#options.config));
  }

  /** The gap is recorded before the slot goes: whatever happens in between, nobody goes on as if nothing were missing. */
  async #drop(
    client: pg.ClientBase,
    {
      observed,
      live,
      verdict,
    }: {
      readonly observed: ObservedSlot;
      readonly live: GuardedSession | undefined;
      readonly verdict: keyof typeof REASONS;
    },
  ): Promise<void> {
    const { config, log } = this.#options;
    const name = slotName(config);
    const gap = await this.#record(observed, REASONS[verdict]);
    log.error(this.#factsOf(observed), `${gap.message}; dropping it, so that the database can free its WAL`);
    live?.halt(gapError(gap));
    const begin = performance.now();
    for (;;) {
      const now = await observeSlot(client, name);
      if (now === undefined) break;
      if (now.holder === undefined) {
        await dropSlot(client, name);
        break;
      }
      const { pid } = now.holder;
      if (pid !== observed.holder?.pid) throw new BanyanError('slot-in-use', `pid ${pid} reads slot ${name} now`);
      const waited = performance.now() - begin;
      // Our own sender may hang in a socket that nobody reads from.
      if (waited > PATIENCE_MS) await client.query('select pg_terminate_backend($1)', [pid]);
      if (waited > RELEASE_MS) throw new BanyanError('slot-in-use', `slot ${name} is still read by pid ${pid}`);
      await sleep(LOOK_AGAIN_MS, this.#options.signal);
    }
    this.#forget();
    this.#seen = undefined;
    log.error(
      { slot: name, remedy: gapError(gap).remedy },
      'dropped the slot: the WAL that it held goes with the next checkpoint',
    );
  }

  /** A slot that is made anew has no past. */
  #forget(): void {
    this.#trend.clear();
    this.#drain.clear();
  }

  /** Where the state can not be written either, the next session still misses the slot that it remembers. */
  async #record(observed: ObservedSlot, reason: string): Promise<GapReport> {
    const { config, log } = this.#options;
    const name = slotName(config);
    const confirmed = observed.confirmedLsn === undefined ? undefined : formatLsn(observed.confirmedLsn);
    const gap: GapReport = {
      kind: 'slot-dropped',
      subject: name,
      message: `slot ${name} held ${observed.heldBytes} bytes of WAL, more than legacy.walBudget (${config.legacy.walBudget}), and ${reason}; changes committed after ${confirmed ?? 'its last position'} are missing`,
      report: {
        slot: name,
        missingAfter: confirmed,
        heldBytes: observed.heldBytes,
        budgetBytes: config.legacy.walBudget,
        walStatus: observed.walStatus,
      },
    };
    try {
      await this.#withState(async (state) => {
        const tables = (await state.tables.list()).map(({ table }) => table).join(', ');
        const { kind, subject, message, report } = gap;
        await state.gaps.record({ kind, subject, report: { message, ...report, tables } });
      });
    } catch (error) {
      log.error({ kind: toBanyanError(error, 'recording a gap').kind }, 'the gap can not be recorded at the moment');
    }
    return gap;
  }

  async #withState<T>(use: (state: State) => Promise<T>): Promise<T> {
    const { config, connection, log } = this.#options;
    const pool = createPool({ ...connection, url: config.state.url ?? connection.url }, { max: 1, log });
    try {
      return await use(await readState({ pool, connector: config.name, schema: config.state.schema }));
    } finally {
      await pool.end();
    }
  }

  #factsOf(observed: ObservedSlot): object {
    const { exhaustedInSeconds: _, ...report } = this.report;
    return {
      slot: slotName(this.#options.config),
      ...report,
      heldBytes: observed.heldBytes,
      walStatus: observed.walStatus,
    };
  }
}

const REASONS = {
  stalled: 'nothing of it was confirmed',
  losing: 'held more and more',
} as const satisfies Partial<Record<DrainVerdict, string>>;
const REMEDY =
  'see what holds it back: /readyz names a bus or database that does not take anything; raise legacy.walBudget where the disk has room, or set legacy.onWalBudget: drop-slot';
