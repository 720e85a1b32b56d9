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
import { readState, type State } from '../state/state.ts';
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

/** Looks after the start in which a worker that has not streamed yet may come to drain what gathered while none ran. */
const FIRST_LOOKS = 6;
/** How long the server may take to notice that nobody reads the slot any more. */
const RELEASE_MS = 15_000;
/** Then its end is asked for. */
const PATIENCE_MS = 3_000;
const LOOK_AGAIN_MS = 100;

/**
 * Watches what the slot holds for as long as the worker lives: also while it waits for a bus, or is halted, when nothing else asks the database anything and the
 * WAL grows. Past `legacy.walBudget` it says so, or with `drop-slot` gives the slot up, so that the database lives.
 */
export class WalGuard {
  readonly #options: WalGuardOptions;
  readonly #trend: WalTrend;
  readonly #warn: (facts: object) => void;
  #seen: SeenSlot | undefined;
  #looks = 0;
  /** What the slot held at the look before. */
  #before: number | undefined;

  constructor(options: WalGuardOptions) {
    this.#options = options;
    this.#trend = new WalTrend(Math.min(10_000, 4 * options.intervalMs));
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
    const observed = live?.slot?.observed ?? (await this.#observe());
    this.#looks += 1;
    if (observed === undefined) {
      this.#trend.clear();
      return;
    }
    const { heldBytes } = observed;
    const isDraining = this.#before !== undefined && heldBytes < this.#before;
    this.#before = heldBytes;
    this.#trend.add({ atMs: performance.now(), heldBytes });
    if (heldBytes <= config.legacy.walBudget) return;
    const mayRecover = isDraining || (live === undefined && this.#looks <= FIRST_LOOKS);
    if (config.legacy.onWalBudget === 'drop-slot' && !mayRecover) await this.#giveUp();
    else this.#warn({ ...this.#factsOf(observed), remedy: REMEDY });
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
        const live = session();
        const now = await observeSlot(client, slotName(config));
        if (now === undefined || now.heldBytes <= config.legacy.walBudget) return;
        // Another worker reads it, and has a guard of its own.
        if (live === undefined && now.holder !== undefined) return;
        if (live === undefined && !(await this.#isOurs(client, now))) return;
        await this.#drop(client, { observed: now, live });
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
    { observed, live }: { readonly observed: ObservedSlot; readonly live: GuardedSession | undefined },
  ): Promise<void> {
    const { config, log } = this.#options;
    const name = slotName(config);
    const gap = await this.#record(observed);
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
    this.#trend.clear();
    this.#seen = undefined;
    log.error(
      { slot: name, remedy: gapError(gap).remedy },
      'dropped the slot: the WAL that it held goes with the next checkpoint',
    );
  }

  /** Where the state can not be written either, the next session still misses the slot that it remembers. */
  async #record(observed: ObservedSlot): Promise<GapReport> {
    const { config, log } = this.#options;
    const name = slotName(config);
    const confirmed = observed.confirmedLsn === undefined ? undefined : formatLsn(observed.confirmedLsn);
    const gap: GapReport = {
      kind: 'slot-dropped',
      subject: name,
      message: `slot ${name} held ${observed.heldBytes} bytes of WAL, more than legacy.walBudget (${config.legacy.walBudget}); changes committed after ${confirmed ?? 'its last position'} are missing`,
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

const REMEDY =
  'see what holds it back: /readyz names a bus or database that does not take anything; raise legacy.walBudget where the disk has room, or set legacy.onWalBudget: drop-slot';
