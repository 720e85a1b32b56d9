import { type Dependant, INVISIBLE, remedyOf } from '../progress/dependants.ts';
import { readersOf, type Reader } from '../progress/reads.ts';
import { readTables } from '../progress/uses.ts';
import type { ReadFacts } from '../progress/compare-reads.ts';
import { amount, moment } from '../progress/words.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { factsFor, withTable } from './facts-for.ts';
import { WIDTH, wrap } from './fit-columns.ts';
import { type Output, table as columns } from './output.ts';

interface Readers {
  /** `schema.name` */
  readonly table: string;
  readonly display: string;
  readonly reads: ReadFacts | undefined;
  /** By role, since the statistics were reset last; undefined: they can not be told apart. */
  readonly readers: readonly Reader[] | undefined;
  readonly dependants: readonly (Dependant & { readonly remedy: string })[];
}

/** Who reads a table, and what in the database needs it. */
export async function readers(options: { readonly table: string }, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  const seen = await withTable(config, options.table, async (place): Promise<Readers> => {
    const { table: name, display, oid } = place.table;
    const facts = (await factsFor(config, place)).tables.get(name);
    const dependants = facts?.dependants ?? [];
    const [watched] = readTables({
      tables: [place.table],
      stages: [],
      dependants: new Map([[oid, dependants]]),
      backfilled: new Map(),
    });
    const found = watched === undefined ? 'not known' : await readersOf(place.pool, watched);
    return {
      table: name,
      display,
      reads: facts?.reads,
      readers: typeof found === 'string' ? undefined : found,
      dependants: dependants.map((dependant) => ({ ...dependant, remedy: remedyOf(dependant, display) })),
    };
  });
  if (output.json) output.value({ ...seen, notSeen: INVISIBLE });
  else print(seen, output);
  return ExitCode.ok;
}

function print({ display, reads, readers: found, dependants }: Readers, output: Output): void {
  const note = (text: string) => wrap(text, WIDTH).forEach((line) => output.note(line));
  if (reads !== undefined) {
    const { readAt, unclearAt, watchedSince, source, withoutStatements } = reads;
    const last =
      readAt !== undefined
        ? `read last ${moment(readAt)}, or shortly before`
        : `no read seen since ${moment(watchedSince)}`;
    output.line(`${display}: ${last} (${source})`);
    if (unclearAt !== undefined) output.line(`  something read it ${moment(unclearAt)}, and it is not known who`);
    if (readAt !== undefined) output.line(`  watched without a reset of statistics since ${moment(watchedSince)}`);
    if (reads.blind !== undefined) note(reads.blind);
    if (withoutStatements !== undefined) note(`who reads is not known: ${withoutStatements}`);
  }
  if (found !== undefined) {
    output.line();
    const rows = found.map(({ role, calls, statements, own }) => [
      own ? `${role} (our role)` : role,
      calls.toLocaleString('en-US'),
      amount(statements, 'statement'),
    ]);
    if (rows.length === 0) output.line('no statement in pg_stat_statements names it');
    else for (const line of columns([['ROLE', 'CALLS', 'THAT NAME IT'], ...rows])) output.line(line);
  }
  output.line();
  if (dependants.length === 0) output.line('nothing in the catalog needs it');
  else {
    output.line(`${amount(dependants.length, 'dependant')}, each with what takes it away:`);
    for (const dependant of dependants) {
      const { kind, name, detail, foundBy, remedy } = dependant;
      const sure = foundBy === 'text' ? ' (its text names it)' : '';
      const where = detail === undefined ? '' : kind === 'privilege' ? `: ${detail}` : ` on ${detail}`;
      output.line(`  ${kind} ${name}${where}${sure}`);
      output.line(`    ${remedy}`);
    }
  }
  note(INVISIBLE);
}
