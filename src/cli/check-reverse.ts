import type pg from 'pg';
import type { Config } from '../config/schema.ts';
import type { Finding } from '../core/finding.ts';
import { resolveTables } from '../postgres/catalog.ts';
import { publicationTargets } from '../postgres/publication.ts';
import { readServerFacts } from '../postgres/server.ts';
import { compileReverse } from '../reverse/compile.ts';
import { guardFindings } from '../reverse/guards.ts';
import { columnLists } from '../reverse/published.ts';
import { surroundingFindings } from '../reverse/surroundings.ts';

/** `reverse.apply` against the catalog: what does not fit, what the role lacks, what comes of triggers, and what can not be told. */
export async function checkReverse(client: pg.ClientBase, { reverse, capture, state }: Config): Promise<Finding[]> {
  if (reverse === undefined) return [];
  const stateSchema = state.schema;
  const { entries, tables } = await resolveTables(client, capture, { stateSchema });
  const { role, versionNumber } = await readServerFacts(client);
  // As it is going to be: there need not be a publication yet.
  const published = columnLists(
    publicationTargets(entries, versionNumber).map(({ table: { oid }, columns }) => ({ oid, columns })),
  );
  const { targets, findings } = await compileReverse(client, reverse.apply, { stateSchema, published });
  return [
    ...findings,
    ...(await surroundingFindings(client, targets, role)),
    ...guardFindings(targets, { reverse, captured: new Set(tables.map(({ oid }) => oid)) }),
  ];
}
