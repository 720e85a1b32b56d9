import { Command, CommanderError, Option } from 'commander';
import { addCommand, type Registration } from './command.ts';
import { ExitCode, invocation, type Io } from './context.ts';
import { exitCodeOf, printFailure } from './failure.ts';
import { addGates } from './gate-commands.ts';
import { account, assignment, list, port, span, whole } from './option-values.ts';
import { createOutput } from './output.ts';
import { addConflicts, addDeadLetters } from './parked-commands.ts';
import { version } from '../version.ts';

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

Exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 not now (no worker, another one, no database; a verdict
that is not ready), 4 a verdict that is unknown,
5 something to mend first (see check), 6 halted (run --exit-on-halt)
`;
}

function addFirstSteps(program: Command, registration: Registration): void {
  program.commandsGroup('First steps:');
  addCommand(program, 'init', {
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
  addCommand(program, 'check', {
    description: 'compare the configuration with the live database and bus; every finding with what mends it',
    registration,
    run: async (_, options, context) =>
      options['reverse'] === true
        ? (await import('./test-reverse.ts')).testReverse(context)
        : (await import('./check.ts')).check(context),
  }).option('--reverse', 'instead, have the worker prove now that it knows its own writes in the stream');
  addCommand(program, 'preview', {
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
  addCommand(program, 'run', {
    description: 'the worker: reads the slot, sends the events, serves health and metrics',
    registration,
    run: async (_, options, context) =>
      (await import('./run.ts')).run({ exitOnHalt: options['exitOnHalt'] === true }, context),
  }).option('--exit-on-halt', 'exit with 6 where a person must act, instead of staying up and saying why');
}

function addOperation(program: Command, registration: Registration): void {
  program.commandsGroup('Operation:');
  addCommand(program, 'status', {
    description: 'how far the migration is, one line a table; needs no worker, but knows more with one',
    registration,
    run: async (_, options, context) =>
      (await import('./status.ts')).status({ watch: options['watch'] === true }, context),
  }).option('--watch', 'again every two seconds, until Ctrl-C');
  addCommand(program, 'backfill', {
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
  addDeadLetters(program, registration);
  addConflicts(program, registration);
  addGates(program, registration);
  addCommand(program, 'writers', {
    description: 'which role and application writes to a table, where `observe: writers` has a trigger say so',
    registration,
    run: async ([table], options, context) =>
      (await import('./writers.ts')).writers(
        {
          table: String(table),
          sinceMs: options['since'] as number,
          print: options['sql'] === true ? 'install' : options['dropSql'] === true ? 'drop' : undefined,
        },
        context,
      ),
  })
    .argument('<table>', 'schema.table, as the configuration names it or as one of its patterns takes it')
    .addOption(
      new Option('--since <duration>', 'how far back: 15min, 24h, 7d').argParser(span).default(86_400_000, '24h'),
    )
    .option('--sql', 'instead, print the SQL that installs the trigger, for the owner of the table')
    .option('--drop-sql', 'instead, print the SQL that takes it away');
  addCommand(program, 'recover', {
    description: 'show the gaps that halt the worker; with --accept-gap let it go on without what is missing',
    registration,
    run: async (_, options, context) =>
      (await import('./recover.ts')).recover(
        { acceptGap: options['acceptGap'] === true, backfill: options['backfill'] !== false },
        context,
      ),
  })
    .option('--accept-gap', 'record that the gap is accepted, and by whom; the tables concerned are backfilled again')
    .option('--no-backfill', 'do not send their rows again');
  addCommand(program, 'teardown', {
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
  addCommand(program, 'healthcheck', {
    hidden: true,
    description: 'ask the worker of this container whether it is alive',
    registration,
    run: async (_, __, context) => (await import('./healthcheck.ts')).healthcheck(context),
  });
}

function addSurroundings(program: Command, registration: Registration): void {
  program.commandsGroup('Surroundings:');
  addCommand(program, 'infra', {
    description:
      'print a CloudFormation template: bus, rule, queue with dead-letter queue, with `reverse` those of the way back, policies',
    registration,
    run: async (_, options, context) =>
      (await import('./infra.ts')).infra({ account: options['account'] as string | undefined }, context),
  }).option('--account <id>', 'of the bus: write its ARNs, instead of those of the account that deploys', account);
  addCommand(program, 'bus', {
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
