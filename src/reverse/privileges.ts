import type pg from 'pg';
import { type QualifiedName, qualifiedName, quoteIdentifier } from '../postgres/identifier.ts';
import type { Target } from './intent.ts';

/** What of a target says which rights its writes need. */
export type Writes = Pick<Target, 'table' | 'operation'> & {
  readonly key: readonly { readonly name: string }[];
  readonly set: readonly { readonly name: string }[];
  readonly expect: readonly { readonly name: string }[];
};

export interface TableRights extends QualifiedName {
  readonly oid: number;
  /** Of every column: the row is compared with what was meant, before and after the write. */
  readonly select: boolean;
  readonly insert: readonly string[];
  readonly update: readonly string[];
  readonly delete: boolean;
}

/** What the role needs that writes the events of `reverse.apply`, beside its own schema. Nothing for EXECUTE: everybody has it. */
export interface Rights {
  /** Of the tables, their columns' types and the sequences. */
  readonly schemas: readonly string[];
  readonly tables: readonly TableRights[];
  readonly sequences: readonly (QualifiedName & { readonly oid: number })[];
}

/** Reads which types and sequences the columns have; needs no right itself. */
export async function neededRights(client: pg.ClientBase, targets: readonly Writes[]): Promise<Rights> {
  const byTable = Map.groupBy(targets, ({ table }) => table.oid);
  const tables = [...byTable.values()].map(rightsOf).toSorted(byName);
  const sequences = await sequencesOf(client, targets);
  const schemas = [...tables, ...sequences].map(({ schema }) => schema);
  return { tables, sequences, schemas: [...new Set([...schemas, ...(await typeSchemas(client, targets))])].toSorted() };
}

function rightsOf(targets: readonly Writes[]): TableRights {
  const [{ table }] = targets as [Writes];
  const inserts = targets.filter(({ operation }) => operation === 'insert' || operation === 'upsert');
  const deletes = targets.some(({ operation }) => operation === 'delete');
  // A row that was deleted and is made again gets back what newer events had set, also in columns that the event which makes it does not set.
  const inserted = deletes && inserts.length > 0 ? [...inserts, ...targets] : inserts;
  // An insert whose row is there already updates it, where the new system wins.
  const updated = inTableOrder(
    table,
    targets.flatMap(({ set }) => names(set)),
  );
  // Every event locks its row first, and a lock takes the right to update some column.
  const locking = inTableOrder(
    table,
    targets.flatMap(({ key }) => names(key)),
  ).slice(0, 1);
  return {
    oid: table.oid,
    schema: table.schema,
    name: table.name,
    select: true,
    insert: inTableOrder(
      table,
      inserted.flatMap(({ key, set }) => [...names(key), ...names(set)]),
    ),
    update: updated.length > 0 ? updated : locking,
    delete: deletes,
  };
}

function inTableOrder(table: Writes['table'], some: readonly string[]): string[] {
  return names(table.columns).filter((name) => some.includes(name));
}

/** A serial column that an insert leaves to its default: whoever inserts needs its sequence. Identity columns need nothing. */
async function sequencesOf(client: pg.ClientBase, targets: readonly Writes[]): Promise<Rights['sequences']> {
  const inserts = targets.filter(({ operation }) => operation === 'insert' || operation === 'upsert');
  const { rows } = await client.query<{ table: number; column: string; oid: number; schema: string; name: string }>(
    `select d.adrelid::int8::float8 as table, a.attname::text as column,
            s.oid::int8::float8 as oid, n.nspname::text as schema, s.relname::text as name
     from pg_attrdef d
     join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum and a.attgenerated = ''
     join pg_depend p on p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
     join pg_class s on s.oid = p.refobjid and s.relkind = 'S' join pg_namespace n on n.oid = s.relnamespace
     where d.adrelid = any($1::oid[])`,
    [inserts.map(({ table }) => table.oid)],
  );
  const needed = rows.filter(({ table, column }) =>
    inserts.some(
      (target) => target.table.oid === table && ![...target.key, ...target.set].some(({ name }) => name === column),
    ),
  );
  const unique = new Map(needed.map(({ oid, schema, name }) => [oid, { oid, schema, name }]));
  return [...unique.values()].toSorted(byName);
}

/** Every value is cast to its column's type by name; a domain's to the type below it. */
async function typeSchemas(client: pg.ClientBase, targets: readonly Writes[]): Promise<string[]> {
  const oids = targets.flatMap(({ table, key, set, expect }) =>
    [...key, ...set, ...expect].flatMap(
      ({ name }) => table.columns.find((column) => column.name === name)?.typeOid ?? [],
    ),
  );
  const { rows } = await client.query<{ schema: string }>(
    `with recursive used as (
       select oid, typbasetype, typnamespace from pg_type where oid = any($1::oid[])
       union select b.oid, b.typbasetype, b.typnamespace from used u join pg_type b on b.oid = u.typbasetype
     )
     select distinct n.nspname::text as schema from used join pg_namespace n on n.oid = used.typnamespace
     where n.nspname <> 'pg_catalog'`,
    [oids],
  );
  return rows.map(({ schema }) => schema);
}

/** What of it the connected role does not have. */
export async function missingRights(client: pg.ClientBase, rights: Rights): Promise<Rights> {
  const asked = rights.tables.map(({ oid, insert, update }) => ({ oid, insert, update }));
  const { rows } = await client.query<{
    oid: number;
    select: boolean;
    insert: string[];
    update: string[];
    delete: boolean;
  }>(
    `select t.oid::int8::float8 as oid, has_table_privilege(t.oid, 'delete') as delete,
            not exists (select from pg_attribute a where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
                        and not has_column_privilege(t.oid, a.attnum, 'select')) as select,
            array(select name from json_array_elements_text(t.insert) as name
                  where not has_column_privilege(t.oid, name, 'insert')) as insert,
            array(select name from json_array_elements_text(t.update) as name
                  where not has_column_privilege(t.oid, name, 'update')) as update
     from json_to_recordset($1::json) as t(oid oid, insert json, update json)`,
    [JSON.stringify(asked)],
  );
  const held = new Map(rows.map((row) => [row.oid, row]));
  const { rows: closed } = await client.query<{ schemas: string[]; sequences: number[] }>(
    `select array(select name from unnest($1::text[]) as name
                  where not has_schema_privilege(name, 'usage')) as schemas,
            array(select oid::int8::float8 from unnest($2::oid[]) as oid
                  where not has_sequence_privilege(oid, 'usage')) as sequences`,
    [rights.schemas, rights.sequences.map(({ oid }) => oid)],
  );
  return {
    tables: rights.tables
      .map((table): TableRights => {
        const row = held.get(table.oid);
        return {
          ...table,
          select: table.select && row?.select !== true,
          insert: row?.insert ?? [],
          update: row?.update ?? [],
          delete: table.delete && row?.delete !== true,
        };
      })
      .filter((table) => privilegesOf(table).length > 0),
    schemas: closed[0]?.schemas ?? [],
    sequences: rights.sequences.filter(({ oid }) => closed[0]?.sequences.includes(oid) === true),
  };
}

/** One statement for each schema, table and sequence. */
export function grantStatements({ schemas, tables, sequences }: Rights, role: string): string[] {
  const to = `to ${quoteIdentifier(role)};`;
  return [
    ...schemas.map((schema) => `grant usage on schema ${quoteIdentifier(schema)} ${to}`),
    ...tables.map((table) => `grant ${privilegesOf(table).join(', ')} on ${qualifiedName(table)} ${to}`),
    ...sequences.map((sequence) => `grant usage on sequence ${qualifiedName(sequence)} ${to}`),
  ];
}

/** As GRANT takes them. */
export function privilegesOf(table: TableRights): string[] {
  return [
    ...(table.select ? ['select'] : []),
    ...(table.insert.length > 0 ? [`insert ${columnList(table.insert)}`] : []),
    ...(table.update.length > 0 ? [`update ${columnList(table.update)}`] : []),
    ...(table.delete ? ['delete'] : []),
  ];
}

function byName(one: QualifiedName, other: QualifiedName): number {
  const [first, second] = [qualifiedName(one), qualifiedName(other)];
  return first < second ? -1 : first > second ? 1 : 0;
}

function columnList(names: readonly string[]): string {
  return `(${names.map(quoteIdentifier).join(', ')})`;
}

function names(columns: readonly { readonly name: string }[]): string[] {
  return columns.map(({ name }) => name);
}
