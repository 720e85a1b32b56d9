import { type Command, Option } from 'commander';
import { addCommand, type CommandOptions, type Registration } from './command.ts';
import { CONFLICT_KINDS, type ConflictKind } from '../state/conflicts.ts';
import { type Direction, DIRECTIONS } from './letters.ts';
import { numbers, whole } from './option-values.ts';

/** The commands for what waits for a person: events that were set aside, and conflicts. */
export function addDeadLetters(program: Command, registration: Registration): void {
  const letters = program
    .command('dead-letters')
    .description('what was set aside, of both directions: list, show, redrive, discard');
  addCommand(letters, 'list', {
    description: 'what is parked and why, newest first',
    registration,
    run: async (_, options, context) =>
      (await import('./dead-letters.ts')).listDeadLetters(
        { ...filterOf([], options), limit: options['limit'] as number, all: options['all'] === true },
        context,
      ),
  })
    .addOption(direction())
    .option('--table <name>', 'only of this table, as `status` prints it, or message:PREFIX')
    .option('--group <group>', 'only of this key, as `list` prints it')
    .option('-n, --limit <number>', 'how many', whole, 50)
    .option('--all', 'those that were redriven or discarded too');
  addCommand(letters, 'show', {
    description: 'one of them, with its event; masks hold here too',
    registration,
    run: async ([id], _, context) => (await import('./dead-letters.ts')).showDeadLetter(id as number, context),
  }).argument('<id>', 'its number, as `list` prints it', whole);
  addCommand(letters, 'redrive', {
    description:
      'ask the worker to send them again, or to apply them again, in order within their key, by today’s configuration',
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
    .addOption(direction())
    .option('--table <name>', 'all of this table, and what is held of it')
    .option('--group <group>', 'all of this key')
    .option('--all', 'all')
    .option('--no-wait', 'do not wait for the worker’s answer')
    .option('--timeout <seconds>', 'how long to wait for it', whole, 30);
  addCommand(letters, 'discard', {
    description: 'give them up for good: what they hold never reaches the bus, or its row',
    registration,
    run: async ([ids], options, context) =>
      (await import('./dead-letters.ts')).discardDeadLetters(
        { ...filterOf(ids, options), all: options['all'] === true, yes: options['yes'] === true },
        context,
      ),
  })
    .argument('[ids...]', 'their numbers', numbers)
    .addOption(direction())
    .option('--table <name>', 'all of this table')
    .option('--group <group>', 'all of this key')
    .option('--all', 'all')
    .option('--yes', 'do it');
}

function direction(): Option {
  return new Option(
    '--direction <way>',
    'forward: changes for the bus; reverse: events for the legacy tables (default: both)',
  ).choices(DIRECTIONS);
}

function filterOf(
  ids: unknown,
  options: CommandOptions,
): { ids: number[]; table: string | undefined; group: string | undefined; direction: Direction | undefined } {
  return {
    ids: (ids as number[] | undefined) ?? [],
    table: options['table'] as string | undefined,
    group: options['group'] as string | undefined,
    direction: options['direction'] as Direction | undefined,
  };
}

export function addConflicts(program: Command, registration: Registration): void {
  const conflicts = program
    .command('conflicts')
    .description('rows that both sides have changed: list, show, resolve (reverse sync)');
  addCommand(conflicts, 'list', {
    description: 'which rows, and who won, newest first',
    registration,
    run: async (_, options, context) =>
      (await import('./conflicts.ts')).listConflicts(
        {
          table: options['table'] as string | undefined,
          kind: options['kind'] as ConflictKind | undefined,
          open: options['open'] === true,
          limit: options['limit'] as number,
        },
        context,
      ),
  })
    .option('--table <name>', 'only of this table, as `status` prints it')
    .addOption(new Option('--kind <kind>', 'only of this kind').choices(CONFLICT_KINDS))
    .option('--open', 'only those that wait for a person to decide')
    .option('-n, --limit <number>', 'how many', whole, 50);
  addCommand(conflicts, 'show', {
    description:
      'one of them: what the event took the row for, what it proposed, and what stood there; masks hold here too',
    registration,
    run: async ([id], _, context) => (await import('./conflicts.ts')).showConflict(id as number, context),
  }).argument('<id>', 'its number, as `list` prints it', whole);
  addCommand(conflicts, 'resolve', {
    description: 'decide one that waits, by the worker; later events of its key go on then',
    registration,
    run: async ([id], options, context) =>
      (await import('./resolve-conflict.ts')).resolveConflict(
        {
          id: id as number,
          keep: options['keep'] as 'current' | 'proposed',
          note: options['note'] as string | undefined,
          by: options['by'] as string | undefined,
          timeoutMs: (options['timeout'] as number) * 1_000,
        },
        context,
      ),
  })
    .argument('<id>', 'its number, as `list` prints it', whole)
    .addOption(
      new Option(
        '--keep <side>',
        'current: the legacy row stays, and the producer is told how it stands; proposed: the event is written',
      )
        .choices(['current', 'proposed'])
        .makeOptionMandatory(),
    )
    .option('--note <text>', 'why, for the record')
    .option('--by <name>', 'who decides, for the record (default: the user who runs this)')
    .option('--timeout <seconds>', 'how long to wait for the worker’s answer', whole, 30);
}
