import type { Logger } from 'pino';
import type { TableChange } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import { idPrefix, idSuffix, sequencePrefix, sequenceSuffix, type StreamIdentity } from '../core/event.ts';
import type { Problem } from '../core/status.ts';
import { retry } from '../flow/supervise.ts';
import type { State } from '../state/state.ts';
import { heldGroup, type NewDeadLetter } from '../state/dead-letters.ts';
import type { Routes } from './routes.ts';

/** How much of one table may be set aside before the worker halts instead. */
export interface HoldLimit {
  readonly rows: number;
  readonly bytes: number;
}

export interface HoldingOptions {
  readonly state: State;
  readonly routes: Routes;
  readonly identity: StreamIdentity;
  /** The raw change as JSON text for each capture entry of its table: excluded columns left out, masked ones masked. */
  readonly serialize: (change: TableChange) => readonly { readonly entry: number; readonly text: string }[];
  readonly limitOf: (table: string) => HoldLimit;
  /** Called once with the error that a person must act on; held changes that are not stored stay unconfirmed. */
  readonly onHalt: (error: BanyanError) => void;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

const LETTERS_PER_WRITE = 500;
const HIGH_WATER = 2_000;
const BACKOFF = { baseMs: 200, maxMs: 10_000 };

interface Held {
  readonly table: string;
  readonly letters: readonly NewDeadLetter[];
  readonly settled: () => void;
}

/**
 * Sets the raw changes of held tables aside, in order, so that a mapping that can not go on loses nothing and stops no other table.
 * They are letters of the group `table:<name>`, mapped when `redrive` takes them out again.
 */
export class Holding {
  readonly #options: HoldingOptions;
  readonly #used = new Map<string, { rows: number; bytes: number }>();
  readonly #queuedByTable = new Map<string, number>();
  /** Changes ever set aside in this session, by table. */
  readonly #added = new Map<string, number>();
  #queue: Held[] = [];
  #isWriting = false;
  #waiters: (() => void)[] = [];

  constructor(options: HoldingOptions) {
    this.#options = options;
  }

  get hasRoom(): boolean {
    return this.#queue.length < HIGH_WATER;
  }

  async room(signal: AbortSignal): Promise<void> {
    while (!this.hasRoom && !signal.aborted) await this.#written(signal);
    signal.throwIfAborted();
  }

  /** Holds a table from its next change on; remembered across restarts. */
  async hold(table: string, error: BanyanError): Promise<void> {
    const { state, routes, log } = this.#options;
    if (routes.heldReason(table) !== undefined) return;
    const problem: Problem = {
      kind: error.kind,
      message: error.message,
      remedy: error.remedy,
      since: new Date().toISOString(),
    };
    routes.hold(table, problem);
    log.error({ table, kind: error.kind, remedy: error.remedy }, `table held: ${error.message}`);
    await state.held.set(table, problem);
  }

  add(change: TableChange, to: { table: string; settled: () => void }): void {
    const letters = this.#letters(change, to.table);
    for (const letter of letters) this.#spend(to.table, letter);
    this.#added.set(to.table, this.addedTo(to.table) + 1);
    this.#queue.push({ table: to.table, letters, settled: to.settled });
    this.#queuedByTable.set(to.table, (this.#queuedByTable.get(to.table) ?? 0) + 1);
    if (this.#isWriting) return;
    this.#isWriting = true;
    void this.#write();
  }

  /** Whether a change of the table is on its way into the store: the table is not released meanwhile. */
  isWriting(table: string): boolean {
    return (this.#queuedByTable.get(table) ?? 0) > 0;
  }

  /** Grows with every change that is set aside: unchanged over a read of the store means that the read has seen them all. */
  addedTo(table: string): number {
    return this.#added.get(table) ?? 0;
  }

  /** What is set aside already, from the store: counts against the limit. */
  account(table: string, used: { rows: number; bytes: number }): void {
    this.#used.set(table, { ...used });
  }

  async #write(): Promise<void> {
    const { state, signal, onHalt } = this.#options;
    try {
      while (this.#queue.length > 0 && !signal.aborted) {
        const batch = this.#queue.slice(0, LETTERS_PER_WRITE);
        await retry(() => state.deadLetters.park(batch.flatMap(({ letters }) => letters)), {
          ...BACKOFF,
          signal,
          isRetriable,
        });
        this.#queue = this.#queue.slice(batch.length);
        for (const { table, settled } of batch) {
          this.#queuedByTable.set(table, (this.#queuedByTable.get(table) ?? 1) - 1);
          settled();
        }
        this.#wake();
      }
    } catch (error) {
      if (!signal.aborted)
        onHalt(
          error instanceof BanyanError
            ? error
            : new BanyanError('unknown', 'storing held changes failed', { cause: error }),
        );
    } finally {
      this.#isWriting = false;
      this.#wake();
    }
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  async #written(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
      this.#waiters.push(done);
    });
  }

  #spend(table: string, letter: NewDeadLetter): void {
    const used = this.#used.get(table) ?? { rows: 0, bytes: 0 };
    used.rows += 1;
    used.bytes += Buffer.byteLength(letter.change ?? '');
    this.#used.set(table, used);
    const limit = this.#options.limitOf(table);
    if (used.rows <= limit.rows && used.bytes <= limit.bytes) return;
    throw new BanyanError(
      'hold-limit',
      `${table} is held and more than its holdLimit (${limit.rows} rows, ${limit.bytes} bytes) would be set aside`,
      { context: { table, rows: used.rows, bytes: used.bytes } },
    );
  }

  #letters(change: TableChange, table: string): NewDeadLetter[] {
    const { identity, routes, serialize } = this.#options;
    const reason = routes.heldReason(table);
    return serialize(change).map(({ entry, text }) => ({
      // Not the id that its events will have: one of them may be parked for itself when the table is redriven.
      eventId: `held:${idPrefix(identity, change.transaction)}${idSuffix(change.ordinal, 0)}`,
      sequence: `${sequencePrefix(identity, change.transaction)}${sequenceSuffix(change.ordinal, 0)}`,
      entry,
      group: heldGroup(table),
      previousGroup: undefined,
      table,
      kind: reason?.kind ?? 'schema-drift',
      code: undefined,
      message: reason?.message ?? 'the table is held',
      behind: true,
      event: undefined,
      change: text,
    }));
  }
}

function isRetriable(error: unknown): boolean {
  return error instanceof BanyanError && error.reaction === 'retry';
}
