import type { BanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { type LaneItem, laneLinks } from '../flow/lanes.ts';
import type { Outcome } from './publisher.ts';

/** Work that takes its turn among the events of a key, and holds the key while it runs. */
export interface LaneJob {
  readonly lane: string | undefined;
  readonly previousLane?: string | undefined;
  /** The table. */
  readonly fence: string;
  /** Waits for everything of the table and holds what comes after. Default false. */
  readonly exclusive?: boolean;
  /** It sets a change aside for this reason: counts as a parked event against `maxParkedPerMinute`. */
  readonly parks?: BanyanError;
  /**
   * `send` resolves when the event is accepted, or rejected for its own fault; retries and waits are inside. After an error that
   * retries, the job runs again from its start; any other error halts the dispatcher.
   */
  readonly run: (send: (event: Event) => Promise<Outcome>) => Promise<void>;
}

/** A job as the lanes see it. */
export class JobItem implements LaneItem {
  readonly lane: string | undefined;
  readonly previousLane: string | undefined;
  readonly fence: string;
  readonly exclusive: boolean;
  blockers = laneLinks.blockers;
  nextInLane: LaneItem | undefined;
  nextInPreviousLane: LaneItem | undefined;
  section: LaneItem['section'];
  readonly job: LaneJob;

  constructor(job: LaneJob) {
    this.lane = job.lane;
    this.previousLane = job.previousLane;
    this.fence = job.fence;
    this.exclusive = job.exclusive ?? false;
    this.job = job;
  }
}
