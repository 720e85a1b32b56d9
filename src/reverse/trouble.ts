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

/** With several things, by their names. */
export class Troubles {
  readonly #log: Logger;
  readonly #of = new Map<string, Trouble>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The problem with one of them. */
  get problem(): Problem | undefined {
    for (const { problem } of this.#of.values()) if (problem !== undefined) return problem;
    return undefined;
  }

  /** As `Trouble.met`. */
  met(subject: string, { error, failures }: { readonly error: BanyanError; readonly failures: number }): void {
    let trouble = this.#of.get(subject);
    if (trouble === undefined) this.#of.set(subject, (trouble = new Trouble(subject, this.#log)));
    trouble.met(error, failures);
  }

  over(subject: string): void {
    this.#of.get(subject)?.over();
  }

  /** Without a word: something else says it. */
  forget(subject: string): void {
    this.#of.delete(subject);
  }
}
