import type { TransactionHeader } from '../core/change.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import { type Lsn, ZERO_LSN } from '../core/lsn.ts';
import type { WriteCounts } from '../core/progress.ts';
import { retry } from '../flow/supervise.ts';
import { timelineAt, type Timelines } from '../postgres/timeline.ts';
import type { State } from '../state/state.ts';
import type { CountedPosition, StoredPosition, TrafficCount, TrafficStore } from '../state/traffic.ts';
import type { Ledger } from './ledger.ts';
import { originsOf, type RouteCounters } from './routes.ts';
import type { WritersSeen } from './writers-seen.ts';

export interface TrafficOptions {
  readonly store: Pick<TrafficStore, 'add'>;
  /** Where counting goes on. */
  readonly counted: StoredPosition;
  readonly ledger: Pick<Ledger, 'position' | 'receiving' | 'ceiling'>;
  /** Of this session, by table. */
  readonly counters: () => Iterable<readonly [table: string, counters: RouteCounters]>;
  /** Grows with every change of a captured table. */
  readonly changes: () => number;
  /** Who wrote, where a trigger says so. */
  readonly writers: Pick<WritersSeen, 'begin' | 'take' | 'drain' | 'size'>;
  /** Everything that was committed before this moment has come, by our clock in ms; undefined: not known. */
  readonly passedUntilMs: () => number | undefined;
  /** Default: about a second. */
  readonly intervalMs?: number;
  /** After something was written: the stream's position may have moved. */
  readonly onWritten: () => void;
  /** Called with what keeps it from being written for good. */
  readonly onHalt: (error: BanyanError) => void;
  readonly signal: AbortSignal;
}

const INTERVAL_MS = 1_000;
const MINUTE_MICROS = 60_000_000n;
const MINUTE_MS = 60_000;
/** Rows that wait to be written. A minute makes one a table, and one for each of its writers, so this is long without a state database. */
const HIGH_WATER = 20_000;
const BACKOFF = { baseMs: 200, maxMs: 10_000 };

type Seen = WriteCounts & { readonly events: number };

const NOTHING: Seen = { legacy: 0, reverse: 0, trigger: 0, foreign: 0, events: 0 };

/**
 * Counts what was committed, by table, minute and origin, to the row: also over crashes and reconnects. Rows are counted by the routes anyway; here only the
 * differences between two moments without a transaction under way are taken, so that a row costs nothing more. They are stored together with the position
 * of the last commit among them: what is received again and lies before it is not counted again, and what is not stored yet is not confirmed, so that it comes
 * again.
 */
export class Traffic {
  readonly #options: TrafficOptions;
  /** As it is stored. */
  #counted: CountedPosition & { readonly version: number };
  /** Until the first transaction that is not counted yet. */
  #repeating = true;
  #before = new Map<string, Seen>();
  /** The minute that writes are counted in, and its end as commits tell the time. */
  #minuteMs = 0;
  #minuteEndMicros = 0n;
  #changesAtBegin = 0;
  /** The last transaction with changes that was committed. */
  #last: TransactionHeader | undefined;

  #pending = new Map<string, TrafficCount>();
  /** Positions before the first transaction of those whose counts are: not taken, taken, and being written. */
  #from: { open?: Lsn | undefined; taken?: Lsn | undefined; writing?: Lsn | undefined } = {};
  /** What `#pending` goes up to. */
  #taken: { position: CountedPosition; untilMs: number | undefined };
  #storedUntilMs: number | undefined;
  #isDue = false;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** The write that waits for the one that goes on. */
  #next: Promise<void> | undefined;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#counted = options.counted;
    this.#taken = { position: options.counted, untilMs: undefined };
    this.#storedUntilMs =
      options.counted.countedUntil === undefined ? undefined : Date.parse(options.counted.countedUntil);
    options.signal.addEventListener('abort', () => clearTimeout(this.#timer), { once: true });
  }

  get hasRoom(): boolean {
    return this.#pending.size + this.#options.writers.size < HIGH_WATER;
  }

  /** Everything that was committed up to then is counted and stored, by our clock in ms. */
  get countedUntilMs(): number | undefined {
    const { open, taken, writing } = this.#from;
    const isStored = open === undefined && taken === undefined && writing === undefined;
    const passed = isStored ? this.#options.passedUntilMs() : undefined;
    return later(passed, this.#storedUntilMs);
  }

  /** Before anything of the transaction is counted. */
  begin(transaction: TransactionHeader): void {
    if (this.#repeating) {
      if (!isBehind(transaction, this.#counted)) return;
      // What came again until now is counted, but for what the bus has taken of it.
      this.#take();
      this.#repeating = false;
    }
    this.#changesAtBegin = this.#options.changes();
    this.#options.writers.begin();
    if (transaction.committedAtMicros >= this.#minuteEndMicros) this.#nextMinute(transaction.committedAtMicros);
  }

  /** When all of the transaction is counted, and before the ledger knows of its end. */
  commit(transaction: TransactionHeader): void {
    if (this.#repeating || this.#options.changes() === this.#changesAtBegin) return;
    this.#last = transaction;
    if (this.#from.open === undefined) {
      this.#from.open = this.#options.ledger.position;
      this.#limit();
    }
    this.#arm();
  }

  /** The transaction has ended, and the next has not begun. */
  committed(): void {
    if (this.#isDue) void this.flush().catch(() => undefined);
  }

  /** The bus has taken events. */
  accepted(): void {
    this.#arm();
  }

  /** Resolves when everything that was committed and received before is written. Of a transaction that is being received, nothing is. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isDue = this.#options.ledger.receiving;
    if (!this.#isDue) this.#take();
    // One that waits takes what is there when its turn comes: without a state database they would pile up.
    this.#next ??= this.#writing = this.#writing.then(() => {
      this.#next = undefined;
      return this.#write();
    });
    return this.#next;
  }

  /**
   * At the end of a session that was told to stop: stores up to when all is counted, which nothing was written for while nobody wrote. After a crash only
   * what was stored before is known, until the next worker has looked.
   */
  async rest(): Promise<void> {
    await this.flush();
    const untilMs = this.countedUntilMs;
    if (untilMs === undefined || untilMs <= (this.#storedUntilMs ?? 0)) return;
    const { version, ...position } = this.#counted;
    if (await this.#options.store.add([], [], { ...position, after: version, untilMs })) {
      this.#counted = { ...position, version: version + 1 };
      this.#storedUntilMs = untilMs;
    }
  }

  #arm(): void {
    this.#timer ??= setTimeout(() => {
      // What goes wrong has been told already.
      this.flush().catch(() => undefined);
    }, this.#options.intervalMs ?? INTERVAL_MS);
  }

  /** Commits are not in the order of their times: a minute that is left is not entered again. Nor does a server's clock lead into our future. */
  #nextMinute(committedAtMicros: bigint): void {
    const now = Date.now();
    const minuteMs = Math.min(Number(committedAtMicros / MINUTE_MICROS) * MINUTE_MS, now - (now % MINUTE_MS));
    if (minuteMs <= this.#minuteMs) return;
    this.#take();
    this.#minuteMs = minuteMs;
    this.#minuteEndMicros = BigInt(minuteMs + MINUTE_MS) * 1_000n;
  }

  /** Only while no row of a transaction is counted whose others are not. */
  #take(): void {
    const acceptedAt = Date.now();
    const eventMinuteMs = acceptedAt - (acceptedAt % MINUTE_MS);
    for (const [table, now] of this.#now()) {
      const before = this.#before.get(table) ?? NOTHING;
      const events = now.events - before.events;
      const writes = this.#repeating ? undefined : difference(now, before);
      if (writes !== undefined) this.#add({ table, startsAt: new Date(this.#minuteMs), ...writes, events: 0 });
      if (events > 0) this.#add({ ...NOTHING, table, startsAt: new Date(eventMinuteMs), events });
      this.#before.set(table, now);
    }
    this.#options.writers.take(this.#minuteMs);
    const position =
      this.#last === undefined
        ? this.#taken.position
        : { epoch: this.#counted.epoch, timeline: this.#last.timeline, countedLsn: this.#last.commitLsn };
    this.#taken = { position, untilMs: this.#options.passedUntilMs() };
    this.#from.taken ??= this.#from.open;
    this.#from.open = undefined;
  }

  #now(): Map<string, Seen> {
    const seen = new Map<string, Seen>();
    for (const [table, counters] of this.#options.counters()) {
      const { legacy, foreign, echo, correction, trigger } = originsOf(counters);
      const events = counters.settled - counters.parked;
      seen.set(table, { legacy, reverse: echo + correction, trigger, foreign, events });
    }
    return seen;
  }

  #add(count: TrafficCount): void {
    const key = `${count.startsAt.getTime()} ${count.table}`;
    const before = this.#pending.get(key);
    this.#pending.set(key, before === undefined ? count : sum(before, count));
  }

  #limit(): void {
    const { open, taken, writing } = this.#from;
    this.#options.ledger.ceiling = writing ?? taken ?? open;
  }

  async #write(): Promise<void> {
    const { store, writers, onWritten, onHalt, signal } = this.#options;
    if (this.#pending.size === 0 && writers.size === 0) return;
    const counts = [...this.#pending.values()];
    const written = writers.drain();
    const { position, untilMs } = this.#taken;
    const after = this.#counted.version;
    this.#pending = new Map();
    this.#from.writing = this.#from.taken;
    this.#from.taken = undefined;
    try {
      const isOurs = await retry(() => store.add(counts, written, { ...position, after, untilMs }), {
        ...BACKOFF,
        signal,
        isRetriable,
      });
      if (!isOurs) throw new BanyanError('database-unavailable', 'another worker has counted changes of this stream');
    } catch (error) {
      if (!signal.aborted) onHalt(toBanyanError(error, 'storing the counts of changes'));
      throw error;
    }
    this.#counted = { ...position, version: after + 1 };
    this.#from.writing = undefined;
    this.#storedUntilMs = later(untilMs, this.#storedUntilMs);
    this.#limit();
    onWritten();
  }
}

/**
 * Where counting goes on. It begins anew where the slot was made after what is counted, or on another system: what happened in between is not known.
 */
export async function countedPosition(
  { traffic, slots }: Pick<State, 'traffic' | 'slots'>,
  { epoch, timelines }: { readonly epoch: number; readonly timelines: Timelines },
): Promise<StoredPosition> {
  const stored = await traffic.position();
  const created = (await slots.get())?.createdLsn ?? ZERO_LSN;
  // The first commit of a slot may stand where the slot was made.
  const before = (created > ZERO_LSN ? created - 1n : created) as Lsn;
  const timeline = timelineAt(timelines, created);
  const goesOn = stored?.epoch === epoch && !isBehind({ timeline, commitLsn: before }, stored);
  return goesOn ? stored : traffic.begin({ epoch, timeline, countedLsn: before });
}

/** Whether the transaction was committed after what is counted. */
function isBehind(
  { timeline, commitLsn }: Pick<TransactionHeader, 'timeline' | 'commitLsn'>,
  counted: CountedPosition,
): boolean {
  return timeline === counted.timeline ? commitLsn > counted.countedLsn : timeline > counted.timeline;
}

function difference(now: Seen, before: Seen): WriteCounts | undefined {
  const legacy = now.legacy - before.legacy;
  const reverse = now.reverse - before.reverse;
  const trigger = now.trigger - before.trigger;
  const foreign = now.foreign - before.foreign;
  return legacy + reverse + trigger + foreign === 0 ? undefined : { legacy, reverse, trigger, foreign };
}

function sum(a: TrafficCount, b: TrafficCount): TrafficCount {
  return {
    table: a.table,
    startsAt: a.startsAt,
    legacy: a.legacy + b.legacy,
    reverse: a.reverse + b.reverse,
    trigger: a.trigger + b.trigger,
    foreign: a.foreign + b.foreign,
    events: a.events + b.events,
  };
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}

function isRetriable(error: unknown): boolean {
  return error instanceof BanyanError && error.reaction === 'retry';
}
