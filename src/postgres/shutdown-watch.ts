import { type ConnectionSettings, withClient } from './connection.ts';
import { sqlStateOf } from './sqlstate.ts';

/** Requests for a reply that follow each other within this are one run of them. */
const RUN_GAP_MS = 1_000;
/** A healthy server asks once in half a wal_sender_timeout, and not at all while status updates come. */
const SUSPICIOUS_RUN = 5;
/** A consumer that has taken nothing for this long may keep a server waiting that we can not hear. */
const SUSPICIOUS_PAUSE_MS = 5_000;
/** Between two looks; also what events in flight get to settle after the first sighting. */
const LOOK_EVERY_MS = 4_000;

/**
 * A server that is shut down waits for its walsenders until every byte that they sent is confirmed, without a limit: a worker whose bus is
 * down would keep the legacy database from restarting. The protocol has no word for it, so this looks for its signs (the walsender
 * asks for a reply again and again; or our own socket is paused, and nothing can be heard) and then asks the server itself: a new
 * connection is refused with 57P03.
 */
export class ShutdownWatch {
  readonly #isShuttingDown: () => Promise<boolean>;
  #run = 0;
  #askedAt = 0;
  #lookedAt = 0;
  #looking = false;
  #sightings = 0;

  constructor(isShuttingDown: () => Promise<boolean>) {
    this.#isShuttingDown = isShuttingDown;
  }

  /** The walsender asked for a reply. Times are of one monotonic clock, milliseconds. */
  asked(nowMs: number): void {
    this.#run = nowMs - this.#askedAt > RUN_GAP_MS ? 1 : this.#run + 1;
    this.#askedAt = nowMs;
  }

  /** Whether the server has been seen shutting down twice in a row, so that the session must be given up. Called again and again. */
  async look(nowMs: number, pausedSinceMs: number | undefined): Promise<boolean> {
    const asking = this.#run >= SUSPICIOUS_RUN && nowMs - this.#askedAt <= RUN_GAP_MS;
    const stuck = pausedSinceMs !== undefined && nowMs - pausedSinceMs >= SUSPICIOUS_PAUSE_MS;
    if (!asking && !stuck) this.#sightings = 0;
    if (this.#looking || (!asking && !stuck) || nowMs - this.#lookedAt < LOOK_EVERY_MS) return false;
    this.#lookedAt = nowMs;
    this.#looking = true;
    try {
      this.#sightings = (await this.#isShuttingDown()) ? this.#sightings + 1 : 0;
      return this.#sightings >= 2;
    } finally {
      this.#looking = false;
    }
  }
}

/** Asked while a session of ours lives: then "cannot connect now" can only mean the end, not the start. */
export async function refusesNewSessions(settings: ConnectionSettings): Promise<boolean> {
  try {
    await withClient({ ...settings, connectTimeoutMs: 2_000 }, async () => undefined);
    return false;
  } catch (error) {
    return sqlStateOf(error) === '57P03';
  }
}
