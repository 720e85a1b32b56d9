import PQueue from 'p-queue';
import type { Logger } from 'pino';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { Batcher } from '../flow/batch.ts';
import { AdaptiveRate } from '../flow/rate.ts';
import { type Backoff, backoffMs, sleep } from '../flow/supervise.ts';
import type { BusHealth } from './health.ts';
import type { Outcome, Publisher } from './publisher.ts';
import { type Rejected, verdictOf } from './verdict.ts';

/** Anything that carries an event to the bus. */
export interface Outgoing {
  readonly event: Event;
}

export interface SenderOptions<T extends Outgoing> {
  readonly publisher: Publisher;
  /** Calls in flight. */
  readonly concurrency: number;
  readonly lingerMs: number;
  readonly maxEntries: number;
  readonly maxRequestBytes: number;
  readonly health: BusHealth;
  readonly onAccepted: (items: readonly T[]) => void;
  /** The event's own fault: the same again would be refused again. */
  readonly onRejected: (rejected: readonly Rejected<T>[]) => void;
  /** Between attempts after an error that needs nobody. */
  readonly retryBackoff: Backoff;
  /** Between probes while the set-up is at fault. */
  readonly probeBackoff: Backoff;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** From this many failed attempts on, a retry is worth a warning: it lasts for seconds. */
const ATTEMPTS_BEFORE_WARNING = 5;

/**
 * Sends whatever it is offered, in batches, several calls at a time, until each item is accepted or rejected for its own fault. It knows no
 * order: whoever offers an item has made sure that nothing else of its key is on the way.
 *
 * p-queue bounds the calls. A task is a *hand*, which takes batch after batch and rests while there is none: the cost of a task, which is that of
 * mapping several rows, is paid once and not once per request.
 */
export class Sender<T extends Outgoing> {
  readonly #options: SenderOptions<T>;
  readonly #batcher: Batcher<T>;
  readonly #hands: PQueue;
  /** Gives its next batch to a hand that rests, or sends it home. */
  readonly #resting: ((batch: T[] | undefined) => void)[] = [];
  readonly #rate = new AdaptiveRate();
  /** Failed attempts, of items that failed at all. */
  readonly #attempts = new Map<T, number>();
  /** Items that failed by a fault of the set-up: the first to go when it is mended. */
  #blocked: T[] = [];
  #mending: Promise<void> | undefined;
  #lookAgain: NodeJS.Immediate | undefined;
  #inFlight = 0;
  #counters = { accepted: 0, retried: 0, throttled: 0, requests: 0 };

  constructor(options: SenderOptions<T>) {
    this.#options = options;
    this.#hands = new PQueue({ concurrency: options.concurrency });
    this.#batcher = new Batcher<T>({
      maxEntries: options.maxEntries,
      maxBytes: options.maxRequestBytes,
      lingerMs: options.lingerMs,
      sizeOf: sizeOfItem,
      keyOf: busOfItem,
      onDue: () => this.#pump(),
    });
  }

  get counters() {
    return { ...this.#counters, inFlight: this.#inFlight, rateLimit: this.#rate.limit };
  }

  offer(item: T): void {
    const { sizeBytes } = item.event;
    if (sizeBytes > this.#options.maxRequestBytes) {
      this.#options.onRejected([{ item, error: tooLarge(sizeBytes, this.#options.maxRequestBytes) }]);
    } else if (this.#batcher.add(item)) {
      this.#pump();
    } else if (this.#inFlight === 0) {
      // Nothing is on the way, so waiting for more gains nothing once the input that is at hand has been read.
      this.#lookAgain ??= setImmediate(() => {
        this.#lookAgain = undefined;
        this.#pump();
      });
    }
  }

  /** After the signal has aborted: resolves when no call is under way any more. */
  async ended(): Promise<void> {
    this.#batcher.close();
    clearImmediate(this.#lookAgain);
    for (const wake of this.#resting.splice(0)) wake(undefined);
    await this.#hands.onIdle();
    await this.#mending;
  }

  /** The set-up was seen to be at fault by other means than sending: nothing is sent until a probe says otherwise. */
  suspend(error: BanyanError): void {
    if (this.#options.health.state === 'sending') this.#block([], error);
  }

  #pump(): void {
    while (this.#resting.length > 0 || this.#hands.pending + this.#hands.size < this.#options.concurrency) {
      const batch = this.#nextBatch();
      if (batch === undefined) return;
      const wake = this.#resting.pop();
      if (wake !== undefined) {
        wake(batch);
        continue;
      }
      this.#hands
        .add(() => this.#work(batch))
        .catch((error: unknown) => this.#options.health.halt(toBanyanError(error, 'handling the answer of the bus')));
    }
  }

  async #work(first: T[]): Promise<void> {
    for (let batch: T[] | undefined = first; batch !== undefined; batch = this.#nextBatch() ?? (await this.#rest())) {
      const outcomes = await this.#call(batch, 'sending');
      if (outcomes !== undefined) this.#judge(batch, outcomes);
    }
  }

  #rest(): Promise<T[] | undefined> {
    if (this.#options.signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => this.#resting.push(resolve));
  }

  /**
   * Counts as in flight from here on. A batch that is not full waits its time only while other calls are under way: then their answers are not
   * late by it.
   */
  #nextBatch(): T[] | undefined {
    if (this.#options.health.state !== 'sending' || this.#options.signal.aborted) return undefined;
    const batch = this.#inFlight === 0 ? this.#batcher.takeAny() : this.#batcher.take();
    if (batch !== undefined) this.#inFlight += 1;
    return batch;
  }

  /**
   * One request, counted as in flight already, and made in this state. undefined: it was not made since the state has changed, or ended by the stop; its items are blocked, or
   * stay unsettled.
   */
  async #call(batch: readonly T[], state: 'sending' | 'waiting'): Promise<readonly Outcome[] | undefined> {
    const { publisher, signal, health } = this.#options;
    try {
      const waitMs = this.#rate.reserveMs();
      if (waitMs > 0) {
        await sleep(waitMs, signal);
        if (health.state !== state && health.state !== 'sending') {
          if (health.state === 'waiting') this.#blocked.push(...batch);
          return undefined;
        }
      }
      this.#counters.requests += 1;
      const outcomes = await publisher.publish(batch.map(eventOfItem), signal);
      if (signal.aborted) return undefined;
      if (outcomes.length === batch.length) return outcomes;
      throw new BanyanError('unknown', `the bus answered ${outcomes.length} outcomes for ${batch.length} events`);
    } catch (error) {
      if (!signal.aborted) health.halt(toBanyanError(error, 'sending events'));
      return undefined;
    } finally {
      this.#inFlight -= 1;
    }
  }

  #judge(batch: readonly T[], outcomes: readonly Outcome[]): void {
    const { health, onAccepted, onRejected } = this.#options;
    const verdict = verdictOf(batch, outcomes);
    const { accepted, rejected, throttled } = verdict;
    if (throttled > 0) this.#rate.throttled();
    else this.#rate.succeeded();
    this.#counters.throttled += throttled;
    this.#counters.accepted += accepted.length;
    if (verdict.haltError !== undefined) health.halt(verdict.haltError);
    if (verdict.retryError !== undefined) void this.#sendLater(verdict.again, verdict.retryError);
    if (verdict.waitError !== undefined) this.#block(verdict.blocked, verdict.waitError);
    if (accepted.length > 0) {
      this.#forget(accepted);
      onAccepted(accepted);
    }
    if (rejected.length > 0) {
      this.#forget(rejected.map(({ item }) => item));
      onRejected(rejected);
    }
  }

  #forget(items: readonly T[]): void {
    if (this.#attempts.size === 0) return;
    for (const item of items) this.#attempts.delete(item);
  }

  async #sendLater(items: readonly T[], error: BanyanError): Promise<void> {
    const { signal, log, retryBackoff } = this.#options;
    let attempt = 0;
    for (const item of items) {
      const attempts = this.#attempts.get(item) ?? 0;
      this.#attempts.set(item, attempts + 1);
      attempt = Math.max(attempt, attempts);
    }
    const waitMs = backoffMs(attempt, retryBackoff);
    const facts = { kind: error.kind, code: error.code, entries: items.length, attempt, waitMs: Math.round(waitMs) };
    if (attempt >= ATTEMPTS_BEFORE_WARNING)
      log.warn(facts, `entries keep failing, sending them again: ${error.message}`);
    else log.info(facts, `entries failed, sending them again: ${error.message}`);
    try {
      await sleep(waitMs, signal);
    } catch {
      // Stopped meanwhile: the items stay unsettled, and come again after the next start.
      return;
    }
    this.#counters.retried += items.length;
    for (const item of items) this.offer(item);
  }

  #block(items: readonly T[], error: BanyanError): void {
    this.#blocked.push(...items);
    this.#options.health.wait(error);
    this.#mending ??= this.#mend();
  }

  /** Probes until the bus is there again, then sends what was blocked, and only when all of that was judged lets the rest go on. */
  async #mend(): Promise<void> {
    const { health, probeBackoff, signal } = this.#options;
    try {
      for (let attempt = 0; health.state === 'waiting'; attempt += 1) {
        await sleep(backoffMs(attempt, probeBackoff), signal);
        if (!(await this.#probe()) || !(await this.#sendBlocked()) || this.#inFlight > 0) continue;
        // In one turn, so that a fault that comes back finds nobody mending.
        this.#mending = undefined;
        health.resume();
        this.#pump();
        return;
      }
    } catch (error) {
      if (!signal.aborted) health.halt(toBanyanError(error, 'waiting for the bus'));
    }
  }

  /** Returns whether nothing is blocked any more. */
  async #sendBlocked(): Promise<boolean> {
    while (this.#blocked.length > 0) {
      if (this.#options.health.state !== 'waiting') return false;
      const trial = this.#takeBlocked();
      this.#inFlight += 1;
      const outcomes = await this.#call(trial, 'waiting');
      if (outcomes === undefined) return false;
      this.#judge(trial, outcomes);
      if (outcomes.some((outcome) => outcome.status === 'rejected' && outcome.error.reaction === 'wait')) return false;
    }
    return true;
  }

  async #probe(): Promise<boolean> {
    const { publisher, health, signal } = this.#options;
    try {
      await publisher.probe(signal);
      return true;
    } catch (error) {
      if (!signal.aborted) health.wait(toBanyanError(error, 'probing the bus'));
      return false;
    }
  }

  /** Blocked items that may share a request. */
  #takeBlocked(): T[] {
    const { maxEntries, maxRequestBytes } = this.#options;
    const batch: T[] = [];
    const rest: T[] = [];
    let bytes = 0;
    for (const item of this.#blocked) {
      const fits =
        batch.length < maxEntries &&
        bytes + item.event.sizeBytes <= maxRequestBytes &&
        (batch[0] === undefined || batch[0].event.bus === item.event.bus);
      if (fits) bytes += item.event.sizeBytes;
      (fits ? batch : rest).push(item);
    }
    this.#blocked = rest;
    return batch;
  }
}

function sizeOfItem(item: Outgoing): number {
  return item.event.sizeBytes;
}

function busOfItem(item: Outgoing): string | undefined {
  return item.event.bus;
}

function eventOfItem(item: Outgoing): Event {
  return item.event;
}

function tooLarge(sizeBytes: number, maxRequestBytes: number): BanyanError {
  return new BanyanError('event-too-large', `the event has ${sizeBytes} bytes, a request at most ${maxRequestBytes}`, {
    context: { sizeBytes, maxRequestBytes },
  });
}
