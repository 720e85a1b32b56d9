import type pg from 'pg';
import type { Relation } from '../core/change.ts';
import { toBanyanError } from '../core/errors.ts';
import type { Mapper } from '../mapping/mapper.ts';
import { loadTables } from '../postgres/catalog.ts';
import { catalogRelation } from '../postgres/catalog-relation.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { CatalogTable } from '../postgres/table.ts';
import type { Holding } from './holding.ts';
import type { MapperFactory } from './mappers.ts';
import type { Route, Routes } from './routes.ts';

/** A table's form as the catalog has it now, and how its rows become events. */
export interface Shape {
  readonly relation: Relation;
  readonly mappers: readonly Mapper[];
}

export interface ShapeContext {
  readonly server: { readonly versionNumber: number };
  readonly factory: MapperFactory;
  readonly prepareRelation: (relation: Relation) => Promise<void>;
  /** Forms that are compiled already, by OID. */
  readonly shapes: Map<number, Shape>;
}

/** Compiled where it is another form than the last time. Throws as `MapperFactory.compile`. */
export async function shapeOf(table: CatalogTable, context: ShapeContext): Promise<Shape> {
  const relation = catalogRelation(table, context.server.versionNumber);
  const known = context.shapes.get(table.oid);
  if (known !== undefined && JSON.stringify(known.relation) === JSON.stringify(relation)) return known;
  await context.prepareRelation(relation);
  const shape = { relation, mappers: context.factory.compile(relation) ?? [] };
  context.shapes.set(table.oid, shape);
  return shape;
}

/** Where rows of a table go that the stream has not shown yet; undefined: it is gone, or nobody captures it. */
export async function catalogRoute(
  oid: number,
  context: ShapeContext & { pool: pg.Pool; routes: Routes; holding: Holding },
): Promise<Route | undefined> {
  const table = await loaded(oid, context.pool);
  if (table === undefined || !context.factory.captured.some((captured) => captured.table.oid === oid)) return undefined;
  const name = `${table.schema}.${table.name}`;
  const place = { table: name, counters: context.routes.countersOf(name) };
  try {
    return { ...place, ...(await shapeOf(table, context)) };
  } catch (error) {
    const failure = toBanyanError(error, `compiling the mapping of ${name}`);
    if (failure.reaction !== 'hold') throw failure;
    await context.holding.hold(name, failure);
    return { ...place, relation: catalogRelation(table, context.server.versionNumber), mappers: [] };
  }
}

async function loaded(oid: number, pool: pg.Pool): Promise<CatalogTable | undefined> {
  try {
    return (await loadTables(pool, [oid]))[0];
  } catch (error) {
    throw toDatabaseError(error, 'reading the catalog');
  }
}
