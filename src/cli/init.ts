import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DEFAULT_CONFIG_FILE } from '../config/load.ts';
import type { Environment } from '../config/environment.ts';
import { BanyanError } from '../core/errors.ts';
import { withClient } from '../postgres/connection.ts';
import { displayName } from '../postgres/identifier.ts';
import { type CommandContext, ExitCode, invocation } from './context.ts';
import { count, indent, table } from './output.ts';
import { connectorName, firstToLookAt, shellWord, starterConfig } from './starter.ts';
import { type Survey, surveyTables } from './survey.ts';

/** Writes a first configuration from the catalog, and says what comes next. */
export async function init(options: { tables: string[] | undefined }, context: CommandContext): Promise<ExitCode> {
  const file = context.configFile ?? (context.env['BANYAN_CONFIG'] || DEFAULT_CONFIG_FILE);
  refuseExisting(file);
  const survey = await surveyLegacy(options.tables, context.env);
  const { text, name } = starterOf(survey, file);
  await mkdir(dirname(resolve(file)), { recursive: true });
  // `wx`: whoever wrote it meanwhile keeps it.
  await writeFile(file, text, { flag: 'wx' }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') refuseExisting(file, true);
    throw error;
  });
  report({ file, name, survey }, context);
  return ExitCode.ok;
}

/** The catalog that LEGACY_DATABASE_URL leads to. */
export async function surveyLegacy(names: readonly string[] | undefined, env: Environment): Promise<Survey> {
  const survey = await withClient({ url: legacyUrl(env), name: 'init' }, (client) =>
    surveyTables(client, { names, stateSchema: 'banyan' }),
  );
  const tooOld = survey.serverFindings.find(({ code }) => code === 'SERVER_TOO_OLD');
  if (tooOld !== undefined) {
    throw new BanyanError('preflight', tooOld.message, tooOld.remedy === undefined ? {} : { remedy: tooOld.remedy });
  }
  return survey;
}

/** The text of the configuration; refuses where no table could be in it. */
export function starterOf(survey: Survey, file: string): { text: string; name: string } {
  if (!survey.tables.some(({ obstacle }) => obstacle === undefined)) {
    const [first] = survey.tables;
    throw new BanyanError(
      'preflight',
      first === undefined
        ? `database ${survey.facts.database} has no table that could be captured`
        : `none of the tables can be captured as they are: ${first.obstacle?.message ?? ''}`,
      { remedy: first?.obstacle?.remedy ?? 'does LEGACY_DATABASE_URL name the right database?' },
    );
  }
  const { database } = survey.facts;
  const name = connectorName(database);
  return { name, text: starterConfig({ name, database, tables: survey.tables, schemaPath: schemaPath(file) }) };
}

function legacyUrl(env: Environment): string {
  const url = env['LEGACY_DATABASE_URL'];
  if (url !== undefined && url !== '') return url;
  throw new BanyanError('usage', 'LEGACY_DATABASE_URL is not set: there is no catalog to read', {
    remedy: 'export LEGACY_DATABASE_URL=postgresql://USER:PASSWORD@HOST:5432/DATABASE',
  });
}

function refuseExisting(file: string, exists = existsSync(file)): void {
  if (!exists) return;
  throw new BanyanError('usage', `${file} is there already, and is not overwritten`, {
    remedy: 'write to another file with `--config FILE`, or move this one away first',
  });
}

/** From the new file to the schema of this installation, where it is on disk. */
function schemaPath(file: string): string | undefined {
  const schema = fileURLToPath(new URL('../../config/banyan.schema.json', import.meta.url));
  if (!existsSync(schema)) return undefined;
  const path = relative(dirname(resolve(file)), schema);
  return path.startsWith('.') ? path : `./${path}`;
}

function report(done: { file: string; name: string; survey: Survey }, context: CommandContext): void {
  const { file, name, survey } = done;
  const { output } = context;
  const captured = survey.tables.filter(({ obstacle }) => obstacle === undefined).map((found) => found.table);
  const left = survey.tables.filter(({ obstacle }) => obstacle !== undefined);
  const errors = survey.serverFindings.filter(({ severity }) => severity === 'error');
  if (output.json) {
    output.value({
      file,
      name,
      tables: captured.map(displayName),
      leftOut: left.map((found) => ({ table: displayName(found.table), ...found.obstacle })),
      findings: errors,
    });
    return;
  }
  output.line(
    `${output.paint('green', '✓')} wrote ${output.paint('bold', file)}: ${count(captured.length, 'table')} of database ${survey.facts.database}, on an embedded bus`,
  );
  for (const { table: found, obstacle } of left) {
    output.line();
    output.line(`${output.paint('yellow', '!')} left out, as a comment: ${displayName(found)}`);
    output.line(indent([obstacle?.message, obstacle?.remedy].join('\n'), 4));
  }
  for (const finding of errors) {
    output.line();
    output.line(`${output.paint('yellow', '!')} before \`run\`: ${finding.message}`);
    if (finding.remedy !== undefined) output.line(indent(finding.remedy, 4));
  }
  const me = `${invocation(context.env)} `;
  const flag = context.configFile === undefined ? '' : ` --config ${shellWord(file)}`;
  const first = firstToLookAt(survey.tables);
  const steps = [
    [
      `${me}preview ${first === undefined ? 'TABLE' : shellWord(displayName(first))}${flag}`,
      'which events its rows become; publishes nothing',
    ],
    [`${me}check${flag}`, 'is the database ready? prints the SQL for what is not'],
    [`${me}run${flag}`, 'the worker, with a bus and a queue on this machine'],
  ];
  output.line();
  output.line('Next:');
  for (const line of table(steps)) output.line(`  ${line}`);
}
