import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Accounting } from './accounting.ts';
import type { History } from './history.ts';
import { Shop } from './shop-life.ts';

export interface TrafficOptions {
  readonly url: string;
  /** Transactions a second, on average; they come as customers do, now two at once and now none. */
  readonly rate: number;
  readonly accounting: Accounting;
  /** Its customers come back, and its open orders are worked on. */
  readonly history: History;
  /** Whether clerks still change deliveries in the legacy system. */
  readonly reschedules: () => boolean;
}

/** People at work at once, each on a connection of its own. */
const CLERKS = 6;

/**
 * Customers sign up, order, pay, receive, cancel, and prices change, until `signal` aborts. Whatever was committed then stands in the
 * books. Rejects when a transaction fails: a commit without an answer leaves nobody to say what to expect.
 */
export async function runTraffic(options: TrafficOptions, signal: AbortSignal): Promise<void> {
  const pool = new pg.Pool({ connectionString: options.url, max: CLERKS, application_name: 'shop' });
  // A connection that breaks while nobody uses it: the next statement on it fails, and that is what is reported.
  pool.on('error', () => undefined);
  const shop = new Shop(pool, options);
  let due = performance.now();
  const clerk = async () => {
    for (;;) {
      // Exponential gaps make a Poisson process, which is how customers who do not know each other arrive. A shop that fell
      // behind by more than a second does not work off the queue: those customers have left.
      due = Math.max(due - (Math.log(1 - Math.random()) / options.rate) * 1_000, performance.now() - 1_000);
      const waitMs = due - performance.now();
      if (waitMs > 0) await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      await shop.act();
    }
  };
  try {
    await Promise.all(Array.from({ length: CLERKS }, clerk));
  } finally {
    await pool.end();
  }
}
