import { existsSync } from 'node:fs';
import { DEFAULT_CONFIG_FILE, parseConfig } from '../config/load.ts';
import { type Config, publicationName } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import { type Leaf, leavesOf } from '../postgres/backfill-facts.ts';
import { resolveTables } from '../postgres/catalog.ts';
import { withClient } from '../postgres/connection.ts';
import { readPublication } from '../postgres/publication-catalog.ts';
import { readServerFacts } from '../postgres/server.ts';
import { compileReverse } from '../reverse/compile.ts';
import { neededRights } from '../reverse/privileges.ts';
import { connectionOf } from '../worker.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { starterOf, surveyLegacy } from './init.ts';
import { count } from './output.ts';
import { roleScript, tablesOf } from './role-script.ts';

/** Prints the script for the DBA, and changes nothing. It follows the configuration where there is one, else what `init` would write. */
export async function initRole(
  options: { role: string; tables: string[] | undefined },
  context: CommandContext,
): Promise<ExitCode> {
  if (options.role.trim() === '' || Buffer.byteLength(options.role) > 63) {
    throw new BanyanError('usage', '--role takes the name of a role, of 1 to 63 bytes');
  }
  const { config, from } = await configurationFor(options.tables, context);
  const script = await withClient(connectionOf(config), async (client) => {
    const facts = await readServerFacts(client);
    const resolved = await resolveTables(client, config.capture, { stateSchema: config.state.schema });
    const back = await compileReverse(client, config.reverse?.apply ?? [], { stateSchema: config.state.schema });
    const unknown = [...resolved.findings, ...back.findings].find(({ severity }) => severity === 'error');
    if (unknown !== undefined) {
      throw new BanyanError(
        'preflight',
        unknown.message,
        unknown.remedy === undefined ? {} : { remedy: unknown.remedy },
      );
    }
    const rights = await neededRights(client, back.targets);
    const { rows } = await client.query<{ rds: boolean }>(
      `select exists (select from pg_roles where rolname = 'rds_replication') as rds`,
    );
    const partitions: Leaf[] = [];
    for (const { oid, kind } of resolved.tables) {
      if (kind === 'partitioned') partitions.push(...(await leavesOf(client, oid)));
    }
    return {
      tables: tablesOf(resolved, rights),
      text: roleScript({
        role: options.role,
        config,
        database: facts.database,
        versionNumber: facts.versionNumber,
        resolved,
        partitions,
        rights,
        publication: await readPublication(client, publicationName(config), facts.versionNumber),
        onRds: rows[0]?.rds === true,
      }),
    };
  });
  if (context.output.json) {
    context.output.value({ role: options.role, tables: script.tables, sql: script.text });
    return ExitCode.ok;
  }
  context.output.line(script.text.trimEnd());
  context.output.note(`SQL for ${count(script.tables.length, 'table')} of ${from}; nothing was changed.`);
  return ExitCode.ok;
}

async function configurationFor(
  tables: string[] | undefined,
  context: CommandContext,
): Promise<{ config: Config; from: string }> {
  const { env } = context;
  const named = [context.configFile, env['BANYAN_CONFIG'], env['BANYAN_CONFIG_YAML']];
  const isWritten = named.some((name) => name !== undefined && name !== '') || existsSync(DEFAULT_CONFIG_FILE);
  if (isWritten && tables === undefined) {
    const { config, file } = await loadFor(context);
    return { config, from: file ?? 'BANYAN_CONFIG_YAML' };
  }
  if (isWritten) {
    throw new BanyanError('usage', '--tables and a configuration both say which tables', {
      remedy: 'leave --tables out: the script is made for the tables of the configuration',
    });
  }
  const { text } = starterOf(await surveyLegacy(tables, env), DEFAULT_CONFIG_FILE);
  const { config } = await parseConfig(text, { file: undefined, env });
  return { config, from: 'the catalog (there is no configuration yet)' };
}
