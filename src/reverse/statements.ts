import { createHash } from 'node:crypto';
import { qualifiedName, quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts';
import type { CatalogColumn, CatalogTable } from '../postgres/table.ts';
import { qualify } from '../state/scope.ts';
import { column, differs, isKey, parameter, relation } from './column-sql.ts';
import type { Target, TargetColumn } from './intent.ts';

/** Prepared once per session under a name that its text gives. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** The SQL of one target. Names come from the catalog, every value is a parameter. */
export interface TargetStatements {
  /** Names of the key columns, in the order of the table's. */
  readonly keyNames: readonly string[];
  /** For each of these, its place in `Target.key`. */
  readonly keyOrder: readonly number[];
  /** What the rows of `applied_version` are under: another key of a table has versions of its own. */
  readonly versionsOf: string;
  /** Parameters: connector, producer, event id, target, time, `versionsOf`, table, key. */
  readonly claim: Statement;
  /** Parameters: key, values, expected. */
  readonly before: Statement;
  /** Columns that tell the row in the WAL, where the old one of a DELETE or UPDATE may hold the replica identity alone: mostly the key. */
  readonly tagNames: readonly string[];
  /** Columns that `before` returns, behind the row's place (`tableoid`, `ctid`), `same` and `expected`; those of `tagNames` are among them. */
  readonly beforeColumns: readonly string[];
  /** The whole row. Parameters: key. */
  readonly whole: Statement;
  /** Those of `columns` that can be written, in the order of the statements: what the target sets, then others that the table has (yet). */
  order(columns: readonly string[]): readonly string[];
  /** Parameters: prefix, tag, echo, correction, key, values. Returns `corrected`, `others`, the key, the written columns. `columns`: as `order` has them. */
  insert(columns: readonly string[]): Statement;
  /** The same for a row that is there; behind the values the place of the row as it was found: what changed it since was not decided upon. */
  update(columns: readonly string[]): Statement;
  /** The same without values: the columns get their defaults. */
  reset(columns: readonly string[]): Statement;
  /** Parameters: prefix, tag, echo, key, place. */
  readonly delete: Statement;
}

const compiled = new WeakMap<CatalogTable, Map<string, TargetStatements>>();

/** Once per target and catalog. Another policy makes no other SQL: the target may be a copy with one. */
export function statementsOf(target: Target, stateSchema: string): TargetStatements {
  let ofTable = compiled.get(target.table);
  if (ofTable === undefined) compiled.set(target.table, (ofTable = new Map()));
  const id = `${target.id} ${stateSchema}`;
  let statements = ofTable.get(id);
  if (statements === undefined) ofTable.set(id, (statements = compile(target, stateSchema)));
  return statements;
}

function compile(target: Target, stateSchema: string): TargetStatements {
  const { table, set, expect } = target;
  const position = (name: string) => table.columns.findIndex((column) => column.name === name);
  const keyOrder = target.key
    .map((_, index) => index)
    .toSorted((one, other) => position(target.key[one]?.name ?? '') - position(target.key[other]?.name ?? ''));
  const key = keyOrder.flatMap((index) => target.key[index] ?? []);
  const keyNames = key.map(({ name }) => name);
  const tagNames = namesInWal(table, keyNames);
  const read = new Set([...keyNames, ...set.map(({ name }) => name), ...tagNames]);
  const beforeColumns = target.operation === 'delete' ? table.columns.map(({ name }) => name) : [...read];
  const writable = [...set, ...otherColumns(table, [...key, ...set]).map(asItWas)];
  const written = (make: typeof insert) => {
    const byColumns = new Map<string, Statement>();
    return (columns: readonly string[]) => {
      const id = columns.join('\0');
      let statement = byColumns.get(id);
      if (statement === undefined) {
        const chosen = writable.filter(({ name }) => columns.includes(name));
        byColumns.set(id, (statement = named(make(table, key, chosen))));
      }
      return statement;
    };
  };
  return {
    keyNames,
    keyOrder,
    versionsOf: versionsOf(table, keyNames),
    claim: named(qualify(claim(table, key), stateSchema)),
    before: named(before({ target, key, set, expect, columns: beforeColumns })),
    tagNames,
    beforeColumns,
    whole: named(
      `select ${table.columns.map(({ name }) => column('r', name)).join(', ')} from ${relation(table)} as r where ${isKey('r', key, 1)}`,
    ),
    order: (columns) => writable.flatMap(({ name }) => (columns.includes(name) ? [name] : [])),
    insert: written(insert),
    update: written(update),
    reset: written(reset),
    delete: named(remove(table, key)),
  };
}

/** Whether the old row of each DELETE and UPDATE that changes it has the key. */
export function isInIdentity({ identityColumns }: CatalogTable, key: readonly string[]): boolean {
  return key.every((name) => identityColumns.includes(name));
}

function namesInWal(table: CatalogTable, key: readonly string[]): readonly string[] {
  // Without an identity nothing of an old row is sent, and a publication lets none be changed.
  return isInIdentity(table, key) || table.identityColumns.length === 0 ? key : table.identityColumns;
}

function versionsOf(table: CatalogTable, key: readonly string[]): string {
  const name = `${table.schema}.${table.name}`;
  const isPrimary = key.length === table.primaryKey.length && key.every((each) => table.primaryKey.includes(each));
  return isPrimary ? name : `${name} (${key.map(quoteIdentifier).join(', ')})`;
}

/**
 * Takes the event in and locks its key, in one statement; no row: the event is known. One that was skipped is not: its table may take it by now. Returns the key as
 * `applied_version` has it, its versions, whether the producer was told of the row, the stage, the transaction's id, and the key as a row of the table would print it.
 */
function claim(table: CatalogTable, key: readonly TargetColumn[]): string {
  const first = 8;
  return `
    with event as (
      insert into {inbox} (connector, producer, event_id, target, event_time) values ($1, $2, $3, $4, $5)
      on conflict do nothing returning 1
    ), again as (
      update {inbox} set outcome = 'applied', received_at = now()
      where connector = $1 and producer = $2 and event_id = $3 and target = $4 and outcome = 'skipped'
        and not exists (select from event)
      returning 1
    ), locked as (
      insert into {applied_version} (connector, table_name, key)
      select $1, $6, array[${key.map((each, index) => canonical(parameter(first + index, each), each)).join(', ')}]
      from (select from event union all select from again) as taken
      on conflict (connector, table_name, key) do update set applied_at = now()
      returning key, created_version, delete_version, last_version, columns, told
    )
    select key, created_version, delete_version, last_version, columns, told,
      (select stage from {table_stage} where connector = $1 and table_name = $7),
      pg_current_xact_id(), ${key.map((each, index) => stored(first + index, each, table)).join(', ')}
    from locked`;
}

/** One text for all spellings of a key that the table takes for the same. */
function canonical(sql: string, { castType }: TargetColumn): string {
  if (castType === 'numeric') return `trim_scale(${sql})::text`;
  return /(^|\.)"?citext"?$/.test(castType) ? `lower(${sql}::text)` : `(${sql})::text`;
}

/** As the column would hold it: `1.50` in a numeric(10,2), padded in a char(3). */
function stored(number: number, key: TargetColumn, table: CatalogTable): string {
  const typeName = table.columns.find(({ name }) => name === key.name)?.typeName ?? key.castType;
  return `${parameter(number, key)}::${typeName}`;
}

/** The row as it stands, locked; `same`: which columns hold already what is to be set. */
function before(row: {
  readonly target: Target;
  readonly key: readonly TargetColumn[];
  readonly set: readonly TargetColumn[];
  readonly expect: readonly TargetColumn[];
  readonly columns: readonly string[];
}): string {
  const { target, key, set, expect, columns } = row;
  const firstValue = 1 + key.length;
  const firstExpected = firstValue + set.length;
  const same = set.map((each, index) => `not (${differs('r', each, firstValue + index)})`);
  const expected = expect.map((each, index) => `not (${differs('r', each, firstExpected + index)})`);
  return `
    select r.tableoid, r.ctid, array[${same.join(', ')}]::bool[], ${expected.length === 0 ? 'null::bool' : expected.join(' and ')},
      ${columns.map((name) => column('r', name)).join(', ')}
    from ${relation(target.table)} as r where ${isKey('r', key, 1)}
    for ${target.operation === 'delete' ? 'update' : 'no key update'} of r`;
}

/**
 * The tag is scanned before the row that is written, so that its message stands before the row in the WAL; the verdict is made of what was written, so that
 * its message stands behind it, and before those of AFTER triggers.
 */
function tagged(written: string, verdict: string): string {
  return `
    with tag as materialized (
      select pg_logical_emit_message(true, $1::text, $2::text) as lsn
    ), written as (
      ${written}
    )
    select written.*, pg_logical_emit_message(true, $1::text, ${verdict}) from written`;
}

const BY_CORRECTED = 'case when written.corrected then $4::text else $3::text end';
const FIRST_KEY = 5;

/** `others`: what columns hold that were not set, as JSON of [name, text]; NULL where they hold nothing. */
function insert(table: CatalogTable, key: readonly TargetColumn[], set: readonly TargetColumn[]): string {
  const columns = [...key, ...set];
  const others = otherColumns(table, columns);
  const isFilled = anyFilled(others);
  return tagged(
    `insert into ${qualifiedName(table)} as r (${columns.map(({ name }) => quoteIdentifier(name)).join(', ')})
      overriding system value
      select ${columns.map((each, index) => parameter(FIRST_KEY + index, each)).join(', ')} from tag where tag.lsn is not null
      returning ${anyDiffers(columns, FIRST_KEY)} or ${isFilled} or ${isReshaped(table)} as corrected,
        case when ${isFilled} then ${pairs(others, ({ name }) => `num_nonnulls(${column('r', name)}) = 1`)} end as others
        ${returned(columns)}`,
    BY_CORRECTED,
  );
}

function update(table: CatalogTable, key: readonly TargetColumn[], set: readonly TargetColumn[]): string {
  const first = FIRST_KEY + key.length;
  const values = set.map((each, index) => parameter(first + index, each));
  return updated(table, key, { set, values, place: first + set.length, isCorrected: anyDiffers(set, first) });
}

/** Corrected where a default is not NULL, as with an insert that leaves the column out. */
function reset(table: CatalogTable, key: readonly TargetColumn[], set: readonly TargetColumn[]): string {
  const values = set.map(() => 'default');
  return updated(table, key, { set, values, place: FIRST_KEY + key.length, isCorrected: anyFilled(set) });
}

/** `others`: what columns hold now that were not set and changed all the same. */
function updated(
  table: CatalogTable,
  key: readonly TargetColumn[],
  to: {
    readonly set: readonly TargetColumn[];
    readonly values: readonly string[];
    readonly place: number;
    readonly isCorrected: string;
  },
): string {
  const { set, values, place, isCorrected } = to;
  const others = otherColumns(table, set);
  return tagged(
    `update ${relation(table)} as r
      set ${set.map(({ name }, index) => `${quoteIdentifier(name)} = ${values[index]}`).join(', ')}
      from tag, ${relation(table)} as b
      where tag.lsn is not null and ${isKey('r', key, FIRST_KEY)} and ${isKey('b', key, FIRST_KEY)}
        and ${isAt(place)}
      returning ${isCorrected} or ${changed(others)} or ${isReshaped(table)} as corrected,
        case when ${changed(others)} then ${pairs(others, (each) => changed([each]))} end as others
        ${returned([...key, ...set])}`,
    BY_CORRECTED,
  );
}

/** Nobody has looked at a column that came after the table was read: until it is read again, its producer is told of each row. */
function isReshaped({ oid, attributes }: CatalogTable): string {
  return `(select c.relnatts from pg_catalog.pg_class c where c.oid = ${oid}) is distinct from ${attributes}`;
}

/** Between before (`b`) and after (`r`), by their bytes: types without an equality can be compared too. */
function changed(columns: readonly CatalogColumn[]): string {
  return columns.length === 0 ? 'false' : `${record('r', columns)} operator(pg_catalog.*<>) ${record('b', columns)}`;
}

/** Two ROW() would be compared field by field, each with its type's own operator. */
function record(alias: string, columns: readonly CatalogColumn[]): string {
  return `row(${columns.map(({ name }) => column(alias, name)).join(', ')})::record`;
}

function remove(table: CatalogTable, key: readonly TargetColumn[]): string {
  return tagged(
    `delete from ${relation(table)} as r using tag
      where tag.lsn is not null and ${isKey('r', key, FIRST_KEY - 1)} and ${isAt(FIRST_KEY - 1 + key.length)} returning false as corrected`,
    '$3::text',
  );
}

function otherColumns(table: CatalogTable, columns: readonly TargetColumn[]): readonly CatalogColumn[] {
  const taken = new Set(columns.map(({ name }) => name));
  return table.columns.filter(({ name, generated }) => generated === undefined && !taken.has(name));
}

/** What was in that very column before fits its type with the modifier; its text is compared, whatever the type. */
function asItWas({ name, typeName, typeOid }: CatalogColumn): TargetColumn {
  return { name, castType: typeName, typeOid, compareAs: 'text' };
}

function anyFilled(columns: readonly { readonly name: string }[]): string {
  if (columns.length === 0) return 'false';
  return `not (${columns.map(({ name }) => `${column('r', name)} is null`).join(' and ')})`;
}

/** Any number of columns, where a function takes a hundred arguments. */
function pairs(columns: readonly CatalogColumn[], condition: (column: CatalogColumn) => string): string {
  const elements = columns.map((each) => {
    const value = column('r', each.name);
    // `format` prints as the stream does; a cast to text does not pad, and says true for t.
    const text = `case when num_nonnulls(${value}) = 1 then format('%s', ${value}) end`;
    return `case when ${condition(each)} then json_build_array(${quoteLiteral(each.name)}::text, ${text}) end`;
  });
  return `array_to_json(array[${elements.join(', ')}]::json[])::text`;
}

function returned(columns: readonly TargetColumn[]): string {
  return columns.map(({ name }, index) => `, ${column('r', name)} as c${index}`).join('');
}

function anyDiffers(columns: readonly TargetColumn[], first: number): string {
  return columns.length === 0 ? 'false' : columns.map((each, index) => differs('r', each, first + index)).join(' or ');
}

function isAt(first: number): string {
  return `r.tableoid = $${first}::oid and r.ctid = $${first + 1}::tid`;
}

function named(text: string): Statement {
  return { name: `banyan_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`, text };
}
