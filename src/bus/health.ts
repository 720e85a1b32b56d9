import type { Logger } from 'pino';
import type { BanyanError } from '../core/errors.ts';
import type { Problem } from '../core/status.ts';

/** Whether events are being sent, and if not, why. A halt is final: a person restarts the worker. */
export class BusHealth {
  readonly #log: Logger;
  readonly #onHalt: (error: BanyanError) => void;
  #state: 'sending' | 'waiting' | 'halted' = 'sending';
  #problem: Problem | undefined;
  #haltedBy: BanyanError | undefined;

  constructor(log: Logger, onHalt: (error: BanyanError) => void) {
    this.#log = log;
    this.#onHalt = onHalt;
  }

  get state(): 'sending' | 'waiting' | 'halted' {
    return this.#state;
  }

  get problem(): Problem | undefined {
    return this.#problem;
  }

  get haltedBy(): BanyanError | undefined {
    return this.#haltedBy;
  }

  /** The set-up is at fault: nothing is sent until it is mended. Said once per reason. */
  wait(error: BanyanError): void {
    if (this.#state === 'halted') return;
    const since = this.#state === 'waiting' ? this.#problem?.since : undefined;
    const isNews = this.#state !== 'waiting' || this.#problem?.message !== error.message;
    this.#state = 'waiting';
    this.#problem = problemOf(error, since);
    if (isNews) this.#log.error(factsOf(error), `sending waits: ${error.message}`);
  }

  resume(): void {
    if (this.#state !== 'waiting') return;
    this.#log.info({ since: this.#problem?.since }, 'sending goes on');
    this.#state = 'sending';
    this.#problem = undefined;
  }

  halt(error: BanyanError): void {
    if (this.#state === 'halted') return;
    this.#state = 'halted';
    this.#haltedBy = error;
    this.#problem = problemOf(error, undefined);
    this.#log.error(factsOf(error), `sending halted: ${error.message}`);
    this.#onHalt(error);
  }
}

function problemOf(error: BanyanError, since: string | undefined): Problem {
  const { kind, message, remedy } = error;
  return { kind, message, remedy, since: since ?? new Date().toISOString() };
}

function factsOf({ kind, code, remedy, context }: BanyanError) {
  return { kind, code, remedy, context };
}
