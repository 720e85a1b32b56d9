import { Command, InvalidArgumentError } from 'commander';

export interface DemoOptions {
  /** How long the shop is open; undefined: until Ctrl-C. */
  readonly seconds: number | undefined;
  /** Transactions a second, on average. */
  readonly rate: number;
  /** The last line is one JSON object, everything else goes to standard error. */
  readonly json: boolean;
}

/** Reads the arguments; prints help or a usage error and ends the process with 0 or 2 by itself. */
export function parseOptions(argv: readonly string[]): DemoOptions {
  const command = new Command('demo')
    .description(
      'A small shop on an embedded PostgreSQL, its changes as events on an embedded EventBridge. Needs nothing.',
    )
    .option('--seconds <n>', 'close the shop after so many seconds (default: on Ctrl-C)', positive)
    .option('--rate <n>', 'transactions a second, on average', positive, 20)
    .option('--json', 'end with one JSON object on the last line; exit 0 only when nothing is missing', false)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse([...argv], { from: 'user' });
  const { seconds, rate, json } = command.opts<{ seconds?: number; rate: number; json: boolean }>();
  return { seconds, rate, json };
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Give a number above 0.');
}
