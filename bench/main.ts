import { Argument, Command, InvalidArgumentError } from 'commander';
import type { Scenario } from './report.ts';
import { backfillLatency } from './scenarios/backfill-latency.ts';
import { backfill } from './scenarios/backfill.ts';
import { forwardBus } from './scenarios/forward-bus.ts';
import { forwardNull } from './scenarios/forward-null.ts';
import { hotKey } from './scenarios/hot-key.ts';
import { hugeTransaction } from './scenarios/huge-transaction.ts';
import { latency } from './scenarios/latency.ts';
import { reverse } from './scenarios/reverse.ts';
import { writerTrigger } from './scenarios/writer-trigger.ts';

const scenarios: Readonly<Record<string, Scenario>> = {
  'forward-null': forwardNull,
  'hot-key': hotKey,
  'forward-bus': forwardBus,
  'huge-transaction': hugeTransaction,
  backfill,
  latency,
  'backfill-latency': backfillLatency,
  reverse,
  'writer-trigger': writerTrigger,
};

const command = new Command('bench')
  .description('Measures the worker beside a reference that does only what can not be left out.')
  .addArgument(new Argument('<scenario>').choices(Object.keys(scenarios)))
  .option('--rows <n>', 'rows, or transactions; each scenario has a default', whole)
  .option('--runs <n>', 'measured runs of each side', whole)
  .option('--json', 'end with one JSON object on the last line', false)
  .parse();
const { rows, runs, json } = command.opts<{ rows?: number; runs?: number; json: boolean }>();
const scenario = scenarios[command.args[0] ?? ''];
if (scenario === undefined) throw new Error('commander lets no other scenario through');

const out = json ? process.stderr : process.stdout;
const report = await scenario({ rows, runs, progress: (line) => void out.write(`${line}\n`) });
if (json) {
  process.stdout.write(`${JSON.stringify(report)}\n`);
} else {
  for (const [name, fact] of Object.entries(report)) out.write(`${name.padEnd(26)}${fact}\n`);
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('Give a whole number above 0.');
}
