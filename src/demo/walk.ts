import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ExitCode } from '../cli/context.ts';
import { runCli } from '../cli/program.ts';
import type { TargetStage, Verdict } from '../core/progress.ts';
import type { Screen } from './screen.ts';

/** The table that moves: the new service writes it, and the shop's clerks do. */
export const MOVING_TABLE = 'shop.deliveries';

export interface WalkOptions {
  /** With what the demo's configuration needs, and where the worker answers. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly screen: Pick<Screen, 'say'>;
}

/** How long a person looks on before the next step. */
const LOOK_MS = 20_000;
const ASK_MS = 500;

/**
 * Moves a table from `mapped` to `new-primary` as a person would: with the commands of the command line, each shown with its answer. Nothing is set by
 * hand: where a verdict is not ready, the walk waits.
 */
export class Walk {
  readonly #options: WalkOptions;

  constructor(options: WalkOptions) {
    this.#options = options;
  }

  /** From `mapped`, where the worker moves the table on by itself, to both sides. Rejects when the signal aborts before. */
  async toDual(signal: AbortSignal): Promise<void> {
    await this.#until(({ from }) => from === 'shadow', { to: 'dual', signal });
    await this.#show('status');
    await this.#show('waive', MOVING_TABLE, 'PARITY', '--reason', 'nobody compares in a demo', '--until', '1h');
    await this.#until(({ result }) => result === 'ready', { to: 'dual', signal });
    await this.#show('stage', MOVING_TABLE, '--to', 'dual', '--yes');
  }

  /** `onLegacyEnds`: the legacy side is to write no more. Resolves when the new system is primary, or the signal aborts. */
  async toNewPrimary(onLegacyEnds: () => void, signal: AbortSignal): Promise<void> {
    const { screen } = this.#options;
    try {
      await sleep(LOOK_MS, undefined, { signal });
      await this.#show('verdict', MOVING_TABLE, '--to', 'new-primary');
      onLegacyEnds();
      screen.say(
        'the clerks leave deliveries to the new service from now on: when a minute has gone by, the table may move',
      );
      await this.#until(({ result }) => result === 'ready', { to: 'new-primary', signal });
      await this.#show('stage', MOVING_TABLE, '--to', 'new-primary', '--yes');
      await this.#show('status');
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #until(
    holds: (verdict: Verdict) => boolean,
    { to, signal }: { readonly to: TargetStage; readonly signal: AbortSignal },
  ): Promise<void> {
    for (;;) {
      const verdict = await this.#verdict(to);
      if (verdict !== undefined && holds(verdict)) return;
      await sleep(ASK_MS, undefined, { signal });
    }
  }

  /** undefined: the table does not come to that stage from where it is. */
  async #verdict(to: TargetStage): Promise<Verdict | undefined> {
    const { text, code } = await this.#run(['verdict', MOVING_TABLE, '--to', to, '--json']);
    if (code === ExitCode.usage && text.includes('can not go to')) return undefined;
    const isVerdict = code === ExitCode.ok || code === ExitCode.notReady || code === ExitCode.unknownVerdict;
    if (!isVerdict) throw new Error(`banyan verdict ended with ${code}: ${text}`);
    return JSON.parse(text) as Verdict;
  }

  async #show(...args: readonly string[]): Promise<void> {
    const { screen } = this.#options;
    const { text } = await this.#run(args);
    screen.say(`$ banyan ${args.map((arg) => (/\s/.test(arg) ? `'${arg}'` : arg)).join(' ')}`);
    for (const line of text.trimEnd().split('\n')) screen.say(`  ${line}`);
  }

  async #run(args: readonly string[]): Promise<{ readonly text: string; readonly code: number }> {
    let text = '';
    const out = new Writable({
      write(chunk: Buffer, _encoding, done) {
        text += chunk.toString();
        done();
      },
    });
    const code = await runCli(args, { env: this.#options.env, stdout: out, stderr: out });
    return { text, code };
  }
}
