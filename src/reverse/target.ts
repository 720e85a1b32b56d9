import { createHash } from 'node:crypto';
import { formatPath, type Path } from '../config/problem.ts';
import type { ApplyEntry, Derived, EventField } from '../config/reverse-schema.ts';
import type { Finding } from '../core/finding.ts';
import { nearest } from '../core/nearest.ts';
import { qualifiedName } from '../postgres/identifier.ts';
import type { CatalogColumn, CatalogTable } from '../postgres/table.ts';
import { type Cast, castTo } from './cast.ts';
import { comparisonOf, isCitext, isSpeltFreely } from './equality.ts';
import { type FieldReader, fieldReader } from './event-field.ts';
import type { Target, TargetColumn } from './intent.ts';
import { parseExact } from './json-parse.ts';
import { Misfit } from './misfit.ts';
import { isInIdentity } from './statements.ts';
import type { TargetFacts } from './target-facts.ts';

/** A column of the target, with what it gets and how. */
export interface ColumnPlan {
  readonly column: TargetColumn;
  /** As `format_type` prints it, for messages. */
  readonly typeName: string;
  readonly reader: FieldReader;
  readonly cast: Cast;
}

/** An entry of `reverse.apply`, resolved against its table: what the mapper is built from. */
export interface TargetPlan {
  readonly target: Target;
  readonly key: readonly ColumnPlan[];
  readonly set: readonly ColumnPlan[];
  readonly expect: readonly ColumnPlan[];
  readonly version: FieldReader | undefined;
  readonly basedOn: FieldReader | undefined;
  readonly id: FieldReader | undefined;
  readonly hops: FieldReader | undefined;
}

export interface AnalysedTarget {
  /** undefined: the findings say why. */
  readonly plan: TargetPlan | undefined;
  readonly findings: readonly Finding[];
}

/** Finds every problem of an entry, not only the first. */
export function analyseTarget(
  entry: ApplyEntry,
  place: {
    readonly index: number;
    readonly table: CatalogTable;
    readonly facts: TargetFacts;
    /** Columns of the table that are published; undefined: all, or none. */
    readonly published?: readonly string[] | undefined;
  },
): AnalysedTarget {
  const analysis = new Analysis(place.index, place.table, place.facts);
  const key = analysis.columns('key', entry.key);
  const set = analysis.columns('set', entry.set ?? {});
  const expect = analysis.columns('expect', entry.expect ?? {});
  analysis.checkWritable(entry);
  analysis.checkKey(Object.keys(entry.key), { hasBasedOn: entry.basedOn !== undefined });
  if (entry.basedOn !== undefined) analysis.checkIdentity(Object.keys(entry.key));
  if (place.published !== undefined) analysis.checkPublished(entry, place.published);
  const readers = {
    version: analysis.reader(entry.version, ['version']),
    basedOn: analysis.reader(entry.basedOn, ['basedOn']),
    id: analysis.reader(entry.id, ['id']),
    hops: analysis.reader(entry.hops, ['hops']),
  };
  if (analysis.findings.length > 0) return { plan: undefined, findings: analysis.findings };
  const target: Target = {
    entry: place.index,
    id: targetId(entry, place.table),
    table: place.table,
    operation: entry.operation,
    key: key.map(({ column }) => column),
    set: set.map(({ column }) => column),
    carries: entry.carries,
    conflict: entry.conflict,
    gaps: entry.gaps,
    hasBasedOn: entry.basedOn !== undefined,
    expect: expect.map(({ column }) => column),
    replay: entry.replay,
  };
  return { plan: { target, key, set, expect, ...readers }, findings: [] };
}

/** Stable while the entry writes the same columns of the same rows, wherever it stands in the file. */
function targetId(entry: ApplyEntry, table: CatalogTable): string {
  const key = Object.entries(entry.key).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const content = JSON.stringify([entry.operation, key, Object.keys(entry.set ?? {}).toSorted()]);
  const digest = createHash('sha256').update(content).digest('hex').slice(0, 10);
  return `${table.schema}.${table.name}#${digest}`;
}

class Analysis {
  readonly findings: Finding[] = [];
  readonly #index: number;
  readonly #table: CatalogTable;
  readonly #name: string;
  readonly #facts: TargetFacts;

  constructor(index: number, table: CatalogTable, facts: TargetFacts) {
    this.#index = index;
    this.#table = table;
    this.#name = `${table.schema}.${table.name}`;
    this.#facts = facts;
  }

  /** In the order of the table, so that keys of all entries are spelt alike. */
  columns(option: 'key' | 'set' | 'expect', fields: Readonly<Record<string, EventField>>): ColumnPlan[] {
    const names = this.#table.columns.map(({ name }) => name);
    for (const name of Object.keys(fields)) {
      if (names.includes(name)) continue;
      const near = nearest(name, names);
      this.#add({
        code: 'COLUMN_UNKNOWN',
        path: [option, name],
        message: `${this.#name} has no column ${name}${near === undefined ? '' : `; the nearest is ${near}`}`,
        remedy: near === undefined ? `take ${name} out, or name the column that it became` : `write ${near}`,
      });
    }
    return this.#table.columns.flatMap((column) => {
      const field = Object.hasOwn(fields, column.name) ? fields[column.name] : undefined;
      return field === undefined ? [] : (this.#column(column, { field, path: [option, column.name] }) ?? []);
    });
  }

  reader(field: EventField | Derived | undefined, path: Path): FieldReader | undefined {
    if (field === undefined) return undefined;
    const reader = fieldReader(field, this.#pathOf(path));
    if (!('invalid' in reader)) return reader;
    this.#add({
      code: 'CEL_INVALID',
      path,
      message: reader.invalid,
      remedy: 'mend the expression; it sees `detail`, `event` (the whole envelope) and `time`',
    });
    return undefined;
  }

  /** Columns that the server fills itself, and refuses from anyone else. */
  checkWritable(entry: ApplyEntry): void {
    const always = this.#facts.identities.get(this.#table.oid) ?? [];
    const inserts = entry.operation === 'insert' || entry.operation === 'upsert';
    const written: (readonly [string, Path])[] = Object.keys(entry.set ?? {}).map((name) => [name, ['set', name]]);
    for (const name of Object.keys(entry.key)) if (inserts) written.push([name, ['key', name]]);
    for (const [name, path] of written) {
      const column = this.#table.columns.find((candidate) => candidate.name === name);
      if (column?.generated !== undefined) {
        this.#add({
          code: 'COLUMN_GENERATED',
          path,
          message: `${name} of ${this.#name} is generated: PostgreSQL computes it and takes no value`,
          remedy: `take ${name} out, and set the columns that it is computed from`,
        });
      } else if (always.includes(name)) {
        this.#add({
          code: 'COLUMN_IDENTITY_ALWAYS',
          path,
          message: `${name} of ${this.#name} is generated always as identity: PostgreSQL takes no value for it`,
          remedy: `alter table ${this.#name} alter column ${name} set generated by default;`,
        });
      }
    }
  }

  checkKey(columns: readonly string[], { hasBasedOn }: { readonly hasBasedOn: boolean }): void {
    const known = this.#table.columns.map(({ name }) => name);
    if (!columns.every((name) => known.includes(name))) return;
    for (const name of columns) this.#checkSpelling(name, hasBasedOn);
    const keys = this.#facts.uniqueKeys.get(this.#table.oid) ?? [];
    if (keys.some((key) => key.every((name) => columns.includes(name)))) return;
    const choices = keys.map((key) => `{ ${key.join(', ')} }`);
    this.#add({
      code: 'KEY_NOT_UNIQUE',
      path: ['key'],
      message: `no primary key or unique index of ${this.#name} lies within ${columns.join(', ')}: an event could find several rows`,
      remedy:
        choices.length === 0
          ? `alter table ${this.#name} add primary key (…); (a deferrable, partial or expression index does not do)`
          : `take the columns of one of its keys: ${choices.join(' or ')}`,
    });
  }

  /** Two spellings would be one row with two versions, and an older event would overwrite a newer one. */
  #checkSpelling(name: string, hasBasedOn: boolean): void {
    const column = this.#table.columns.find((candidate) => candidate.name === name);
    if (column === undefined) return;
    const collation = this.#looseCollationOf(name);
    const isFree = isSpeltFreely(column.typeOid, this.#facts);
    // What legacy did to a row is known by the spelling that the row had.
    const isFolded = hasBasedOn && isCitext(column.typeOid, this.#facts);
    if (collation === undefined && !isFree && !isFolded) return;
    const why =
      collation === undefined
        ? `of type ${column.typeName}, for which values that are written otherwise may be equal`
        : `of collation ${collation}, which is nondeterministic`;
    const keys = (this.#facts.uniqueKeys.get(this.#table.oid) ?? []).filter((key) => !key.includes(name));
    const others = keys.map((key) => `{ ${key.join(', ')} }`);
    const way = isFolded ? ', or `expect` in place of `basedOn`' : '';
    this.#add({
      code: 'KEY_LOOSELY_EQUAL',
      path: ['key', name],
      message: `${name} of ${this.#name} is ${why}: two spellings of one key would count as two rows`,
      remedy: `${others.length === 0 ? `make and take another unique key of ${this.#name}` : `take another key: ${others.join(' or ')}`}${way}`,
    });
  }

  #looseCollationOf(column: string): string | undefined {
    return this.#facts.looseCollations.get(this.#table.oid)?.find(({ name }) => name === column)?.collation;
  }

  /** Of a row that legacy deletes, or gives another key, the stream shows the replica identity only: it must tell which key that was. */
  checkIdentity(columns: readonly string[]): void {
    const known = this.#table.columns.map(({ name }) => name);
    if (!columns.every((name) => known.includes(name)) || isInIdentity(this.#table, columns)) return;
    const sent = this.#table.identityColumns;
    this.#add({
      code: 'KEY_NOT_IN_IDENTITY',
      path: ['key'],
      message: `the replica identity of ${this.#name} (${sent.length === 0 ? 'nothing' : sent.join(', ')}) does not hold all of ${columns.join(', ')}: which row a DELETE of legacy took is not seen, and \`basedOn\` would let an older event make it again`,
      remedy: `alter table ${qualifiedName(this.#table)} replica identity full;  -- of each partition too; or take the columns of the identity as the key, or \`expect\` in place of \`basedOn\``,
    });
  }

  /** Our own insert is known in the stream by its key. Of a row that is there, the replica identity tells: no column list may leave it out. */
  checkPublished({ operation, carries, key }: ApplyEntry, published: readonly string[]): void {
    if (operation === 'delete' || (operation === 'update' && carries === 'patch')) return;
    for (const name of Object.keys(key)) {
      if (published.includes(name) || !this.#table.columns.some((column) => column.name === name)) continue;
      this.#add({
        code: 'KEY_NOT_PUBLISHED',
        path: ['key', name],
        message: `the column list of ${this.#name} leaves ${name} out, so the stream does not show which row an event made: it would be published as if a trigger had made it`,
        remedy: `take ${name} out of \`exclude\` of ${this.#name}, or leave \`columnList\` out (excluded columns are still never sent), or take another key`,
      });
    }
  }

  #column(column: CatalogColumn, source: { readonly field: EventField; readonly path: Path }): ColumnPlan | undefined {
    const { field, path } = source;
    const reader = this.reader(field, path);
    const { types, castTypes } = this.#facts;
    const base = types.baseOf(column.typeOid);
    const castType = castTypes.get(base);
    if (castType === undefined || types.get(base)?.kind === 'pseudo') {
      this.#add({
        code: 'TYPE_NOT_WRITABLE',
        path,
        message: `${column.name} of ${this.#name} is of type ${column.typeName}, which takes no value from outside`,
        remedy: `take ${column.name} out`,
      });
      return undefined;
    }
    if (reader === undefined) return undefined;
    const cast = castTo(column.typeOid, { types, modifier: column.typeModifier });
    if (typeof field === 'object' && 'value' in field) this.#checkConstant(column, { value: field.value, cast, path });
    return {
      column: {
        name: column.name,
        castType,
        typeOid: base,
        compareAs: comparisonOf(column, { facts: this.#facts, collation: this.#looseCollationOf(column.name) }),
      },
      typeName: column.typeName,
      reader,
      cast,
    };
  }

  #checkConstant(
    column: CatalogColumn,
    constant: { readonly value: unknown; readonly cast: Cast; readonly path: Path },
  ): void {
    try {
      if (constant.value !== null) constant.cast(parseExact(JSON.stringify(constant.value)).value);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      this.#add({
        code: 'CONSTANT_UNFIT',
        path: [...constant.path, 'value', ...error.path],
        message: `${error.found}, and ${column.name} of ${this.#name} is of type ${column.typeName}`,
        remedy: `write ${error.wanted}`,
      });
    }
  }

  #pathOf(path: Path): Path {
    return ['reverse', 'apply', this.#index, ...path];
  }

  #add(finding: {
    readonly code: string;
    readonly path: Path;
    readonly message: string;
    readonly remedy: string;
  }): void {
    const path = formatPath(this.#pathOf(finding.path));
    this.findings.push({ ...finding, path, severity: 'error', subject: this.#name });
  }
}
