import { type LaneItem, laneLinks, Lanes } from '../flow/lanes.ts';
import type { Intent } from './intent.ts';
import { tableOf } from './parking.ts';

/** One event for one row, from a message or from a letter without a lane. */
export interface EventJob extends LaneItem {
  readonly kind: 'event';
  readonly intent: Intent;
  /** The event is done: applied, or set aside for good. */
  readonly onDone: () => void;
  /** Failed attempts so far, in a row. */
  attempts: number;
  /** How often of these a right was missing. */
  refusals: number;
  /** How often of these nobody understood why. */
  unexplained: number;
  /** Not together with others: they may be the ones that fail, or the ones that it makes fail. */
  isAlone: boolean;
}

/** What has a lane, or a whole table, for itself while it runs. */
export interface Task extends LaneItem {
  readonly kind: 'task';
  readonly run: () => Promise<void>;
}

export type Job = EventJob | Task;

/** Jobs in order within their lanes; those whose turn it is wait here for a worker. */
export class Work {
  readonly #lanes = new Lanes<Job>((job) => this.#becomesReady(job));
  readonly #onReady: () => void;
  #ready: Job[] = [];
  /** Lanes whose first event has failed, and is tried until it passes. */
  readonly #failing = new Set<string>();

  constructor(onReady: () => void) {
    this.#onReady = onReady;
  }

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  addEvent(intent: Intent, onDone: () => void): void {
    this.#lanes.add({
      kind: 'event',
      intent,
      onDone,
      attempts: 0,
      refusals: 0,
      unexplained: 0,
      isAlone: false,
      lane: intent.lane,
      previousLane: undefined,
      fence: tableOf(intent.target.table),
      exclusive: false,
      ...laneLinks,
    });
  }

  /** Resolves with what `run` does, once nothing else of the lane is at work. */
  alone<T>(place: { readonly lane: string } | { readonly table: string }, run: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const isTable = 'table' in place;
    this.#lanes.add({
      kind: 'task',
      run: () => run().then(resolve, reject),
      lane: isTable ? undefined : place.lane,
      previousLane: undefined,
      // A lane's name begins with its table's; keys are percent-encoded.
      fence: isTable ? place.table : place.lane.slice(0, place.lane.lastIndexOf(':')),
      exclusive: isTable,
      ...laneLinks,
    });
    return promise;
  }

  /**
   * A task, or events of distinct lanes for one transaction: of what is ready an equal share for each of `sharers`, since a lone worker with all of it would
   * keep the others idle.
   */
  take(max: number, sharers: number): Task | EventJob[] | undefined {
    const [first] = this.#ready;
    if (first === undefined) return undefined;
    if (first.kind === 'task') {
      this.#ready.shift();
      return first;
    }
    const share = first.isAlone ? 1 : Math.min(max, Math.ceil(this.#ready.length / sharers));
    const batch: EventJob[] = [];
    for (const job of this.#ready) {
      if (batch.length === share || job.kind === 'task' || (job.isAlone && batch.length > 0)) break;
      batch.push(job);
    }
    this.#ready = this.#ready.slice(batch.length);
    return batch;
  }

  settle(job: Job): void {
    if (job.kind === 'event') this.#failing.delete(job.intent.lane);
    this.#lanes.settle(job);
  }

  /** Whether an event of the lane is tried again and again: whatever else is added to the lane has to wait for that. */
  isFailing(lane: string): boolean {
    return this.#failing.has(lane);
  }

  /** The same job again, after a wait. */
  later(job: EventJob, waitMs: number): void {
    this.#failing.add(job.intent.lane);
    setTimeout(() => this.again(job), waitMs).unref();
  }

  /** The same job again; its lane waits for it. */
  again(job: EventJob): void {
    this.#becomesReady(job);
  }

  #becomesReady(job: Job): void {
    this.#ready.push(job);
    this.#onReady();
  }
}
