import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface Finished {
  /** null: ended by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** The command line as its own process, as people and orchestrators run it. */
export class BanyanProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], options: ProcessOptions = {}) {
    this.#child = spawn(process.execPath, [MAIN, ...args], {
      cwd: options.cwd,
      // Nothing of the caller's own environment decides what is tested.
      env: { PATH: process.env['PATH'], NO_COLOR: '1', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#closed = once(this.#child, 'close');
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.#stdout += chunk.toString()));
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves with what `find` finds in stdout, rejects when the process ends before. */
  async said<T>(find: (stdout: string) => T | undefined | false): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const look = () => {
      const found = find(this.#stdout);
      if (found !== undefined && found !== false) resolve(found);
    };
    this.#child.stdout?.on('data', look);
    void this.#closed.then(() => reject(new Error(`it ended:\n${this.#stdout}\n${this.#stderr}`)));
    look();
    try {
      return await promise;
    } finally {
      this.#child.stdout?.off('data', look);
    }
  }

  async finished(): Promise<Finished> {
    await this.#closed;
    return { code: this.#child.exitCode, stdout: this.#stdout, stderr: this.#stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await this.#closed;
  }
}

export function banyan(args: readonly string[], options: ProcessOptions = {}): Promise<Finished> {
  return new BanyanProcess(args, options).finished();
}
