import type { Logger } from 'pino';
import { MAX_RECEIVE, MAX_WAIT_SECONDS, type Queue, type QueueMessage } from '../bus/queue.ts';
import { type BanyanError, toBanyanError } from '../core/errors.ts';
import type { Problem } from '../core/status.ts';
import { Condition } from '../flow/condition.ts';
import { backoffMs, sleep } from '../flow/supervise.ts';
import { Deletions } from './deletions.ts';
import type { Delivery } from './delivery.ts';
import { Trouble } from './trouble.ts';

export interface ConsumerOptions {
  readonly queue: Queue;
  readonly visibilityMs: number;
  /** Messages in hand, and bytes of their bodies: beyond either nothing is received. */
  readonly highWater: { readonly messages: number; readonly bytes: number };
  /** Nothing is received meanwhile; what is in hand goes on. `resumed` tells of the end. */
  readonly isPaused: () => boolean;
  /** A message's turn has come; `done` or `giveBack` end it. Must not throw. */
  readonly take: (delivery: Delivery) => void;
  readonly log: Logger;
}

const RETRY = { baseMs: 250, maxMs: 20_000 };
/** Receives at a time while the queue is full: one alone is bounded by the round trip. */
const MAX_POLLERS = 4;
/** How long the further ones wait for a first message. */
const EXTRA_WAIT_SECONDS = 1;

/**
 * Receives messages, keeps those in hand invisible to others, deletes what is done. Of a FIFO queue only one message of a group has its turn at a
 * time, so that what holds one up holds its group, and no other.
 */
export class Consumer {
  readonly #receiving: Trouble;
  readonly #deleting: Trouble;
  readonly #options: ConsumerOptions;
  readonly #deletions: Deletions;
  readonly #hand = new Set<Delivery>();
  /** Of FIFO queues: those in hand, the first one has its turn. */
  readonly #groups = new Map<string, Delivery[]>();
  readonly #changed = new Condition();
  /** Of bodies, as the length of their text. */
  #bytes = 0;
  /** Messages that calls on their way may bring. */
  #expected = 0;
  /** The last answer was full: more may wait. */
  #isBusy = false;
  #received = 0;
  #extending: NodeJS.Timeout | undefined;

  constructor(options: ConsumerOptions) {
    this.#options = options;
    const { queue, log } = options;
    this.#receiving = new Trouble('the queue', log);
    this.#deleting = new Trouble('deletions from the queue', log);
    this.#deletions = new Deletions({ queue, trouble: this.#deleting, onGone: (gone) => this.#letGo(gone) });
  }

  get problem(): Problem | undefined {
    return this.#receiving.problem ?? this.#deleting.problem;
  }

  get inHand(): number {
    return this.#hand.size;
  }

  /** Messages received so far, repeats included. */
  get received(): number {
    return this.#received;
  }

  /** Receives until the signal aborts. Whatever goes wrong with the queue is said, and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    this.#extending ??= setInterval(() => void this.#extend(), this.#options.visibilityMs / 6);
    const pollers = Array.from({ length: MAX_POLLERS }, (_, index) => this.#poll(index === 0, signal));
    await Promise.all(pollers);
  }

  /** The message has had its effect: it is deleted, with others of about the same time. */
  done(delivery: Delivery): void {
    this.#nextOfGroup(delivery);
    this.#deletions.add(delivery);
  }

  /** What `isPaused` says has changed. */
  resumed(): void {
    this.#changed.changed();
  }

  /** Others may have these. */
  async giveBack(deliveries: readonly Delivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    // Nobody gets a later message of a group before the earlier ones: SQS keeps the group until all of them are visible.
    const failures = await this.#options.queue.release(deliveries.map(({ message }) => message));
    this.#letGo(deliveries);
    if (failures.length > 0) {
      const { kind, message } = failures[0]!.error;
      this.#options.log.info({ kind, messages: failures.length }, `not given back, they come again later: ${message}`);
    }
  }

  /** After `run`. Resolves when everything that is done is deleted, or at the signal; what is in hand then comes again. */
  async close(signal: AbortSignal): Promise<void> {
    await this.#deletions.drain(signal);
    clearInterval(this.#extending);
  }

  /** In hand, and not done. */
  unfinished(): Delivery[] {
    return [...this.#hand].filter((delivery) => !this.#deletions.has(delivery));
  }

  async #poll(isFirst: boolean, signal: AbortSignal): Promise<void> {
    const waitSeconds = isFirst ? MAX_WAIT_SECONDS : EXTRA_WAIT_SECONDS;
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#changed.wait(() => this.#room() > 0 && (isFirst || this.#isBusy), signal);
        const max = Math.min(MAX_RECEIVE, this.#room());
        // Another one may have taken the room in the meantime.
        if (max > 0) await this.#receive(max, { waitSeconds, signal });
        failures = 0;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = toBanyanError(thrown, 'receiving from the queue');
        this.#isBusy = false;
        // The room that it had is free: the first one may be waiting for it.
        this.#changed.changed();
        this.#receiving.met(error, failures);
        await sleep(waitAfter(error, failures), signal).catch(() => undefined);
        failures += 1;
      }
    }
  }

  async #receive(max: number, { waitSeconds, signal }: { waitSeconds: number; signal: AbortSignal }): Promise<void> {
    const { queue, visibilityMs, log } = this.#options;
    this.#expected += max;
    let messages: QueueMessage[];
    try {
      messages = await queue.receive({ max, waitSeconds, visibilitySeconds: Math.ceil(visibilityMs / 1_000) }, signal);
    } finally {
      this.#expected -= max;
    }
    this.#receiving.over();
    this.#isBusy = messages.length > max / 2;
    this.#received += messages.length;
    for (const message of messages) {
      if (message.receives > 1) log.debug({ message: message.id, receives: message.receives }, 'received again');
      const delivery: Delivery = { message, ownedUntilMs: performance.now() + visibilityMs };
      this.#hand.add(delivery);
      this.#bytes += message.body.length;
      this.#begin(delivery);
    }
    this.#changed.changed();
  }

  #room(): number {
    const { highWater, isPaused } = this.#options;
    if (isPaused()) return 0;
    if (this.#bytes >= highWater.bytes) return 0;
    return highWater.messages - this.#hand.size - this.#expected;
  }

  #begin(delivery: Delivery): void {
    const { group } = delivery.message;
    if (group !== undefined) {
      const waiting = this.#groups.get(group);
      if (waiting !== undefined) {
        waiting.push(delivery);
        return;
      }
      this.#groups.set(group, [delivery]);
    }
    this.#options.take(delivery);
  }

  #nextOfGroup({ message: { group } }: Delivery): void {
    if (group === undefined) return;
    const waiting = this.#groups.get(group) ?? [];
    waiting.shift();
    const [next] = waiting;
    if (next === undefined) this.#groups.delete(group);
    else this.#options.take(next);
  }

  #letGo(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) if (this.#hand.delete(delivery)) this.#bytes -= delivery.message.body.length;
    this.#changed.changed();
  }

  /** Those with less than two thirds of their time left. What fails has three more chances before it is visible again; then it is a duplicate. */
  async #extend(): Promise<void> {
    const { queue, visibilityMs } = this.#options;
    const now = performance.now();
    const due = [...this.#hand].filter(({ ownedUntilMs }) => ownedUntilMs - now < (visibilityMs * 2) / 3);
    if (due.length === 0) return;
    const failures = await queue.extend(
      due.map(({ message }) => message),
      Math.ceil(visibilityMs / 1_000),
    );
    const failed = new Set(failures.filter(({ isLost }) => !isLost).map(({ message }) => message));
    // One that is lost comes again; asking for it once more would change nothing.
    for (const delivery of due) if (!failed.has(delivery.message)) delivery.ownedUntilMs = now + visibilityMs;
    const [first] = failures;
    if (first !== undefined) this.#receiving.met(first.error, 0);
  }
}

/** What a person must mend is asked about less often. */
export function waitAfter(error: BanyanError, failures: number): number {
  return Math.max(error.reaction === 'retry' ? 0 : 1_000, backoffMs(failures, RETRY));
}
