import type { ReadCounters, WatchedReads } from '../state/read-watch.ts';

/** What the counters of one table say of its readers. Times are ISO 8601, by the legacy server's clock. */
export interface ReadFacts {
  readonly source: 'pg_stat_statements' | 'pg_stat_user_tables';
  readonly at: string;
  readonly watchedSince: string;
  /** When a read was seen last, at the latest. */
  readonly readAt: string | undefined;
  /** When the counters moved last and it could not be told who read. */
  readonly unclearAt: string | undefined;
  /** What the server does not count; undefined: it counts. */
  readonly blind: string | undefined;
  /** False: our role owns the table, or is a superuser's, so that an application may use it as well. */
  readonly ownRole: boolean;
  /** Why statements are not looked at, and what mends it; undefined: they are. */
  readonly withoutStatements: string | undefined;
  /** Whether the statements of functions are counted as well, for everybody. */
  readonly countsNested: boolean;
}

export interface Look {
  readonly table: string;
  /** Now, by the server's clock. */
  readonly at: string;
  /** Whether the server counts scans, for everybody. */
  readonly counts: boolean;
  /** Whether the statements of functions are counted as well, for everybody. */
  readonly countsNested: boolean;
  /** No application uses our role: it neither owns the table nor is a superuser's. */
  readonly ownRole: boolean;
  /** Whether we ourselves may have read the table since that moment. */
  readonly workedSince: (movedAt: string) => boolean;
}

export interface Watched {
  readonly now: WatchedReads;
  /** Whether there is something to write down. */
  readonly moved: boolean;
}

/**
 * What happened since the counters moved last. Standing still proves that nobody read, even if nobody looked meanwhile; what was reset, counts less than before, or
 * does not count at all proves nothing, and watching begins anew. A read that was seen stays seen.
 */
export function compareReads(before: WatchedReads | undefined, counters: ReadCounters, look: Look): Watched {
  const compared = compare(before, counters, look);
  if (look.counts) return compared;
  return { now: { ...compared.now, watchedSince: look.at, movedAt: look.at }, moved: true };
}

function compare(before: WatchedReads | undefined, counters: ReadCounters, look: Look): Watched {
  const { table, at } = look;
  const fresh = { table, watchedSince: at, movedAt: at, readAt: undefined, unclearAt: undefined, ...counters };
  if (before === undefined || before.oid !== counters.oid) return { now: fresh, moved: true };
  const known = { ...fresh, readAt: before.readAt, unclearAt: before.unclearAt };
  if (isReset(before, counters)) return { now: known, moved: true };
  const going = { ...known, watchedSince: before.watchedSince };
  const what = whatMoved(before, counters, look);
  switch (what) {
    case 'nothing':
      return { now: before, moved: false };
    case 'ours':
      return { now: going, moved: true };
    case 'read':
      return { now: { ...going, readAt: at }, moved: true };
    case 'unclear':
      return { now: { ...going, unclearAt: at }, moved: true };
    default:
      return what satisfies never;
  }
}

function isReset(before: ReadCounters, now: ReadCounters): boolean {
  // A standby that was promoted may have the counters of its primary, as they were when its files were copied.
  if (before.timeline !== now.timeline) return true;
  if (before.scansReset !== now.scansReset || now.scans < before.scans) return true;
  // Who read a partition before it left is not in the counters any more, nor do statements that name it lead here.
  const relations = new Set(now.relations);
  if (!before.relations.every((oid) => relations.has(oid))) return true;
  if (before.statements === undefined || now.statements === undefined) return false;
  return before.statements.reset !== now.statements.reset;
}

/** ours: by us, or not a read at all. */
function whatMoved(before: WatchedReads, now: ReadCounters, look: Look): 'nothing' | 'ours' | 'read' | 'unclear' {
  const was = before.statements;
  const is = now.statements;
  const scanned = now.scans > before.scans;
  const atWork = (): boolean => look.workedSince(before.movedAt);
  if (was === undefined || is === undefined) {
    // Statements can be read since a while ago, or no more: the scans hold for all of the time.
    if (!scanned) return was === is ? 'nothing' : 'ours';
    return atWork() ? 'unclear' : 'read';
  }
  if (is.calls > was.calls) return 'read';
  // Entries were evicted, or reset one by one, or a view that led here is gone: who called is not known, but whether anybody scanned is.
  const incomplete = is.evicted !== was.evicted || is.calls < was.calls || is.ownCalls < was.ownCalls;
  if (!scanned) return incomplete ? 'ours' : 'nothing';
  if (incomplete) return 'unclear';
  // No statement by another role explains it. Our own doing does, unless a function of another may have read beside us, whose statements are not counted.
  return look.ownRole && look.countsNested && (is.ownCalls > was.ownCalls || atWork()) ? 'ours' : 'unclear';
}
