import type pg from 'pg';
import type { LoadedConfig } from '../config/load.ts';
import { keyOf } from '../capture/backfill/run.ts';
import { isTableCapture } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { analyseEntry } from '../mapping/analyse.ts';
import type { MappedColumn } from '../mapping/columns.ts';
import { loadContracts } from '../mapping/contract.ts';
import { findSharedEventNames } from '../mapping/event-name.ts';
import { loadTransforms } from '../mapping/transform.ts';
import { resolveTables } from '../postgres/catalog.ts';
import { displayName, qualifiedName } from '../postgres/identifier.ts';
import { readServerFacts } from '../postgres/server.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { TypeCatalog } from '../postgres/type-catalog.ts';
import { catalogRelation } from '../postgres/catalog-relation.ts';
import { ignoredJsonCast } from '../postgres/values/json-cast.ts';

/** Every entry against every table that it takes: columns, expressions and their types, keys, schemas, modules. */
export async function checkMapping(client: pg.ClientBase, loaded: LoadedConfig): Promise<Finding[]> {
  const { config } = loaded;
  const { versionNumber } = await readServerFacts(client);
  const { entries } = await resolveTables(client, config.capture, { stateSchema: config.state.schema });
  const types = await TypeCatalog.load(client);
  const problems = entries.flatMap(({ index, entry, tables }) =>
    tables.flatMap((table): Finding[] => {
      const subject = displayName(table);
      const { plan, problems: found } = analyseEntry({
        name: config.name,
        entry,
        entryIndex: index,
        relation: catalogRelation(table, versionNumber),
        primaryKey: table.primaryKey,
        types,
        maskKey: config.maskKey,
      });
      const errors = found.all.map(({ code, path, message, remedy }): Finding => ({
        code,
        severity: 'error',
        subject,
        path,
        message,
        remedy,
      }));
      return [
        ...errors,
        ...castFindings(plan.columns.visible, { types, subject, path: `capture[${index}]` }),
        ...(entry.backfill ? keyFindings(table, `capture[${index}].backfill`) : []),
      ];
    }),
  );
  const named = entries.flatMap(({ index, entry, tables }) =>
    tables.map(({ schema, name }) => ({ entry, entryIndex: index, schema, name })),
  );
  return [...problems, ...findSharedEventNames(named), ...(await checkFiles(loaded))];
}

/** Values that leave in another form than whoever knows `to_jsonb` expects. */
function castFindings(
  columns: readonly MappedColumn[],
  place: { readonly types: TypeCatalog; readonly subject: string; readonly path: string },
): Finding[] {
  const { types, ...at } = place;
  return columns.flatMap(({ name, typeOid, mask }): Finding[] => {
    const type = mask === undefined ? ignoredJsonCast(typeOid, types) : undefined;
    if (type === undefined) return [];
    return [
      {
        code: 'JSON_CAST_IGNORED',
        severity: 'warning',
        ...at,
        message: `column ${name}: to_jsonb would call the cast of ${type.schema}.${type.name} to json, banyan sends the text form as a string`,
        remedy: 'nothing, where consumers can read the text; else capture a column of type jsonb in its place',
      },
    ];
  });
}

/** A backfill goes through a table in the order of its key, and tells by it which rows changed meanwhile; without one it compares whole rows. */
function keyFindings(table: CatalogTable, path: string): Finding[] {
  if (keyOf(table).length > 0) return [];
  const subject = displayName(table);
  const name = qualifiedName(table);
  if (table.replicaIdentity === 'full') {
    return [
      {
        code: 'BACKFILL_WITHOUT_KEY',
        severity: 'warning',
        subject,
        path,
        message: `${subject} has no primary key: its backfill sends each distinct row once, equal rows can not be told apart`,
        remedy: `alter table ${name} add primary key (…);  -- or nothing, where its rows are distinct`,
      },
    ];
  }
  return [
    {
      code: 'BACKFILL_NEEDS_KEY',
      severity: 'error',
      subject,
      path,
      message: `${subject} can not be backfilled: it has no key that tells its rows apart (replica identity ${table.replicaIdentity})`,
      remedy:
        table.primaryKey.length > 0
          ? `alter table ${name} replica identity default;`
          : `alter table ${name} add primary key (…);  -- or: alter table ${name} replica identity full;`,
    },
  ];
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
