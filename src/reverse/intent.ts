import type { BanyanError } from '../core/errors.ts';
import type { CatalogTable } from '../postgres/table.ts';
import type { ConflictKind } from '../state/conflicts.ts';

export type { ConflictKind };

export type ReverseOperation = 'upsert' | 'insert' | 'update' | 'delete';
export type ConflictPolicy = 'stage' | 'new-wins' | 'legacy-wins' | 'park';

export interface TargetColumn {
  readonly name: string;
  /**
   * What a parameter is cast to: the type without its modifier (`format_type(oid, -1)`; a domain's base type; `bpchar`, never `character`), so that
   * rounding and cutting show.
   */
  readonly castType: string;
  readonly typeOid: number;
  /** Whether `is distinct from` of that type compares values; else text is compared (json as jsonb; xml and geometric types as text). */
  readonly compareAs: 'value' | 'jsonb' | 'text';
}

/** One entry of `reverse.apply`, compiled against the catalog. */
export interface Target {
  /** Index in `reverse.apply`. */
  readonly entry: number;
  /** Stable: `schema.table`, `#`, and a short digest of operation, key columns and references, set columns. */
  readonly id: string;
  readonly table: CatalogTable;
  readonly operation: ReverseOperation;
  readonly key: readonly TargetColumn[];
  /** Empty for a delete. */
  readonly set: readonly TargetColumn[];
  /** `patch` only with the operation `update`. */
  readonly carries: 'full' | 'patch';
  readonly conflict: ConflictPolicy;
  readonly gaps: 'ignore' | 'park';
  readonly hasBasedOn: boolean;
  /** Columns of the before-image; empty: none. */
  readonly expect: readonly TargetColumn[];
  /** Events with `replay-name`, or older than the inbox remembers. */
  readonly replay: 'park' | 'allow';
}

/** What one event asks of one row. */
export interface Intent {
  readonly target: Target;
  /** `source` of the envelope. */
  readonly producer: string;
  readonly eventId: string;
  /** `detail.metadata.hops`: how often what happened has crossed over already; 0 to 100. */
  readonly hops: number;
  /** `time` of the envelope. */
  readonly eventTime: string | undefined;
  /** It has a `replay-name`. */
  readonly isReplay: boolean;
  /** PostgreSQL's text, one per key column, valid for its type. */
  readonly key: readonly string[];
  readonly values: readonly (string | null)[];
  /** Decimal text of an integer (of a time, its microseconds). undefined: the mapping has none. */
  readonly version: string | undefined;
  /** The last of our sequences that the producer had seen. */
  readonly basedOn: string | undefined;
  /** One per `target.expect`. */
  readonly expected: readonly (string | null)[] | undefined;
  /** What a person, who was shown the event and its row, says is to stand. Absent: nobody was asked. */
  readonly decided?: 'event' | 'current';
  readonly lane: string;
  /** The message's body as it came: what is parked. */
  readonly body: string;
}

export type ApplyOutcome =
  | {
      readonly status: 'applied';
      readonly verdict: 'echo' | 'correction' | 'unchanged';
      readonly conflict?: ConflictKind;
    }
  | { readonly status: 'duplicate' | 'stale' | 'skipped' }
  | { readonly status: 'refused'; readonly conflict: ConflictKind }
  /** Not written; nothing of the event is left in the database. The error's kind decides what becomes of it. */
  | { readonly status: 'failed'; readonly error: BanyanError };
