import type { AppliedVersion, ColumnMark } from '../state/applied-versions.ts';
import type { Decision } from './decide.ts';

type Marks = AppliedVersion['columns'];

/** Column to PostgreSQL's text, NULL as null. */
export type Texts = Readonly<Record<string, string | null>>;

/** What happened to the row, in the terms that its marks need. */
export interface Written {
  readonly decision: Exclude<Decision, { do: 'ask' | 'fail' }>;
  readonly version: bigint | undefined;
  readonly key: readonly string[];
  /** Columns that the event sets, whether or not they were written. */
  readonly set: readonly string[];
  readonly known: Marks;
  /**
   * Texts by column, the key's among them. Of a write: what was written, and what else changed with it (of an insert, all columns). Of a row that stays: as it
   * stands (of a refusal, all columns). Of a delete: as it stood. undefined: there is no row.
   */
  readonly texts: Texts | undefined;
  readonly hash: (text: string | null) => string;
  /**
   * The event says what it is based on. A refusal then leaves the hashes as they were: only an event that is based on the correction may pass, not the next one
   * that its producer sent before it had heard of it.
   */
  readonly isBased: boolean;
}

/** The marks of a row's columns after that. */
export function marksAfter(written: Written): Marks {
  const { decision, known, texts, key, set } = written;
  switch (decision.do) {
    case 'stale':
      return known;
    case 'insert':
    case 'update':
      return { ...known, ...hashed(written), ...versioned(written, decision.columns) };
    case 'nothing':
      // Other columns keep their marks: what the other side did to them is still unknown to the producer.
      return texts === undefined
        ? buried(written)
        : { ...known, ...hashed(written, key), ...versioned(written, decision.columns) };
    case 'refuse':
      if (written.isBased) return { ...known, ...unhashed(written, set) };
      return {
        ...(texts === undefined ? buried(written) : { ...known, ...hashed(written) }),
        ...versioned(written, set),
      };
    case 'delete':
      return buried(written);
    default:
      return decision satisfies never;
  }
}

/** What goes into a row that is made: the event's own values, but where a newer patch had set a column before the row was deleted. What the event does not set was kept. */
export function valuesToInsert(
  columns: readonly string[],
  values: { readonly own: Texts; readonly known: Marks; readonly version: bigint | undefined },
): (string | null)[] {
  const { own, known, version } = values;
  return columns.map((name) => {
    const mark = known[name];
    const isKept = !Object.hasOwn(own, name) || isNewer(mark?.version, version);
    return isKept && mark?.kept !== undefined ? mark.kept : (own[name] ?? null);
  });
}

function hashed({ known, texts = {}, hash }: Written, names: readonly string[] = Object.keys(texts)): Marks {
  return marks(names, (name) => ({ version: known[name]?.version, hash: hash(texts[name] ?? null) }));
}

/** The columns carry the event's version now, but for those that carry a newer one. */
function versioned({ known, version, texts, hash }: Written, columns: readonly string[]): Marks {
  return marks(columns, (name) => {
    const before = known[name]?.version;
    return {
      version: version === undefined || isNewer(before, version) ? before : version,
      hash: texts === undefined ? undefined : hash(texts[name] ?? null),
    };
  });
}

/** The versions count, and what we wrote last stays what it was. */
function unhashed(written: Written, columns: readonly string[]): Marks {
  const { known } = written;
  const next = versioned(written, columns);
  return marks(columns, (name) => ({ version: next[name]?.version, hash: known[name]?.hash }));
}

/** No row: nothing to compare with. What is newer than the delete is kept for the row's return. */
function buried({ decision, known, version, texts }: Written): Marks {
  return marks(Object.keys(known), (name) => {
    const mark = known[name];
    const kept = decision.do === 'delete' ? texts?.[name] : mark?.kept;
    return {
      version: mark?.version,
      hash: undefined,
      ...(kept !== undefined && isNewer(mark?.version, version) ? { kept } : {}),
    };
  });
}

function isNewer(mark: bigint | undefined, version: bigint | undefined): boolean {
  return mark !== undefined && version !== undefined && mark > version;
}

function marks(names: readonly string[], mark: (name: string) => ColumnMark): Marks {
  return Object.fromEntries(names.map((name) => [name, mark(name)]));
}
