import type { Logger } from 'pino';
import type { BanyanError } from '../core/errors.ts';
import type { Problem } from '../core/status.ts';

/** Failures in a row before a passing one is worth a warning, and a word in the status. */
const LASTING = 3;

/** What is the matter with something that is tried again until it works: said once, and taken back when it is over. */
export class Trouble {
  readonly #subject: string;
  readonly #log: Logger;
  #problem: Problem | undefined;

  constructor(subject: string, log: Logger) {
    this.#subject = subject;
    this.#log = log;
  }

  get problem(): Problem | undefined {
    return this.#problem;
  }

  /** `failures`: how many attempts have failed before this one, in a row. */
  met(error: BanyanError, failures: number): void {
    const { kind, code, message, remedy, context } = error;
    const facts = { kind, code, remedy, context };
    if (error.reaction === 'retry' && failures < LASTING) {
      this.#log.info(facts, `${this.#subject}: ${message}`);
      return;
    }
    if (this.#problem?.message === message) return;
    this.#log[error.reaction === 'retry' ? 'warn' : 'error'](
      facts,
      `reverse sync waits for ${this.#subject}: ${message}`,
    );
    this.#problem = { kind, message, remedy, since: new Date().toISOString() };
  }

  over(): void {
    if (this.#problem === undefined) return;
    this.#log.info({ kind: this.#problem.kind }, `${this.#subject} is well again`);
    this.#problem = undefined;
  }
}
