import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import type { Logger } from 'pino';
import { toBanyanError } from '../core/errors.ts';
import { Bell } from '../flow/bell.ts';
import { sleep } from '../flow/supervise.ts';
import { within } from '../flow/within.ts';
import { quoteIdentifier } from '../postgres/identifier.ts';
import { requestChannel } from '../state/requests.ts';

export interface RequestBellOptions {
  /** Of the state's database. */
  readonly pool: pg.Pool;
  /** Name of the connector. */
  readonly connector: string;
  readonly log: Logger;
}

/** How long a notification of our own may take before it counts as lost: a pooler may keep connections from hearing each other's. */
const PROOF_MS = 3_000;
const AGAIN_MS = 60_000;

/** Rings when a command asks something of the worker, so that it need not look every second. Only trusted while it has been proven to be heard. */
export class RequestBell {
  readonly bell = new Bell();
  readonly #options: RequestBellOptions;
  #isHeard = false;
  #lost = new AbortController();

  constructor(options: RequestBellOptions) {
    this.#options = options;
  }

  /** Whether requests ring it at the moment. */
  get isHeard(): boolean {
    return this.#isHeard;
  }

  /** One was found that had not rung. */
  missed(): void {
    this.#lost.abort();
  }

  /** Listens until the signal aborts. What fails is tried again; meanwhile nobody is to trust it. */
  async listen(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#session(signal);
      } catch (error) {
        if (signal.aborted) return;
        const { kind, code, message } = toBanyanError(error, 'listening for requests');
        log.debug({ kind, code }, message);
      } finally {
        this.#isHeard = false;
      }
      await sleep(AGAIN_MS, signal).catch(() => undefined);
    }
  }

  async #session(signal: AbortSignal): Promise<void> {
    const { pool, connector, log } = this.#options;
    this.#lost = new AbortController();
    const ends = AbortSignal.any([signal, this.#lost.signal]);
    const channel = requestChannel(connector);
    const client = await pool.connect();
    try {
      const proof = randomBytes(8).toString('hex');
      const proven = Promise.withResolvers<void>();
      client.on('notification', ({ payload }) => {
        if (payload === proof) proven.resolve();
        else this.bell.ring();
      });
      const gone = new Promise<void>((resolve) => {
        client.once('end', resolve);
        client.once('error', () => resolve());
        ends.addEventListener('abort', () => resolve(), { once: true });
      });
      await client.query(`listen ${quoteIdentifier(channel)}`);
      // Sent by another connection, as commands do.
      await pool.query('select pg_notify($1, $2)', [channel, proof]);
      await within(PROOF_MS, Promise.race([proven.promise.then(() => (this.#isHeard = true)), gone]));
      if (!this.#isHeard) {
        log.debug('notifications do not arrive: requests are looked for every second');
        return;
      }
      // One may have come before anybody listened.
      this.bell.ring();
      await gone;
    } finally {
      // It listens: nobody else is to have it.
      client.release(true);
    }
  }
}
