import type { AppliedVersion } from '../state/applied-versions.ts';
import type { ConflictKind, ReverseOperation, Target } from './intent.ts';

/** All that is known when it has to be decided what becomes of an event. */
export interface Facts {
  readonly operation: ReverseOperation;
  /** Names of the columns that the event sets. */
  readonly set: readonly string[];
  /** undefined: the event has none, and is as new as can be. */
  readonly version: bigint | undefined;
  readonly gaps: 'ignore' | 'park';
  readonly carries: Target['carries'];
  /** It comes from a replay or is older than the inbox remembers, and such events are not allowed. */
  readonly replayed: boolean;
  /** After the stage was looked at. */
  readonly policy: 'new-wins' | 'legacy-wins' | 'park';
  /** What a person says is to stand, whatever the policy; undefined: nobody was asked. */
  readonly decided: 'event' | 'current' | undefined;
  readonly known: AppliedVersion;
  /** undefined: there is none. */
  readonly row: RowFacts | undefined;
  readonly basedOn: string | undefined;
  /** The last change of the row that was not ours; undefined: not looked up yet. */
  readonly legacy: { readonly sequence: string | undefined } | undefined;
}

export interface RowFacts {
  /** Of the columns' texts as they stand: of those that the event sets, for a delete of all. */
  readonly hashes: Readonly<Record<string, string>>;
  /** Columns that hold already what the event sets. */
  readonly same: ReadonlySet<string>;
  /** Whether the before-image that the event names is the row; undefined: it names none. */
  readonly expected: boolean | undefined;
}

export type Versions = Pick<AppliedVersion, 'created' | 'deleted' | 'last'>;

export type Decision =
  /** A newer event has been here. Its version may still say something. */
  | { readonly do: 'stale'; readonly next: Versions }
  /** The last legacy change of the row has to be known; decide again with it. */
  | { readonly do: 'ask' }
  | {
      readonly do: 'insert' | 'update' | 'delete';
      /** What is written of the event; of a delete nothing. */
      readonly columns: readonly string[];
      /** With an insert: columns that the event does not set, and that get back what a newer patch had set (`ColumnMark.kept`). */
      readonly restored?: readonly string[];
      /** An update by a delete that came late: columns that go back to their defaults. */
      readonly reset?: readonly string[];
      /** Written although the other side had changed the row. */
      readonly conflict: ConflictKind | undefined;
      /**
       * To be published, although the row is as the event means it: an older event of ours is under way that the producer will take over its own state, and
       * what comes behind that one has to bring it back.
       */
      readonly announce: boolean;
      readonly next: Versions;
    }
  /** The row is already as the event wants it; its version counts. */
  | {
      readonly do: 'nothing';
      readonly columns: readonly string[];
      readonly conflict: 'delete_missing' | undefined;
      readonly next: Versions;
    }
  /** The other side wins; the producer is told how the row stands. */
  | { readonly do: 'refuse'; readonly conflict: ConflictKind; readonly next: Versions }
  | {
      readonly do: 'fail';
      readonly kind: 'version-gap' | 'row-missing' | 'conflict-parked' | 'replayed';
      readonly conflict: ConflictKind | undefined;
    };

/**
 * What becomes of an event. The last writer wins column by column, so that any order of a key's events leaves the same row:
 *
 * - An upsert or insert *creates*: older deletes do not touch the row any more. An update never does, however many columns it sets.
 * - A delete leaves a tombstone: nothing older comes back. A newer update that came before it has proved that the row is made again by an event that is still
 *   under way: the delete happens, and the row gets those columns back when it comes (`ColumnMark.kept`).
 * - A delete that finds its row made anew by a newer event takes what older events had set and no newer one did: a row that is made anew begins with defaults.
 * - An update without a row waits for the event that makes it, unless a person has decided that what it carries is to be the row.
 */
export function decide(facts: Facts): Decision {
  const decision = facts.operation === 'delete' ? decideDelete(facts) : decideWrite(facts);
  const isHarmless = decision.do === 'stale' || decision.do === 'ask' || decision.do === 'nothing';
  if (facts.replayed && !isHarmless) return fail('replayed');
  if (isGap(facts) && decision.do !== 'stale') return fail('version-gap');
  return decision;
}

function decideWrite(facts: Facts): Decision {
  const { operation, set, version, known, row, decided } = facts;
  const creates = operation !== 'update';
  const next = seen(facts, creates ? { created: newest(known.created, version) } : {});
  if (reaches(known.deleted, version)) return { do: 'stale', next: seen(facts) };
  const columns = set.filter((name) => !reaches(known.columns[name]?.version, version));
  const isCovered = columns.length === 0 && (set.length > 0 || reaches(known.created, version));

  if (row === undefined) {
    if (creates ? reaches(known.created, version) : isCovered) return { do: 'stale', next };
    if (!creates) {
      const conflict = known.deleted === undefined ? 'update_missing' : 'update_deleted';
      if (decided === 'current') return { do: 'refuse', conflict, next };
      if (decided === undefined || facts.carries === 'patch') return fail('row-missing', conflict);
      const made = seen(facts, { created: newest(known.created, version) });
      return settled(facts, { conflict, taken: 'conflict', write: insertion(facts, made) });
    }
    const taken = wasOurs(known) ? differing(facts) : 'agreed';
    return settled(facts, { conflict: 'update_deleted', taken, write: insertion(facts, next) });
  }

  if (isCovered) return { do: 'stale', next };
  const changed = columns.filter((name) => !row.same.has(name));
  if (changed.length === 0) return { do: 'nothing', columns, conflict: undefined, next };
  const write = { do: 'update', columns, next } as const;
  if (operation === 'insert' && !wasOurs(known)) {
    return settled(facts, { conflict: 'insert_exists', taken: 'conflict', write });
  }
  const touched = changed.some((name) => known.columns[name]?.hash !== row.hashes[name]);
  return settled(facts, {
    conflict: 'update_origin_differs',
    taken: touched ? differing(facts) : 'agreed',
    write,
  });
}

function decideDelete(facts: Facts): Decision {
  const { version, known, row } = facts;
  const next = seen(facts, { deleted: newest(known.deleted, version) });
  // The tombstone counts although the row stays: what is older than it must not add to the row that was made since.
  if (reaches(known.deleted, version)) return { do: 'stale', next };
  if (reaches(known.created, version)) return decideLateDelete(facts, next);
  if (row === undefined) {
    // What we deleted ourselves is no surprise.
    const conflict = known.deleted === undefined ? 'delete_missing' : undefined;
    return { do: 'nothing', columns: [], conflict, next };
  }
  const touched =
    !wasOurs(known) ||
    Object.entries(known.columns).some(
      // A column that is gone can not tell.
      ([name, { hash }]) => hash !== undefined && row.hashes[name] !== undefined && hash !== row.hashes[name],
    );
  return settled(facts, {
    conflict: 'delete_origin_differs',
    taken: touched ? differing(facts) : 'agreed',
    write: { do: 'delete', columns: [], next },
  });
}

/** The row stays. What the other side has written in it since stays too: no older event of ours left it there. */
function decideLateDelete(facts: Facts, next: Versions): Decision {
  const { version, known, row, decided } = facts;
  const reset = Object.entries(known.columns).flatMap(([name, mark]) => {
    // An earlier delete has reset what is older than itself.
    const isOfRowBefore = reaches(version, mark.version) && !reaches(known.deleted, mark.version);
    return isOfRowBefore && mark.hash !== undefined && mark.hash === row?.hashes[name] ? [name] : [];
  });
  if (reset.length === 0 || decided === 'current') return { do: 'stale', next };
  const write = { do: 'update', columns: [], reset, next } as const;
  return settled(facts, { conflict: 'delete_origin_differs', taken: 'agreed', write });
}

/** All that the event sets, also columns with a newer version: there is no row that could hold them. And what newer patches had set besides. */
function insertion({ set, known }: Facts, next: Versions): Planned {
  const restored = Object.entries(known.columns).flatMap(([name, { kept }]) =>
    kept === undefined || set.includes(name) ? [] : [name],
  );
  return { do: 'insert', columns: set, ...(restored.length === 0 ? {} : { restored }), next };
}

/** The row is not as we left it: whether the producer knew. */
function differing({ row, basedOn, legacy }: Facts): 'agreed' | 'conflict' | 'ask' {
  if (row?.expected === true) return 'agreed';
  if (basedOn === undefined) return 'conflict';
  if (legacy === undefined) return 'ask';
  // Sequences are made to be compared as ASCII text.
  return legacy.sequence === undefined || basedOn >= legacy.sequence ? 'agreed' : 'conflict';
}

/** Whether the producer had seen what it was told last. Without `basedOn` nobody knows. */
function hasHeard({ basedOn, legacy }: Facts): 'heard' | 'unheard' | 'ask' {
  if (basedOn === undefined) return 'unheard';
  if (legacy === undefined) return 'ask';
  return legacy.sequence === undefined || basedOn >= legacy.sequence ? 'heard' : 'unheard';
}

type Planned = Omit<Extract<Decision, { do: 'insert' | 'update' | 'delete' }>, 'conflict' | 'announce'>;

function settled(
  facts: Facts,
  found: {
    readonly conflict: ConflictKind;
    readonly taken: 'agreed' | 'conflict' | 'ask';
    readonly write: Planned;
  },
): Decision {
  const { policy, decided, known } = facts;
  const { conflict, taken, write } = found;
  if (decided === 'current') return { do: 'refuse', conflict, next: write.next };
  if (taken === 'ask') return { do: 'ask' };
  if (taken === 'agreed') {
    const announce = known.told ? hasHeard(facts) : 'heard';
    if (announce === 'ask') return { do: 'ask' };
    return { ...write, conflict: undefined, announce: announce === 'unheard' };
  }
  const winner = decided === 'event' ? 'new-wins' : policy;
  switch (winner) {
    case 'new-wins':
      return { ...write, conflict, announce: true };
    case 'legacy-wins':
      return { do: 'refuse', conflict, next: write.next };
    case 'park':
      return fail('conflict-parked', conflict);
    default:
      return winner satisfies never;
  }
}

/** Whether we know the row from a write of ours (or a refusal that told the producer of it), and it should be there. */
function wasOurs(known: AppliedVersion): boolean {
  return Object.values(known.columns).some((mark) => mark.hash !== undefined);
}

function isGap({ gaps, version, known }: Facts): boolean {
  return gaps === 'park' && version !== undefined && version > (known.last ?? 0n) + 1n;
}

function seen({ known, version }: Facts, changed: Partial<Versions> = {}): Versions {
  const { created, deleted, last } = { ...known, ...changed };
  return { created, deleted, last: newest(last, version) };
}

/** Whether something of that version makes an event of this one old. Without a version an event is never old. */
function reaches(known: bigint | undefined, version: bigint | undefined): boolean {
  return known !== undefined && version !== undefined && known >= version;
}

function newest(one: bigint | undefined, other: bigint | undefined): bigint | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one > other ? one : other;
}

function fail(kind: Extract<Decision, { do: 'fail' }>['kind'], conflict?: ConflictKind): Decision {
  return { do: 'fail', kind, conflict };
}
