import type pg from 'pg';
import { configSchema, isTableCapture } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { nearest } from '../core/nearest.ts';
import { resolveTables } from '../postgres/catalog.ts';
import { displayName, matchesPart, parseTableName } from '../postgres/identifier.ts';
import { planPublication } from '../postgres/publication.ts';
import { readServerFacts, serverFindings, type ServerFacts } from '../postgres/server.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { CatalogTable } from '../postgres/table.ts';

export interface SurveyedTable {
  readonly table: CatalogTable;
  /** The planner's estimate; undefined where the table was never analysed. */
  readonly rows: number | undefined;
  /** Why it can not be captured as it is, with what mends it. */
  readonly obstacle: Finding | undefined;
}

export interface Survey {
  readonly facts: ServerFacts;
  readonly serverFindings: readonly Finding[];
  /** Tables of the application, by name. */
  readonly tables: readonly SurveyedTable[];
}

/**
 * What a first configuration is made from: every table of the database that could be captured, or those that `names` selects. Reads only.
 *
 * @throws BanyanError `usage` where a name selects nothing.
 */
export async function surveyTables(
  client: pg.ClientBase,
  options: { readonly names: readonly string[] | undefined; readonly stateSchema: string },
): Promise<Survey> {
  try {
    const facts = await readServerFacts(client);
    const findings = serverFindings(facts);
    if (findings.some(({ code }) => code === 'SERVER_TOO_OLD')) return { facts, serverFindings: findings, tables: [] };
    const everything = configSchema.shape.capture.element.parse({ table: '*.*' });
    const { tables } = await resolveTables(client, [everything].filter(isTableCapture), {
      stateSchema: options.stateSchema,
    });
    const known = await readEstimates(client);
    const own = tables.filter(({ oid }) => known.get(oid)?.ofExtension !== true);
    const selected = options.names === undefined ? own : select(own, options.names);
    return {
      facts,
      serverFindings: findings,
      tables: selected.map((table) => ({
        table,
        rows: known.get(table.oid)?.rows,
        obstacle: obstacleOf(table, facts.versionNumber),
      })),
    };
  } catch (error) {
    throw toDatabaseError(error, 'reading the catalog');
  }
}

interface Estimate {
  readonly rows: number | undefined;
  /** Tables that an extension brought, such as PostGIS's spatial_ref_sys, are nobody's business events. */
  readonly ofExtension: boolean;
}

async function readEstimates(client: pg.ClientBase): Promise<Map<number, Estimate>> {
  const { rows } = await client.query<{ oid: number; rows: number | null; extension: boolean }>(
    `select c.oid::int8::float8 as oid,
            case when c.relkind = 'r' then c.reltuples::float8 else (
              select sum(l.reltuples) filter (where l.reltuples >= 0)
              from pg_partition_tree(c.oid) t join pg_class l on l.oid = t.relid
              where t.isleaf)::float8 end as rows,
            exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e') as extension
     from pg_class c where c.relkind in ('r', 'p')`,
  );
  return new Map(
    rows.map(({ oid, rows: estimate, extension }) => [
      oid,
      { rows: estimate === null || estimate < 0 ? undefined : estimate, ofExtension: extension },
    ]),
  );
}

function select(tables: readonly CatalogTable[], names: readonly string[]): CatalogTable[] {
  const wanted = names.map((name) => {
    const parsed = parseTableName(name.includes('.') ? name : `*.${name}`);
    const matches = tables.filter(
      (table) => matchesPart(parsed.schema, table.schema) && matchesPart(parsed.name, table.name),
    );
    if (matches.length === 0) throw unknownTable(name, tables);
    return matches;
  });
  const oids = new Set(wanted.flat().map(({ oid }) => oid));
  return tables.filter(({ oid }) => oids.has(oid));
}

function unknownTable(name: string, tables: readonly CatalogTable[]): BanyanError {
  const near = nearest(
    name,
    tables.flatMap((table) => [displayName(table), table.name]),
  );
  return new BanyanError('usage', `no table of this database is called ${name}`, {
    remedy:
      near === undefined
        ? 'write schema.table as psql’s \\dt prints it; views, partitions and unlogged tables can not be captured'
        : `did you mean ${near}?`,
  });
}

/** What the publication would make fail on this table, which is what keeps it out of a first configuration. */
function obstacleOf(table: CatalogTable, versionNumber: number): Finding | undefined {
  return planPublication({
    name: 'survey',
    manage: true,
    versionNumber,
    targets: [{ table: { ...table, owned: true }, columns: undefined }],
    current: undefined,
  }).findings.find(({ severity }) => severity === 'error');
}
