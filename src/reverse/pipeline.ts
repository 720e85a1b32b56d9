import type { Logger } from 'pino';
import type { QueueMessage } from '../bus/queue.ts';
import { type BanyanError, toBanyanError } from '../core/errors.ts';
import type { Problem } from '../core/status.ts';
import { Condition } from '../flow/condition.ts';
import { backoffMs, sleep } from '../flow/supervise.ts';
import { untilAborted } from '../flow/within.ts';
import type { ApplyContext } from './apply-one.ts';
import type { Consumer } from './consumer.ts';
import type { Delivery } from './delivery.ts';
import type { ApplyOutcome, Intent } from './intent.ts';
import type { EntryFailure, EventReading } from './mapper.ts';
import { type ReverseParking, tableOf } from './parking.ts';
import { countOutcome, type ReverseProgress } from './progress.ts';
import type { SetAside } from './set-aside.ts';
import { Troubles } from './trouble.ts';
import { type EventJob, type Task, Work } from './work.ts';

/** Several events in one transaction, an outcome each. Throws where the whole has to be done again: nothing was done then. */
export type Apply = (
  intents: readonly Intent[],
  options?: { readonly byOperator?: boolean; readonly onEnded?: ApplyContext['onEnded'] },
) => Promise<readonly ApplyOutcome[]>;

export interface PipelineOptions {
  /** What the body of a message asks for. Throws a BanyanError of the reaction `park` where no event can be read from it. */
  readonly read: (body: string) => EventReading;
  readonly apply: Apply;
  readonly parking: ReverseParking;
  readonly progress: ReverseProgress;
  readonly concurrency: number;
  readonly setAside: SetAside;
  /** Nothing new is begun. */
  readonly stop: AbortSignal;
  readonly log: Logger;
}

/** Events in one transaction: enough to share its commit, few enough that a deadlock repeats little. */
const MAX_BATCH = 10;
const DATABASE = 'the legacy database';
const RETRY = { baseMs: 50, maxMs: 15_000 };
/** After so many deadlocks its events are applied one by one; after so many unknown failures an event is set aside. */
const PATIENCE = 3;
/** After so many refusals for want of a right, a second apart, its table is held. */
const REFUSALS = 5;
/** Somebody's lock, or a statement that took too long: one event of the transaction met it, and nobody knows which. The others need not meet it again. */
const HELD_UP: ReadonlySet<string> = new Set(['55P03', '57014']);

/** From messages to rows: reads, keeps each row's order, applies, and says when a message is done. */
export class ReversePipeline {
  readonly #options: PipelineOptions;
  readonly #work: Work;
  readonly #changed = new Condition();
  /** With the database as a whole, and with single tables. */
  readonly #troubles: Troubles;
  /** Deliveries that a worker has begun on. */
  readonly #begun = new Set<Delivery>();
  readonly #deliveryOf = new WeakMap<EventJob['onDone'], Delivery>();
  #idle = 0;
  #busy = 0;

  /** An event of a lane was applied for which others wait; set by whoever tries those again. */
  onSuccess: (lane: string) => void = () => undefined;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#troubles = new Troubles(options.log);
    this.#work = new Work(() => this.#changed.changed());
  }

  /** Why nothing, or nothing of a table, is applied. */
  get problem(): Problem | undefined {
    return this.#troubles.problem;
  }

  /** Events that workers are at. */
  get inFlight(): number {
    return this.#busy;
  }

  /** A message's turn has come. */
  take(delivery: Delivery, consumer: Pick<Consumer, 'done'>): void {
    const { read, progress, stop } = this.#options;
    if (stop.aborted) return;
    progress.received += 1;
    const { message } = delivery;
    let found: EventReading;
    try {
      found = read(message.body);
    } catch (thrown) {
      progress.invalid += 1;
      const unread = toBanyanError(thrown, 'reading a message');
      void this.#setAside(message, { error: unread, onDone: () => consumer.done(delivery) });
      return;
    }
    const { intents, failures } = found;
    let pending = intents.length + failures.length;
    if (pending === 0) {
      progress.unmatched += 1;
      consumer.done(delivery);
      return;
    }
    const onDone = (): void => {
      pending -= 1;
      if (pending > 0) return;
      this.#begun.delete(delivery);
      consumer.done(delivery);
    };
    this.#deliveryOf.set(onDone, delivery);
    for (const intent of intents) this.#work.addEvent(intent, onDone);
    for (const failure of failures) this.#takeFailure(message, failure, onDone);
  }

  /** What one entry can not read is set aside in its turn, where the row is known: no later event of it overtakes. */
  #takeFailure(message: QueueMessage, failure: EntryFailure, onDone: () => void): void {
    const { error, lane } = failure;
    this.#options.progress.invalid += 1;
    const put = (): Promise<void> => this.#setAside(message, { error, onDone, of: failure });
    void (lane === undefined ? put() : this.#work.alone({ lane }, put));
  }

  /** Runs while nothing else of the lane or table is at work. Rejects when the pipeline stops before. */
  alone<T>(place: { readonly lane: string } | { readonly table: string }, run: () => Promise<T>): Promise<T> {
    return untilAborted(this.#work.alone(place, run), this.#options.stop);
  }

  /** Whether an event of the lane has failed and is tried until it passes: `alone` would wait for that. */
  isFailing(lane: string): boolean {
    return this.#work.isFailing(lane);
  }

  /** Whether work on it has begun, and goes on. */
  hasBegun(delivery: Delivery): boolean {
    return this.#begun.has(delivery);
  }

  /** Works until it is stopped, and ends what has begun. */
  async run(): Promise<void> {
    const workers = Array.from({ length: this.#options.concurrency }, () => this.#worker());
    await Promise.all(workers);
  }

  async #worker(): Promise<void> {
    const { stop } = this.#options;
    while (!stop.aborted) {
      this.#idle += 1;
      try {
        await this.#changed.wait(() => this.#work.hasReady, stop);
      } catch {
        return;
      } finally {
        this.#idle -= 1;
      }
      const job = this.#work.take(MAX_BATCH, this.#idle + 1);
      if (job === undefined) continue;
      if (Array.isArray(job)) await this.#process(job);
      else await this.#runTask(job);
    }
  }

  async #runTask(task: Task): Promise<void> {
    await task.run();
    this.#work.settle(task);
  }

  async #process(jobs: readonly EventJob[]): Promise<void> {
    this.#busy += jobs.length;
    for (const { onDone } of jobs) {
      const delivery = this.#deliveryOf.get(onDone);
      if (delivery !== undefined) this.#begun.add(delivery);
    }
    try {
      const { parking } = this.#options;
      const behind = jobs.filter(({ intent }) => parking.isBehind(intent));
      const free = behind.length === 0 ? jobs : jobs.filter((job) => !behind.includes(job));
      await this.#parkBehind(behind);
      await this.#apply(free);
    } finally {
      this.#busy -= jobs.length;
    }
  }

  async #parkBehind(jobs: readonly EventJob[]): Promise<void> {
    if (jobs.length === 0) return;
    await this.#asideOrLater(jobs, (setAside) => setAside.behind(jobs.map(({ intent }) => intent)));
  }

  async #apply(jobs: readonly EventJob[]): Promise<void> {
    if (jobs.length === 0) return;
    let outcomes: readonly ApplyOutcome[];
    try {
      outcomes = await this.#options.apply(jobs.map(({ intent }) => intent));
    } catch (thrown) {
      await this.#failedTogether(jobs, toBanyanError(thrown, 'applying events'));
      return;
    }
    this.#troubles.over(DATABASE);
    for (const [index, job] of jobs.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined) throw new TypeError('an event came back without an outcome');
      if (outcome.status === 'failed') await this.#failed(job, outcome.error);
      else await this.#succeeded(job, outcome);
    }
  }

  async #succeeded(job: EventJob, outcome: ApplyOutcome): Promise<void> {
    const { parking, progress } = this.#options;
    const { intent } = job;
    this.#troubles.over(tableOf(intent.target.table));
    if (parking.mayBeParked(intent)) {
      try {
        await parking.reconcile(intent.lane);
      } catch (error) {
        this.#later(job, { error: toBanyanError(error, 'looking for what is set aside'), about: DATABASE });
        return;
      }
    }
    countOutcome(progress, outcome, intent.eventTime);
    if (parking.isWaiting(intent.lane)) this.onSuccess(intent.lane);
    this.#done(job);
  }

  /** Nothing of it is in the database, unless its letter. */
  async #failed(job: EventJob, error: BanyanError): Promise<void> {
    const { parking, setAside } = this.#options;
    const { intent } = job;
    if (error.reaction === 'wait') {
      job.refusals += 1;
      if (job.refusals >= REFUSALS || parking.isBehind(intent)) {
        await this.#asideOrLater([job], () => setAside.withTable(intent, error));
        // It is held now, which says the same, and nothing of it is tried here any more.
        this.#troubles.forget(tableOf(intent.target.table));
        return;
      }
    }
    if (error.reaction === 'retry' || error.reaction === 'wait') {
      // It has waited for the stream for long, and the others of its transaction with it.
      if (error.kind === 'stream-behind') job.isAlone = true;
      this.#later(job, { error, about: tableOf(intent.target.table) });
      return;
    }
    setAside.committed(intent, error);
    this.#done(job);
  }

  /** Nothing was done, or nobody knows: a commit may have been lost on its way back. The inbox tells, when it is done again. */
  async #failedTogether(jobs: readonly EventJob[], error: BanyanError): Promise<void> {
    const { reaction, code } = error;
    const passes = reaction === 'retry' || reaction === 'wait';
    const [only] = jobs;
    // What fails because all ends is no event's fault.
    if (!passes && only !== undefined && jobs.length === 1 && !this.#options.stop.aborted) {
      // Refused at the commit it is the event's own fault; what we do not understand may still pass.
      const isItsFault = reaction === 'park' || reaction === 'hold';
      if (isItsFault || only.unexplained >= PATIENCE) {
        await this.#asideOrLater([only], (setAside) => setAside.alone(only.intent, error));
        return;
      }
    }
    const isDeadlock = code === '40001' || code === '40P01';
    const isHeldUp = code !== undefined && HELD_UP.has(code);
    for (const job of jobs) {
      if (!passes) job.unexplained += 1;
      if (!passes || isHeldUp || (isDeadlock && job.attempts + 1 >= PATIENCE)) job.isAlone = true;
      this.#later(job, { error, about: DATABASE });
    }
  }

  /** Done when it is durable. */
  async #asideOrLater(jobs: readonly EventJob[], put: (setAside: SetAside) => Promise<void>): Promise<void> {
    try {
      await put(this.#options.setAside);
    } catch (thrown) {
      const error = toBanyanError(thrown, 'setting events aside');
      for (const job of jobs) this.#later(job, { error, about: DATABASE });
      return;
    }
    this.#troubles.over(DATABASE);
    for (const job of jobs) this.#done(job);
  }

  #later(job: EventJob, { error, about }: { error: BanyanError; about: string }): void {
    this.#options.progress.retried += 1;
    this.#troubles.met(about, { error, failures: job.attempts });
    const waitMs = Math.max(error.reaction === 'retry' ? 0 : 1_000, backoffMs(job.attempts, RETRY));
    job.attempts += 1;
    this.#work.later(job, waitMs);
  }

  #done(job: EventJob): void {
    // Whatever held up this one is over, however it ended.
    if (job.attempts > 0) this.#troubles.over(tableOf(job.intent.target.table));
    this.#work.settle(job);
    job.onDone();
  }

  /** Until it is durable the message stays in hand, and is given back with the others when all ends. Never rejects. */
  async #setAside(
    message: QueueMessage,
    what: { readonly error: BanyanError; readonly onDone: () => void; readonly of?: EntryFailure },
  ): Promise<void> {
    const { setAside, stop } = this.#options;
    for (let attempt = 0; !stop.aborted; attempt += 1) {
      try {
        await setAside.message(message, what.error, what.of);
        this.#troubles.over(DATABASE);
        what.onDone();
        return;
      } catch (thrown) {
        const error = toBanyanError(thrown, 'setting a message aside');
        this.#troubles.met(DATABASE, { error, failures: attempt });
        await sleep(Math.max(100, backoffMs(attempt, RETRY)), stop).catch(() => undefined);
      }
    }
  }
}
