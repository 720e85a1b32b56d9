import type pg from 'pg';
import type { MappingFiles } from '../capture/mappers.ts';
import type { LoadedConfig } from '../config/load.ts';
import { BanyanError } from '../core/errors.ts';
import { eventRange } from '../core/event.ts';
import type { CompileOptions } from '../mapping/compile-rule.ts';
import { compileMapper } from '../mapping/compile.ts';
import { loadContracts } from '../mapping/contract.ts';
import type { Mapper } from '../mapping/mapper.ts';
import { loadTransforms } from '../mapping/transform.ts';
import { catalogRelation } from '../postgres/catalog-relation.ts';
import { type ResolvedTables, resolveTables } from '../postgres/catalog.ts';
import { displayName } from '../postgres/identifier.ts';
import { readServerFacts } from '../postgres/server.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { TypeCatalog } from '../postgres/type-catalog.ts';
import { tableNamed } from './named-table.ts';

/** A command that looks at rows may not run for long. */
export const STATEMENT_TIMEOUT_MS = 15_000;

/** A captured table as the catalog has it now, with what the worker's own mappers would be for it. */
export interface OpenedTable {
  readonly table: CatalogTable;
  readonly mappers: readonly Mapper[];
  readonly resolved: ResolvedTables;
  readonly versionNumber: number;
}

export async function loadMappingFiles({ config, directory }: LoadedConfig): Promise<MappingFiles> {
  return {
    transforms: await loadTransforms(config.capture, directory),
    contracts: await loadContracts(config.capture, directory),
  };
}

/** Throws `usage` where nothing captures a table of that name, with the nearest that is, and `config` where its mapping does not fit. */
export async function openTable(
  client: pg.ClientBase,
  name: string,
  { loaded, files }: { readonly loaded: LoadedConfig; readonly files: MappingFiles },
): Promise<OpenedTable> {
  const { config } = loaded;
  const { versionNumber } = await readServerFacts(client);
  const resolved = await resolveTables(client, config.capture, { stateSchema: config.state.schema });
  const table = capturedNamed(name, resolved);
  const types = await TypeCatalog.load(client);
  const mappers = mappersFor(table, { loaded, files, resolved, types, versionNumber });
  return { table, mappers, resolved, versionNumber };
}

/** All captured tables. Throws `config` where a mapping does not fit. */
export async function openTables(
  client: pg.ClientBase,
  { loaded, files }: { readonly loaded: LoadedConfig; readonly files: MappingFiles },
): Promise<readonly Pick<OpenedTable, 'table' | 'mappers'>[]> {
  const { config } = loaded;
  const { versionNumber } = await readServerFacts(client);
  const resolved = await resolveTables(client, config.capture, { stateSchema: config.state.schema });
  const types = await TypeCatalog.load(client);
  return resolved.tables.map((table) => ({
    table,
    mappers: mappersFor(table, { loaded, files, resolved, types, versionNumber }),
  }));
}

export function capturedNamed(name: string, { tables }: ResolvedTables): CatalogTable {
  return tableNamed(name, {
    tables,
    what: 'captured table',
    unknown: `no entry of \`capture\` takes a table ${name}`,
    remedy: `captured are ${tables.map(displayName).slice(0, 10).join(', ') || 'no tables: see `banyan check`'}`,
  });
}

function mappersFor(
  table: CatalogTable,
  parts: {
    loaded: LoadedConfig;
    files: MappingFiles;
    resolved: ResolvedTables;
    types: TypeCatalog;
    versionNumber: number;
  },
): Mapper[] {
  const { config } = parts.loaded;
  const relation = catalogRelation(table, parts.versionNumber);
  return parts.resolved.entries
    .filter(({ tables }) => tables.some(({ oid }) => oid === table.oid))
    .map(({ index, entry }, position, own) =>
      compileForPreview({
        name: config.name,
        entry,
        entryIndex: index,
        relation,
        primaryKey: table.primaryKey,
        types: parts.types,
        maskKey: config.maskKey,
        // Where a row stands in the WAL is not known: ids and sequences of a preview only show their form.
        identity: { systemId: '0', epoch: 0 },
        range: eventRange(position, own.length),
        transform: entry.transform === undefined ? undefined : parts.files.transforms.get(entry.transform),
        contracts: parts.files.contracts,
      }),
    );
}

/** What the mapping lacks is to be mended before anything runs: nothing of it is parked or held yet. */
function compileForPreview(options: CompileOptions): Mapper {
  try {
    return compileMapper(options);
  } catch (error) {
    if (!(error instanceof BanyanError)) throw error;
    throw new BanyanError('config', error.message, {
      cause: error,
      remedy: 'mend the configuration; `banyan check` lists everything that does not fit, each with what to do',
    });
  }
}
