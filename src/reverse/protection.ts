import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import { sleep } from '../flow/supervise.ts';
import type { ReverseSession } from './sync.ts';

/** The evidence of a test is good for a day, by default. */
const TEST_AGAIN_MS = 12 * 3_600_000;
/** How long a person waits for the stream to come to a test. */
const ASKED_MS = 20_000;

/** Where tests are written, and who shows them. */
export interface TestPlace {
  readonly session: Pick<ReverseSession, 'selfTest'>;
  readonly pool: pg.Pool;
  readonly stop: AbortSignal;
}

/** Whether our own writes are known in the stream: tested before anything is applied, twice a day from then on, and when a person asks. */
export class Protection {
  readonly #againMs: number;
  /** Of the last test that passed, ISO 8601. */
  testedAt: string | undefined;

  constructor(againMs: number = TEST_AGAIN_MS) {
    this.#againMs = againMs;
  }

  /** Why they would not be known; undefined: they are. */
  async test({ session, pool, stop }: TestPlace): Promise<BanyanError | undefined> {
    const finding = await session.selfTest(pool, stop);
    if (finding === undefined) {
      this.testedAt = new Date().toISOString();
      return undefined;
    }
    const { message, remedy = 'run `banyan check`' } = finding;
    return new BanyanError('preflight', message, { remedy });
  }

  /** What was so when the worker started need not be so days later. Rejects where it is not. */
  async testAgain(place: TestPlace): Promise<void> {
    for (;;) {
      await sleep(this.#againMs, place.stop).catch(() => undefined);
      if (place.stop.aborted) return;
      const unprotected = await this.test(place);
      if (unprotected !== undefined) throw unprotected;
    }
  }

  /** As a person asks: not longer than they wait. */
  async testNow(place: TestPlace): Promise<BanyanError | undefined> {
    const patience = AbortSignal.timeout(ASKED_MS);
    try {
      return await this.test({ ...place, stop: AbortSignal.any([place.stop, patience]) });
    } catch (error) {
      if (!patience.aborted || place.stop.aborted) throw error;
      throw new BanyanError('stream-behind', `the stream has not come to the test within ${ASKED_MS / 1_000} s`);
    }
  }
}
