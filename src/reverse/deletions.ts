import type { MessageFailure, Queue } from '../bus/queue.ts';
import { Condition } from '../flow/condition.ts';
import { backoffMs } from '../flow/supervise.ts';
import type { Delivery } from './delivery.ts';
import type { Trouble } from './trouble.ts';

export interface DeletionsOptions {
  readonly queue: Pick<Queue, 'delete'>;
  readonly trouble: Trouble;
  /** Deleted, or out of our hands. */
  readonly onGone: (deliveries: readonly Delivery[]) => void;
}

/** A call is billed whatever it holds: a moment's wait fills it. */
const LINGER_MS = 10;
const BATCH = 10;
const RETRY = { baseMs: 100, maxMs: 10_000 };

/**
 * Deletes messages that are done, ten in a call. One that can not be deleted is tried until it is: meanwhile it stays in hand, so that it is not
 * delivered again, and takes up room, so that a queue that refuses deletions is not read on for ever.
 */
export class Deletions {
  readonly #options: DeletionsOptions;
  /** With the deletions that failed so far. */
  readonly #pending = new Map<Delivery, number>();
  #batch: Delivery[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #changed = new Condition();
  #isStopped = false;

  constructor(options: DeletionsOptions) {
    this.#options = options;
  }

  has(delivery: Delivery): boolean {
    return this.#pending.has(delivery);
  }

  add(delivery: Delivery): void {
    if (!this.#pending.has(delivery)) this.#pending.set(delivery, 0);
    this.#batch.push(delivery);
    if (this.#batch.length >= BATCH || this.#isStopped) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), LINGER_MS);
  }

  /** Resolves when nothing is left to delete; at the signal with what is left, which then comes again. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isStopped = true;
    this.#flush();
    await this.#changed.wait(() => this.#pending.size === 0, signal).catch(() => undefined);
    if (this.#pending.size > 0) this.#pending.clear();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#batch;
    this.#batch = [];
    if (batch.length > 0) void this.#delete(batch);
  }

  async #delete(batch: readonly Delivery[]): Promise<void> {
    const { queue, trouble, onGone } = this.#options;
    const failures = await queue.delete(batch.map(({ message }) => message));
    const failed = new Map(failures.map((failure) => [failure.message, failure]));
    const gone = batch.filter(({ message }) => failed.get(message)?.isLost ?? true);
    for (const delivery of gone) this.#pending.delete(delivery);
    onGone(gone);
    this.#changed.changed();
    for (const delivery of batch) {
      const failure = failed.get(delivery.message);
      if (failure !== undefined && !failure.isLost) this.#again(delivery, failure);
    }
    if (failures.length === 0) trouble.over();
  }

  #again(delivery: Delivery, { error }: MessageFailure): void {
    const failures = this.#pending.get(delivery);
    // Given up by a stop.
    if (failures === undefined) return;
    this.#options.trouble.met(error, failures);
    this.#pending.set(delivery, failures + 1);
    const waitMs = Math.max(error.reaction === 'retry' ? 0 : 1_000, backoffMs(failures, RETRY));
    setTimeout(() => {
      if (this.#pending.has(delivery)) this.add(delivery);
    }, waitMs);
  }
}
