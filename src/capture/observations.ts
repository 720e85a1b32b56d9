import { BanyanError, toBanyanError } from '../core/errors.ts';
import { retry } from '../flow/supervise.ts';
import type { InboxStore, Observation } from '../state/inbox.ts';
import type { LegacyChange, LegacyChangeStore } from '../state/legacy-changes.ts';

export interface ObservationsOptions {
  readonly inbox: Pick<InboxStore, 'observe'>;
  readonly legacyChanges: Pick<LegacyChangeStore, 'record'>;
  /** Default: about a second. */
  readonly intervalMs?: number;
  /** After something was written: the stream's position may have moved. */
  readonly onWritten: () => void;
  /** Called with what keeps it from being written for good. */
  readonly onHalt: (error: BanyanError) => void;
  readonly signal: AbortSignal;
}

const INTERVAL_MS = 1_000;
const HIGH_WATER = 20_000;
const ROWS_PER_WRITE = 2_000;
const BACKOFF = { baseMs: 200, maxMs: 10_000 };

/**
 * What reverse sync is to know of the stream: which of its writes were seen, and when each row was last changed by somebody else. Written in batches. A
 * transaction is not confirmed before: after a crash the stream shows again what was not written.
 */
export class Observations {
  readonly #options: ObservationsOptions;
  #echoes = new Map<string, Observation>();
  #changes = new Map<string, LegacyChange>();
  #settles: (() => void)[] = [];
  /** Of what is held back now, the newest. */
  #heldFor: object | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: ObservationsOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => clearTimeout(this.#timer), { once: true });
  }

  get hasRoom(): boolean {
    return this.#echoes.size + this.#changes.size < HIGH_WATER;
  }

  /** @param hold keeps the stream's position before the transaction, until what it returns is called */
  addEcho(observation: Observation, transaction: object, hold: () => () => void): void {
    this.#echoes.set(JSON.stringify([observation.producer, observation.eventId]), observation);
    this.#keep(transaction, hold);
  }

  /** In the order of the stream: the last change of a key counts. */
  addChanges(changes: readonly LegacyChange[], transaction: object, hold: () => () => void): void {
    for (const change of changes) this.#changes.set(JSON.stringify([change.table, change.key]), change);
    if (changes.length > 0) this.#keep(transaction, hold);
  }

  /** Resolves when all that was added before is written. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  #keep(transaction: object, hold: () => () => void): void {
    if (transaction !== this.#heldFor) {
      this.#heldFor = transaction;
      this.#settles.push(hold());
    }
    this.#timer ??= setTimeout(() => {
      // What goes wrong has been told already.
      this.flush().catch(() => undefined);
    }, this.#options.intervalMs ?? INTERVAL_MS);
  }

  async #write(): Promise<void> {
    const { inbox, legacyChanges, onWritten, onHalt, signal } = this.#options;
    if (this.#settles.length === 0) return;
    const echoes = [...this.#echoes.values()];
    const changes = [...this.#changes.values()];
    const settles = this.#settles;
    this.#echoes = new Map();
    this.#changes = new Map();
    this.#settles = [];
    this.#heldFor = undefined;
    const persistently = (task: () => Promise<void>) => retry(task, { ...BACKOFF, signal, isRetriable });
    try {
      for (const some of parts(changes)) await persistently(() => legacyChanges.record(some));
      for (const some of parts(echoes)) await persistently(() => inbox.observe(some));
    } catch (error) {
      if (!signal.aborted) onHalt(toBanyanError(error, 'writing down what the stream shows of reverse sync'));
      throw error;
    }
    for (const settle of settles) settle();
    onWritten();
  }
}

function parts<T>(items: readonly T[]): T[][] {
  const count = Math.ceil(items.length / ROWS_PER_WRITE);
  return Array.from({ length: count }, (_, part) => items.slice(part * ROWS_PER_WRITE, (part + 1) * ROWS_PER_WRITE));
}

function isRetriable(error: unknown): boolean {
  return error instanceof BanyanError && error.reaction === 'retry';
}
