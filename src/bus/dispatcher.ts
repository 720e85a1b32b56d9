import type { Logger } from 'pino';
import { type BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import type { WorkerStatus } from '../core/status.ts';
import { Condition } from '../flow/condition.ts';
import { type LaneItem, Lanes } from '../flow/lanes.ts';
import { abortReason, type Backoff, retry } from '../flow/supervise.ts';
import { BusHealth } from './health.ts';
import { JobItem, type LaneJob } from './job.ts';
import { Parker, type ParkItem } from './parker.ts';
import { ACCEPTED, type Outcome, type Publisher } from './publisher.ts';
import { type HighWater, Room } from './room.ts';
import { Sender } from './sender.ts';

/** One event on its way, with whatever its owner needs to know when it is settled or parked. */
export interface Delivery extends LaneItem {
  readonly event: Event;
}

export interface DispatcherOptions<D extends Delivery> {
  readonly publisher: Publisher;
  /** PutEvents calls in flight. */
  readonly concurrency: number;
  readonly lingerMs: number;
  readonly maxEntries: number;
  readonly maxRequestBytes: number;
  /** Whether something of this group is parked already: later events of it go behind. Asked when an event's turn has come. */
  readonly isParked: (group: string) => boolean;
  /** Sets events aside, in this order. Durable when it resolves; called again with the same ones after an error that retries. */
  readonly park: (items: readonly ParkItem<D>[]) => Promise<unknown>;
  /** Exactly once for each delivery: accepted by the bus, or durably parked. */
  readonly onSettled: (deliveries: readonly D[], how: 'accepted' | 'parked') => void;
  /** Deliveries on their way at which `hasRoom` becomes false; true again at half of it. */
  readonly highWater: HighWater;
  readonly maxParkedPerMinute: number;
  /** Called once, when nothing will be sent any more until a person acts. */
  readonly onHalt?: (error: BanyanError) => void;
  readonly backoff?: { readonly retry: Backoff; readonly probe: Backoff };
  readonly log: Logger;
}

/** Retries start well below a second, since most failures of a bus are over by then; probes wait for a person. */
const BACKOFF = { retry: { baseMs: 50, maxMs: 10_000 }, probe: { baseMs: 500, maxMs: 15_000 } } as const;

const DOING_JOB = 'a job of a key';

/** An event that is sent outside of the lanes, by whoever holds its key. */
class LooseEvent {
  readonly event: Event;
  readonly resolve: (outcome: Outcome) => void;

  constructor(event: Event, resolve: (outcome: Outcome) => void) {
    this.event = event;
    this.resolve = resolve;
  }
}

/**
 * From the mapper to the bus: takes deliveries in order, sends them in batches with one event of a key in flight at a time, and settles each
 * once. The reaction of an error (`core/errors.ts`) decides what becomes of an event: it is sent again while its key waits, parked, or it stops
 * everything until the set-up is mended or a person acts.
 */
export class Dispatcher<D extends Delivery> {
  readonly #options: DispatcherOptions<D>;
  readonly #lanes: Lanes<D | JobItem>;
  readonly #room: Room;
  readonly #health: BusHealth;
  readonly #sender: Sender<D | LooseEvent>;
  readonly #parker: Parker<D>;
  readonly #abort = new AbortController();
  /** For those who wait in `drain`. */
  readonly #drained = new Condition();
  readonly #quietItems: number;
  /** Followers of a delivery that is being parked, in the same call: they are settled with it, so that their turn calls for nothing. */
  readonly #following = new Set<D>();
  readonly #jobs = new Set<Promise<void>>();

  constructor(options: DispatcherOptions<D>) {
    this.#options = options;
    const { signal } = this.#abort;
    const { log } = options;
    const backoff = options.backoff ?? BACKOFF;
    // Every call full once, and as much again to follow.
    this.#quietItems = 2 * options.concurrency * options.maxEntries;
    this.#room = new Room(options.highWater);
    this.#health = new BusHealth(log, (error) => this.#onHalt(error));
    this.#lanes = new Lanes((item) => this.#onReady(item));
    this.#parker = new Parker<D>({
      park: async (items) => {
        await options.park(items);
      },
      isBehind: ({ event }) => this.#isBehindParked(event),
      onFree: (delivery) => this.#sender.offer(delivery),
      followerOf: (delivery) => this.#takeFollower(delivery),
      maxParkedPerMinute: options.maxParkedPerMinute,
      onParked: (deliveries) => this.#settle(deliveries, 'parked'),
      onHalt: (error) => this.#health.halt(error),
      backoff: backoff.retry,
      signal,
      log,
    });
    this.#sender = new Sender<D | LooseEvent>({
      publisher: options.publisher,
      concurrency: options.concurrency,
      lingerMs: options.lingerMs,
      maxEntries: options.maxEntries,
      maxRequestBytes: options.maxRequestBytes,
      health: this.#health,
      onAccepted: (items) => this.#onAccepted(items),
      onRejected: (rejected) => {
        for (const { item, error } of rejected) {
          if (item instanceof LooseEvent) item.resolve({ status: 'rejected', error });
          else this.#parker.add(item, error);
        }
      },
      retryBackoff: backoff.retry,
      probeBackoff: backoff.probe,
      signal,
      log,
    });
  }

  /** Takes a delivery in any case; the caller looks at `hasRoom` now and then. */
  submit(delivery: D): void {
    this.#room.enter(delivery.event.sizeBytes);
    this.#lanes.add(delivery);
  }

  /** Takes its turn like a delivery, and counts as one in `hasRoom`. */
  submitJob(job: LaneJob): void {
    this.#room.enter(0);
    this.#lanes.add(new JobItem(job));
  }

  /**
   * Sends one event outside of the lanes, for who knows that nothing else of its key is on the way. Resolves when it is accepted, or rejected
   * for its own fault. Rejects only when the signal aborts or the dispatcher stops; the bus may have the event then, or get it still. A drain does
   * not wait for it, since whoever sends it has it stored and sends it again.
   */
  send(event: Event, signal: AbortSignal): Promise<Outcome> {
    return this.#orAborted(signal, (resolve) => this.#sender.offer(new LooseEvent(event, resolve)));
  }

  /** Resolves when everything of the fence that was submitted so far is settled; rejects when the signal aborts or the dispatcher stops. */
  passed(fence: string, signal: AbortSignal): Promise<void> {
    return this.#orAborted(signal, (resolve) =>
      this.submitJob({ lane: undefined, fence, exclusive: true, run: async () => resolve() }),
    );
  }

  /** Somebody saw that the set-up is at fault: nothing is sent until the publisher's probe says that it is mended. */
  suspend(error: BanyanError): void {
    this.#sender.suspend(error);
  }

  /** Whether so little is on its way that what comes next waits for next to nothing: for work that must not hold up others. */
  get isQuiet(): boolean {
    return this.#lanes.size < this.#quietItems;
  }

  /** Resolves when it is quiet; rejects when the signal aborts or the dispatcher stops. */
  async quiet(signal: AbortSignal): Promise<void> {
    await this.#drained.wait(() => this.isQuiet, signal);
  }

  get hasRoom(): boolean {
    return this.#room.hasRoom;
  }

  /** Resolves when there is room; rejects when the signal aborts or the dispatcher stops. */
  room(signal: AbortSignal): Promise<void> {
    return this.#room.wait(signal);
  }

  /** Resolves when everything that was submitted is settled; rejects when the signal aborts, and when a halt makes that impossible. */
  async drain(signal: AbortSignal): Promise<void> {
    if (this.#health.haltedBy !== undefined && !this.#isEmpty()) throw this.#health.haltedBy;
    await this.#drained.wait(() => this.#isEmpty(), signal);
  }

  get status(): Omit<WorkerStatus['bus'], 'type' | 'name'> & { readonly problem: WorkerStatus['problem'] } {
    const { accepted, retried, throttled, requests, inFlight, rateLimit } = this.#sender.counters;
    const { state, problem } = this.#health;
    return { state, problem, accepted, retried, throttled, requests, inFlight, queued: this.#lanes.size, rateLimit };
  }

  /** Ends calls in flight; nothing is settled or parked after it resolves. What was not settled stays so. */
  async stop(): Promise<void> {
    this.#abort.abort(stopped());
    this.#room.close(stopped());
    this.#drained.fail(stopped());
    await this.#sender.ended();
    await this.#parker.idle();
    await Promise.all(this.#jobs);
  }

  /** Called by the lanes, also from within `settle`: must not settle before it returns. */
  #onReady(item: D | JobItem): void {
    if (item instanceof JobItem) {
      this.#startJob(item);
    } else if (this.#following.size > 0 && this.#following.delete(item)) {
      // Parked already: `#settle` comes to it next.
    } else if (this.#isBehindParked(item.event)) {
      this.#parker.add(item, undefined);
    } else {
      this.#sender.offer(item);
    }
  }

  #takeFollower(delivery: D): D | undefined {
    const follower = this.#lanes.soleFollower(delivery);
    if (follower === undefined || follower instanceof JobItem) return undefined;
    this.#following.add(follower);
    return follower;
  }

  #isBehindParked({ group, previousGroup }: Event): boolean {
    const { isParked } = this.#options;
    return (group !== undefined && isParked(group)) || (previousGroup !== undefined && isParked(previousGroup));
  }

  #onAccepted(items: readonly (D | LooseEvent)[]): void {
    const deliveries: D[] = [];
    for (const item of items) {
      if (item instanceof LooseEvent) item.resolve(ACCEPTED);
      else deliveries.push(item);
    }
    if (deliveries.length > 0) this.#settle(deliveries, 'accepted');
  }

  #settle(deliveries: readonly D[], how: 'accepted' | 'parked'): void {
    if (this.#abort.signal.aborted) return;
    this.#options.onSettled(deliveries, how);
    let bytes = 0;
    for (const delivery of deliveries) {
      bytes += delivery.event.sizeBytes;
      this.#lanes.settle(delivery);
    }
    this.#room.leave(deliveries.length, bytes);
    this.#drained.changed();
  }

  #startJob(item: JobItem): void {
    const { job } = item;
    if (job.parks !== undefined && !this.#parker.admit(job.parks)) return;
    const running = this.#runJob(item);
    this.#jobs.add(running);
    void running.finally(() => this.#jobs.delete(running));
  }

  async #runJob(item: JobItem): Promise<void> {
    const { signal } = this.#abort;
    const { backoff, log } = this.#options;
    const send = (event: Event): Promise<Outcome> => this.send(event, signal);
    try {
      await retry(() => item.job.run(send), {
        ...(backoff ?? BACKOFF).retry,
        signal,
        isRetriable: (error) => toBanyanError(error, DOING_JOB).reaction === 'retry',
        onRetry: (error, attempt) => {
          const { kind, message } = toBanyanError(error, DOING_JOB);
          log.warn({ kind, attempt }, `a job of a key failed, trying again: ${message}`);
        },
      });
      if (signal.aborted) return;
      this.#lanes.settle(item);
      this.#room.leave(1, 0);
      this.#drained.changed();
    } catch (error) {
      if (!signal.aborted) this.#health.halt(toBanyanError(error, DOING_JOB));
    }
  }

  #orAborted<T>(signal: AbortSignal, begin: (resolve: (value: T) => void) => void): Promise<T> {
    const ends = [signal, this.#abort.signal];
    return new Promise<T>((resolve, reject) => {
      for (const end of ends) end.throwIfAborted();
      const onAbort = (): void => {
        leave();
        reject(abortReason(ends.find(({ aborted }) => aborted) ?? signal));
      };
      const leave = (): void => {
        for (const end of ends) end.removeEventListener('abort', onAbort);
      };
      for (const end of ends) end.addEventListener('abort', onAbort, { once: true });
      begin((value) => {
        leave();
        resolve(value);
      });
    });
  }

  #isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  #onHalt(error: BanyanError): void {
    this.#parker.halt();
    this.#drained.fail(error);
    this.#options.onHalt?.(error);
  }
}

function stopped(): Error {
  return new DOMException('the dispatcher has stopped', 'AbortError');
}
