import { Command, CommanderError, Option } from 'commander';
import type { Environment } from '../config/environment.ts';
import { type CommandContext, ExitCode, invocation } from './context.ts';
import { exitCodeOf, printFailure } from './failure.ts';
import { account, assignment, list, numbers, port, whole } from './option-values.ts';
import { createOutput } from './output.ts';
import { version } from '../version.ts';

export interface Io {
  readonly env: Environment;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

/**
 * Runs one command line and resolves with its exit code. Commands are imported when they are called, so that `--help` does not load what
 * only the worker needs.
 */
export async function runCli(args: readonly string[], io: Io): Promise<ExitCode> {
  let exitCode: ExitCode = ExitCode.ok;
  const program = createProgram(io, (code) => (exitCode = code));
  const output = createOutput({ json: args.includes('--json'), ...io });
  const verbose = args.includes('--verbose') || (io.env['BANYAN_DEBUG'] ?? '') !== '';
  try {
    if (args.length === 0) {
      program.outputHelp();
      return ExitCode.ok;
    }
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander has said it already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
    printFailure(error, { output, stderr: io.stderr, verbose });
    return exitCodeOf(error);
  }
}

function createProgram(io: Io, done: (code: ExitCode) => void): Command {
  const me = invocation(io.env);
  const program = new Command('banyan')
    .usage('COMMAND [options]')
    .description('Row changes of a legacy PostgreSQL database as events on Amazon EventBridge.')
    .version(version, '-V, --version', 'print the version')
    .configureHelp({
      helpWidth: 110,
      subcommandTerm: (sub) =>
        [sub.name(), ...sub.registeredArguments.filter((of) => of.required).map((of) => `<${of.name()}>`)].join(' '),
    })
    .helpOption('-h, --help', 'print this, or what a command takes')
    .helpCommand(false)
    .showHelpAfterError(`(\`${me} --help\` lists the commands, \`${me} COMMAND --help\` what one takes)`)
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'banyan: ')),
    })
    .exitOverride()
    .addHelpText('after', firstSteps(me));
  addFirstSteps(program, { io, done });
  addOperation(program, { io, done });
  addSurroundings(program, { io, done });
  return program;
}

function firstSteps(me: string): string {
  return `
The configuration is read from --config FILE, else BANYAN_CONFIG, else BANYAN_CONFIG_YAML, else config/banyan.yaml.

To begin:
  export LEGACY_DATABASE_URL=postgresql://USER@HOST:5432/DATABASE
  ${me} init                     # config/banyan.yaml, from your catalog
  ${me} preview public.orders    # the events that its rows become; publishes nothing
  ${me} check                    # what is not ready yet, and the statement that mends it
  ${me} run

Exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 not now (no worker, another one, no database),
5 something to mend first (see check), 6 halted (run --exit-on-halt)
`;
}

interface Registration {
  readonly io: Io;
  readonly done: (code: ExitCode) => void;
}

type Options = Readonly<Record<string, unknown>>;
type Run = (args: readonly unknown[], options: Options, context: CommandContext) => Promise<ExitCode>;

/** What all commands take, and how they are called. */
function command(
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
    const options = given.at(-2) as Options;
    const context: CommandContext = {
      configFile: options['config'] as string | undefined,
      env: io.env,
      output: createOutput({ json: options['json'] === true, ...io }),
    };
    done(await about.run(given.slice(0, -2), options, context));
  });
  return added;
}

function addFirstSteps(program: Command, registration: Registration): void {
  program.commandsGroup('First steps:');
  command(program, 'init', {
    description: 'write a first configuration from the catalog of LEGACY_DATABASE_URL; never overwrites',
    registration,
    run: async (_, options, context) => {
      const tables = options['tables'] as string[] | undefined;
      if (typeof options['role'] === 'string') {
        const { initRole } = await import('./init-role.ts');
        return initRole({ role: options['role'], tables }, context);
      }
      const { init } = await import('./init.ts');
      return init({ tables }, context);
    },
  })
    .option('--tables <names>', 'only these, with commas between; `*` and `?` stand for any characters', list)
    .option(
      '--role <name>',
      'instead, print the SQL script for your DBA: role, grants, state schema, publication, slot',
    );
  command(program, 'check', {
    description: 'compare the configuration with the live database and bus; every finding with what mends it',
    registration,
    run: async (_, __, context) => (await import('./check.ts')).check(context),
  });
  command(program, 'preview', {
    description: 'print the events that rows of a table become; reads only, publishes nothing',
    registration,
    run: async ([table], options, context) =>
      (await import('./preview.ts')).preview(
        {
          table: String(table),
          limit: options['limit'] as number,
          where: options['where'] as string | undefined,
          operation: options['op'] as 'insert' | 'update' | 'delete',
          set: (options['set'] as ReadonlyMap<string, string | null> | undefined) ?? new Map(),
        },
        context,
      ),
  })
    .argument('<table>', 'schema.table, as the configuration names it or as one of its patterns takes it')
    .option('-n, --limit <rows>', 'how many rows', whole, 5)
    .option('--where <sql>', 'which rows: a condition over the columns')
    .addOption(
      new Option('--op <operation>', 'what is done to them').choices(['insert', 'update', 'delete']).default('insert'),
    )
    .option(
      '--set <column=value>',
      'with --op update: a new value, in PostgreSQL’s text form (`column=` is empty, `column` alone is NULL); may be repeated',
      assignment,
    );
  command(program, 'run', {
    description: 'the worker: reads the slot, sends the events, serves health and metrics',
    registration,
    run: async (_, options, context) =>
      (await import('./run.ts')).run({ exitOnHalt: options['exitOnHalt'] === true }, context),
  }).option('--exit-on-halt', 'exit with 6 where a person must act, instead of staying up and saying why');
}

function addOperation(program: Command, registration: Registration): void {
  program.commandsGroup('Operation:');
  command(program, 'backfill', {
    description: 'turn rows that are already there into events; without a table: how far the last ones are',
    registration,
    run: async ([table], options, context) =>
      (await import('./backfill.ts')).backfill(
        {
          table: table as string | undefined,
          where: options['where'] as string | undefined,
          dryRun: options['dryRun'] === true,
          pause: options['pause'] === true,
          resume: options['resume'] === true,
          restart: options['restart'] === true,
          timeoutMs: (options['timeout'] as number) * 1_000,
        },
        context,
      ),
  })
    .argument('[table]', 'schema.table, quoted as in SQL')
    .option('--where <sql>', 'only these rows: a condition over the columns')
    .option('--dry-run', 'only say how many rows, events and requests, at what cost; needs no worker')
    .option('--pause', 'stop the run of this table for a while')
    .option('--resume', 'go on where a paused or failed run was')
    .option('--restart', 'give up the open run and begin anew, with the same --where unless another is given')
    .option('--timeout <seconds>', 'how long to wait for the worker’s answer', whole, 30);
  const letters = program
    .command('dead-letters')
    .description('events that were set aside: list, show, redrive, discard');
  command(letters, 'list', {
    description: 'what is parked and why, newest first',
    registration,
    run: async (_, options, context) =>
      (await import('./dead-letters.ts')).listDeadLetters(
        { ...filterOf([], options), limit: options['limit'] as number, all: options['all'] === true },
        context,
      ),
  })
    .option('--table <name>', 'only of this table: schema.name, or message:PREFIX')
    .option('--group <group>', 'only of this key, as `list` prints it')
    .option('-n, --limit <number>', 'how many', whole, 50)
    .option('--all', 'those that were redriven or discarded too');
  command(letters, 'show', {
    description: 'one of them, with its event; masks hold here too',
    registration,
    run: async ([id], _, context) => (await import('./dead-letters.ts')).showDeadLetter(id as number, context),
  }).argument('<id>', 'its number, as `list` prints it', whole);
  command(letters, 'redrive', {
    description: 'ask the worker to send them again, in order within their key, mapped by today’s configuration',
    registration,
    run: async ([ids], options, context) =>
      (await import('./redrive.ts')).redriveDeadLetters(
        {
          ...filterOf(ids, options),
          all: options['all'] === true,
          wait: options['wait'] === true,
          timeoutMs: (options['timeout'] as number) * 1_000,
        },
        context,
      ),
  })
    .argument('[ids...]', 'their numbers; whatever else is parked of their keys goes along', numbers)
    .option('--table <name>', 'all of this table, and what is held of it')
    .option('--group <group>', 'all of this key')
    .option('--all', 'all')
    .option('--no-wait', 'do not wait for the worker’s answer')
    .option('--timeout <seconds>', 'how long to wait for it', whole, 30);
  command(letters, 'discard', {
    description: 'give them up for good: their changes never reach the bus',
    registration,
    run: async ([ids], options, context) =>
      (await import('./dead-letters.ts')).discardDeadLetters(
        { ...filterOf(ids, options), all: options['all'] === true, yes: options['yes'] === true },
        context,
      ),
  })
    .argument('[ids...]', 'their numbers', numbers)
    .option('--table <name>', 'all of this table')
    .option('--group <group>', 'all of this key')
    .option('--all', 'all')
    .option('--yes', 'do it');
  command(program, 'recover', {
    description: 'show the gaps that halt the worker; with --accept-gap let it go on without what is missing',
    registration,
    run: async (_, options, context) =>
      (await import('./recover.ts')).recover({ acceptGap: options['acceptGap'] === true }, context),
  }).option('--accept-gap', 'record that the gap is accepted, and by whom');
  command(program, 'teardown', {
    description: 'drop slot, publication and state, so that nothing stays behind that holds WAL',
    registration,
    run: async (_, options, context) =>
      (await import('./teardown.ts')).teardown(
        { yes: options['yes'] === true, discardParked: options['discardParked'] === true },
        context,
      ),
  })
    .option('--yes', 'do it; without, it only says what it would do')
    .option('--discard-parked', 'even while dead letters wait, which are lost then');
  command(program, 'healthcheck', {
    hidden: true,
    description: 'ask the worker of this container whether it is alive',
    registration,
    run: async (_, __, context) => (await import('./healthcheck.ts')).healthcheck(context),
  });
}

function addSurroundings(program: Command, registration: Registration): void {
  program.commandsGroup('Surroundings:');
  command(program, 'infra', {
    description:
      'print a CloudFormation template: bus, rule, queue with dead-letter queue, with `reverse` those of the way back, policies',
    registration,
    run: async (_, options, context) =>
      (await import('./infra.ts')).infra({ account: options['account'] as string | undefined }, context),
  }).option('--account <id>', 'of the bus: write its ARNs, instead of those of the account that deploys', account);
  command(program, 'bus', {
    description: 'the embedded EventBridge and SQS alone, for development',
    registration,
    run: async (_, options, context) =>
      (await import('./bus.ts')).bus(
        {
          host: options['host'] as string,
          port: options['port'] as number,
          name: options['name'] as string | undefined,
        },
        context,
      ),
  })
    .option('--host <address>', 'where to listen; nothing checks signatures, so keep it to this machine', '127.0.0.1')
    .option('--name <bus>', 'of the bus whose events are queued (default: bus.name of --config, else `default`)')
    .option('--port <port>', 'of EventBridge; SQS takes the next one', port, 4010);
}

function filterOf(
  ids: unknown,
  options: Options,
): { ids: number[]; table: string | undefined; group: string | undefined } {
  return {
    ids: (ids as number[] | undefined) ?? [],
    table: options['table'] as string | undefined,
    group: options['group'] as string | undefined,
  };
}
