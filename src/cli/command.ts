import type { Command } from 'commander';
import { type CommandContext, type ExitCode, type Io } from './context.ts';
import { createOutput } from './output.ts';

export interface Registration {
  readonly io: Io;
  readonly done: (code: ExitCode) => void;
}

export type CommandOptions = Readonly<Record<string, unknown>>;
type Run = (args: readonly unknown[], options: CommandOptions, context: CommandContext) => Promise<ExitCode>;

/** A command with what all of them take, and how it is called. */
export function addCommand(
  parent: Command,
  syntax: string,
  about: { description: string; registration: Registration; run: Run; hidden?: boolean },
): Command {
  const { io, done } = about.registration;
  const added = parent
    .command(syntax, { hidden: about.hidden === true })
    .description(about.description)
    .option('-c, --config <file>', 'the configuration')
    .option('--json', 'results as JSON')
    .option('--verbose', 'with an error, also where it came from');
  added.action(async (...given: unknown[]) => {
    // Commander gives the arguments, then the options, then the command.
    const options = given.at(-2) as CommandOptions;
    const context: CommandContext = {
      configFile: options['config'] as string | undefined,
      env: io.env,
      output: createOutput({ json: options['json'] === true, ...io }),
    };
    done(await about.run(given.slice(0, -2), options, context));
  });
  return added;
}
