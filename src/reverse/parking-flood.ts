import type { Logger } from 'pino';
import type { BanyanError } from '../core/errors.ts';
import type { Problem } from '../core/status.ts';
import { ParkingMeter } from '../flow/parking-meter.ts';

export interface ParkingFloodOptions {
  /** `reverse.maxParkedPerMinute` */
  readonly max: number;
  readonly log: Logger;
  /** Milliseconds that never go back. */
  readonly now?: () => number;
}

const REMEDY =
  'look at `banyan dead-letters list --direction reverse`: one mistake sets everything aside; mend it and restart, or redrive or discard those letters: then the queue is read again';

/**
 * More events are set aside for their own fault than single bad ones could be: the queue is a better place for the rest than the legacy database. It stays so
 * over lost connections, until a person acts. Events that wait for something to come count when their time is over; those of a held table never do.
 */
export class ParkingFlood {
  readonly #options: ParkingFloodOptions;
  #meter: ParkingMeter;
  #problem: Problem | undefined;

  constructor(options: ParkingFloodOptions) {
    this.#options = options;
    this.#meter = this.#newMeter();
  }

  /** While there is one nothing is to be received. */
  get problem(): Problem | undefined {
    return this.#problem;
  }

  /** One event was set aside for its own fault. */
  parked({ kind: lastKind, code, message: why }: Pick<BanyanError, 'kind' | 'code' | 'message'>): void {
    const { max, log } = this.#options;
    if (!this.#meter.isFlood() || this.#problem !== undefined) return;
    const kind = 'parking-flood';
    const message = `more than ${max} events had to be set aside within a minute, the last one because: ${why}`;
    this.#problem = { kind, message, remedy: REMEDY, since: new Date().toISOString() };
    log.error({ kind, lastKind, code, remedy: REMEDY }, `reverse sync reads the queue no more: ${message}`);
  }

  /** A person has redriven or discarded letters. */
  over(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#meter = this.#newMeter();
    this.#options.log.info({ kind: 'parking-flood' }, 'reverse sync reads the queue again');
  }

  #newMeter(): ParkingMeter {
    return new ParkingMeter(this.#options.max, this.#options.now);
  }
}
