import type { Relation } from '../core/change.ts';
import type { Path } from '../config/problem.ts';
import type { Detail, Mask, TableCapture } from '../config/schema.ts';
import type { TypeCatalog } from '../postgres/type-catalog.ts';
import { type ByteWriter, byteWriterOf } from '../postgres/values/byte-writers.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import { jsonWriter } from '../postgres/values/json-writer.ts';
import { masker } from './mask.ts';
import type { ProblemList } from './problem.ts';

/** A column of the relation as one entry sees it. */
export interface MappedColumn {
  readonly name: string;
  /** In `Relation.columns` and in every tuple. */
  readonly index: number;
  readonly typeOid: number;
  readonly inIdentity: boolean;
  readonly excluded: boolean;
  readonly mask: Mask | undefined;
  /** PostgreSQL's text to the text that may leave: the text itself where nothing is masked. */
  readonly reveal: (text: string) => string;
  /** PostgreSQL's text to the JSON text that may leave. */
  readonly write: (text: string) => string;
  /** The same from bytes, where its type is that simple. */
  readonly writeBytes: ByteWriter | undefined;
}

/**
 * The columns of a change that came back from `dead_letter` and are masked already: a mask of a mask would make another
 * hash, hence another key. Set while such a change is mapped, else undefined.
 */
export interface MaskedAlready {
  columns: ReadonlySet<number> | undefined;
}

export interface TableColumns {
  /** In the order of the relation. */
  readonly all: readonly MappedColumn[];
  readonly visible: readonly MappedColumn[];
  readonly masked: readonly MappedColumn[];
  readonly maskedAlready: MaskedAlready;
  /** The column, or undefined after the problem was added: there is none of that name, or it is excluded. */
  find(name: string, path: Path): MappedColumn | undefined;
}

export function tableColumns(options: {
  readonly entry: TableCapture;
  readonly relation: Relation;
  readonly types: TypeCatalog;
  readonly maskKey: string | undefined;
  readonly problems: ProblemList;
}): TableColumns {
  const { entry, relation, types, maskKey, problems } = options;
  const names = new Set(relation.columns.map((column) => column.name));
  const excluded = new Set(entry.exclude);
  const masks = masksOf(entry, problems);
  const maskedAlready: MaskedAlready = { columns: undefined };

  // A vanished column here is a problem too: it may have been renamed, and would leave under its new name unmasked. With a column list
  // the stream never has it, under no name.
  entry.exclude.forEach((name, index) => {
    if (!names.has(name) && !entry.columnList) problems.unknownColumn(name, ['exclude', index], names);
  });
  for (const name of Object.keys(entry.mask)) {
    if (!names.has(name)) problems.unknownColumn(name, ['mask', name], names);
  }
  for (const [name, { mask, path }] of masks) {
    if (mask === 'hash' && maskKey === undefined) {
      problems.add({
        code: 'MASK_KEY_MISSING',
        kind: 'config',
        path,
        message: `mask: hash of ${name} needs maskKey`,
        remedy: 'set maskKey: ${BANYAN_MASK_KEY} to a secret of at least 16 characters',
      });
    }
  }

  const all = relation.columns.map((column, index): MappedColumn => {
    const mask = masks.get(column.name)?.mask;
    const isExcluded = excluded.has(column.name);
    const base = { name: column.name, index, typeOid: column.typeOid, inIdentity: column.inIdentity };
    if (mask === undefined || isExcluded || (mask === 'hash' && maskKey === undefined)) {
      const write = jsonWriter(column.typeOid, { types, numbers: entry.numbers });
      return {
        ...base,
        excluded: isExcluded,
        mask: undefined,
        reveal: (text) => text,
        write,
        writeBytes: byteWriterOf(write),
      };
    }
    const hide = masker(mask, maskKey);
    const reveal = (text: string) => (maskedAlready.columns?.has(index) === true ? text : hide(text));
    return { ...base, excluded: false, mask, reveal, write: (text) => jsonString(reveal(text)), writeBytes: undefined };
  });

  const byName = new Map(all.map((column) => [column.name, column]));
  return {
    all,
    visible: all.filter((column) => !column.excluded),
    masked: all.filter((column) => column.mask !== undefined),
    maskedAlready,
    find(name, path) {
      const column = byName.get(name);
      if (column === undefined) {
        problems.unknownColumn(name, path, names);
        return undefined;
      }
      if (!column.excluded) return column;
      problems.add({
        code: 'COLUMN_EXCLUDED',
        kind: 'config',
        path,
        message: `${name} is excluded and can not be used`,
        remedy: `take ${name} out of exclude, or out of here; a key column may be masked with hash instead`,
      });
      return undefined;
    },
  };
}

/** `mask` of the entry, and `{ column, mask }` anywhere in its details: a mask holds for the column wherever it is used. */
function masksOf(entry: TableCapture, problems: ProblemList): ReadonlyMap<string, { mask: Mask; path: Path }> {
  const masks = new Map<string, { mask: Mask; path: Path }>();
  const add = (column: string, mask: Mask, path: Path) => {
    const before = masks.get(column);
    if (before === undefined) masks.set(column, { mask, path });
    else if (before.mask !== mask) {
      problems.add({
        code: 'MASK_CONFLICT',
        kind: 'config',
        path,
        message: `${column} is masked with ${mask} here and with ${before.mask} at ${problems.pathOf(before.path)}`,
        remedy: 'a column has one mask in an entry: it holds wherever the column is used; make them the same',
      });
    }
  };
  for (const [column, mask] of Object.entries(entry.mask)) add(column, mask, ['mask', column]);
  const addDetail = (detail: Detail | undefined, path: Path) => {
    for (const [name, field] of Object.entries(detail ?? {})) {
      if (typeof field === 'object' && 'column' in field && field.mask !== undefined)
        add(field.column, field.mask, [...path, name]);
    }
  };
  addDetail(entry.detail, ['detail']);
  entry.emit?.forEach((rule, index) => addDetail(rule.detail, ['emit', index, 'detail']));
  return masks;
}
