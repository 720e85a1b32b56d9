import type pg from 'pg';
import type { LoadedConfig } from '../config/load.ts';
import { isTableCapture } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { analyseEntry } from '../mapping/analyse.ts';
import { loadContracts } from '../mapping/contract.ts';
import { findSharedEventNames } from '../mapping/event-name.ts';
import { loadTransforms } from '../mapping/transform.ts';
import { resolveTables } from '../postgres/catalog.ts';
import { displayName } from '../postgres/identifier.ts';
import { readServerFacts } from '../postgres/server.ts';
import { TypeCatalog } from '../postgres/type-catalog.ts';
import { catalogRelation } from '../postgres/catalog-relation.ts';

/** Every entry against every table that it takes: columns, expressions and their types, keys, schemas, modules. */
export async function checkMapping(client: pg.ClientBase, loaded: LoadedConfig): Promise<Finding[]> {
  const { config } = loaded;
  const { versionNumber } = await readServerFacts(client);
  const { entries } = await resolveTables(client, config.capture, { stateSchema: config.state.schema });
  const types = await TypeCatalog.load(client);
  const problems = entries.flatMap(({ index, entry, tables }) =>
    tables.flatMap((table): Finding[] =>
      analyseEntry({
        name: config.name,
        entry,
        entryIndex: index,
        relation: catalogRelation(table, versionNumber),
        primaryKey: table.primaryKey,
        types,
        maskKey: config.maskKey,
      }).problems.all.map(({ code, path, message, remedy }) => ({
        code,
        severity: 'error',
        subject: displayName(table),
        path,
        message,
        remedy,
      })),
    ),
  );
  const named = entries.flatMap(({ index, entry, tables }) =>
    tables.map(({ schema, name }) => ({ entry, entryIndex: index, schema, name })),
  );
  return [...problems, ...findSharedEventNames(named), ...(await checkFiles(loaded))];
}

/** JSON Schemas that do not compile, modules that can not be loaded. */
async function checkFiles({ config, directory }: LoadedConfig): Promise<Finding[]> {
  const { problems } = await loadContracts(config.capture, directory);
  const findings = config.capture.flatMap((entry, index) =>
    isTableCapture(entry)
      ? (entry.emit ?? []).flatMap(({ schema }, rule): Finding[] => {
          const message = schema === undefined ? undefined : problems.get(schema);
          if (message === undefined) return [];
          const path = `capture[${index}].emit[${rule}].schema`;
          return [{ code: 'SCHEMA_NOT_USABLE', severity: 'error', subject: entry.table, path, message }];
        })
      : [],
  );
  try {
    await loadTransforms(config.capture, directory);
  } catch (error) {
    if (!(error instanceof BanyanError)) throw error;
    const { message, remedy } = error;
    findings.push({ code: 'TRANSFORM_NOT_USABLE', severity: 'error', subject: 'capture', message, remedy });
  }
  return findings;
}
