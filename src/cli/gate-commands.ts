import { Argument, type Command, Option } from 'commander';
import { GATE_CODES, type GateCode, type TargetStage } from '../core/progress.ts';
import { addCommand, type Registration } from './command.ts';

const TABLE = 'schema.table, as `status` prints it; the name alone where it is but one';

const TARGETS: readonly TargetStage[] = ['shadow', 'dual', 'new-primary', 'retired'];

/** The commands that say whether a table may move, and what stands in the way. */
export function addGates(program: Command, registration: Registration): void {
  addCommand(program, 'verdict', {
    description: 'whether a table may move to a stage, and if not why (exit 0 ready, 3 not ready, 4 unknown)',
    registration,
    run: async ([table], options, context) =>
      (await import('./verdict.ts')).verdict({ table: String(table), to: options['to'] as TargetStage }, context),
  })
    .argument('<table>', TABLE)
    .addOption(new Option('--to <stage>', 'where to').choices(TARGETS).makeOptionMandatory());
  addCommand(program, 'stage', {
    description: 'move a table to another stage, if the verdict allows; without --to: where it is, and was',
    registration,
    run: async ([table], options, context) =>
      (await import('./stage.ts')).stage(
        {
          table: String(table),
          to: options['to'] as TargetStage | undefined,
          dryRun: options['dryRun'] === true,
          yes: options['yes'] === true,
          by: options['by'] as string | undefined,
        },
        context,
      ),
  })
    .argument('<table>', TABLE)
    .addOption(new Option('--to <stage>', 'where to').choices(TARGETS))
    .option('--dry-run', 'only say what is in the way, and what the move would do')
    .option('--yes', 'do it; without, it only says what it would do')
    .option('--by <name>', 'who, for the record (default: the user who runs this)');
  addCommand(program, 'waive', {
    description: 'let a gate of a table count as passed for a while, in the open, with name and reason',
    registration,
    run: async ([table, gate], options, context) =>
      (await import('./waive.ts')).waive(
        {
          table: String(table),
          gate: gate as GateCode,
          reason: options['reason'] as string | undefined,
          until: options['until'] as string | undefined,
          revoke: options['revoke'] === true,
          by: options['by'] as string | undefined,
        },
        context,
      ),
  })
    .argument('<table>', TABLE)
    .addArgument(new Argument('<gate>', 'which, as `verdict` prints it').choices(GATE_CODES))
    .option('--reason <text>', 'why, for the record')
    .option('--until <when>', 'a date, or how long from now, such as 7d; at most 90d')
    .option('--revoke', 'instead, take it back')
    .option('--by <name>', 'who, for the record (default: the user who runs this)');
  addCommand(program, 'readers', {
    description: 'who reads a table, and what in the database needs it, each with what takes it away',
    registration,
    run: async ([table], _, context) => (await import('./readers.ts')).readers({ table: String(table) }, context),
  }).argument('<table>', TABLE);
}
