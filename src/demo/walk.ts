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
/** What a command says of a verdict. */
const VERDICTS: readonly number[] = [ExitCode.ok, ExitCode.notReady, ExitCode.unknownVerdict];
/** A gate that has just passed may not a moment later, and the verdict of the command counts. */
const MOVE_ATTEMPTS = 5;

/**
 * Moves a table from `mapped` to `new-primary` as a person would: with the commands of the command line, each shown with its answer. Nothing is set by
 * hand: where a verdict is not ready, the walk waits; where a command does not work, it rejects.
 */
export class Walk {
  readonly #options: WalkOptions;

  constructor(options: WalkOptions) {
    this.#options = options;
  }

  /** From `mapped`, where the worker moves the table on by itself, to both sides. Rejects when the signal aborts before. */
  async toDual(signal: AbortSignal): Promise<void> {
    await this.#until(({ from }) => from === 'shadow', { to: 'dual', signal });
    await this.#show(['status']);
    await this.#show(['waive', MOVING_TABLE, 'PARITY', '--reason', 'nobody compares in a demo', '--until', '1h']);
    await this.#move('dual', signal);
  }

  /** `onLegacyEnds`: the legacy side is to write no more. Resolves when the new system is primary, or the signal aborts. */
  async toNewPrimary(onLegacyEnds: () => void, signal: AbortSignal): Promise<void> {
    const { screen } = this.#options;
    try {
      await sleep(LOOK_MS, undefined, { signal });
      await this.#show(['verdict', MOVING_TABLE, '--to', 'new-primary'], VERDICTS);
      onLegacyEnds();
      screen.say(
        'the clerks leave deliveries to the new service from now on: when a minute has gone by, the table may move',
      );
      await this.#move('new-primary', signal);
      await this.#show(['status']);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #move(to: TargetStage, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      await this.#until(({ result }) => result === 'ready', { to, signal });
      const takes = attempt < MOVE_ATTEMPTS ? VERDICTS : undefined;
      if ((await this.#show(['stage', MOVING_TABLE, '--to', to, '--yes'], takes)) === ExitCode.ok) return;
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
    if (!VERDICTS.includes(code)) throw new Error(`banyan verdict ended with ${code}: ${text}`);
    return JSON.parse(text) as Verdict;
  }

  /** Throws where the command ends with another code than `takes`, behind what it said. */
  async #show(args: readonly string[], takes: readonly number[] = [ExitCode.ok]): Promise<number> {
    const { screen } = this.#options;
    const { text, code } = await this.#run(args);
    const line = `banyan ${args.map((arg) => (/\s/.test(arg) ? `'${arg}'` : arg)).join(' ')}`;
    screen.say(`$ ${line}`);
    for (const each of text.trimEnd().split('\n')) screen.say(`  ${each}`);
    if (!takes.includes(code)) throw new Error(`${line} ended with ${code}`);
    return code;
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
