import type { CoveredExtent } from '../core/progress.ts';
import type { Facts, TableFacts } from './table-facts.ts';
import { moment, span } from './words.ts';

/** What of a window is in the counts of a table's writes: the one answer for gates, status and commands. */
export interface Coverage {
  readonly extent: CoveredExtent;
  /** Since when every write is counted, ISO 8601; undefined: none is yet. */
  readonly since: string | undefined;
  /** Up to when, ISO 8601; undefined: not known. */
  readonly until: string | undefined;
  /** Why that is not all of it, for people; undefined: it is. */
  readonly why: string | undefined;
  /** Only its end is missing: what was counted holds, but is as old as `until`. */
  readonly isOld: boolean;
}

/** What is known of the counting, of all tables. */
export type CountingFacts = Pick<Facts, 'settings' | 'countingSince' | 'countedUntil' | 'gaps' | 'noWorker'> & {
  readonly slot: Pick<Facts['slot'], 'name'>;
  readonly live: Pick<NonNullable<Facts['live']>, 'state'> | undefined;
};

/** Up to its end the window is covered as long as what a worker said of that is good for: it can not know of this moment. */
export function coverageOf(
  facts: CountingFacts,
  of: {
    readonly table: Pick<TableFacts, 'table' | 'published' | 'publishedSince'>;
    readonly windowMs: number;
    readonly now: Date;
  },
): Coverage {
  const { table, windowMs, now } = of;
  const { countingSince, countedUntil: until, settings } = facts;
  // What was committed before the table was published, or before anything was counted, is in nobody's count.
  const since =
    countingSince === undefined || table.publishedSince === undefined
      ? undefined
      : laterOf(countingSince, table.publishedSince);
  const known = { since, until, isOld: false };
  const from = now.getTime() - windowMs;
  const asked = `and ${span(windowMs)} are asked for`;
  const none = (why: string): Coverage => ({ ...known, extent: 'none', why });
  const part = (why: string): Coverage => ({ ...known, extent: 'part', why });

  if (since === undefined) return none('its writes are not counted yet');
  if (until === undefined) return none(`up to when is not known: ${whoCounts(facts)}`);
  const onlyUntil = `counted up to ${moment(until)} only: ${whoCounts(facts)}`;
  if (!(Date.parse(until) > Math.max(from, Date.parse(since)))) return none(onlyUntil);
  if (windowMs > settings.keepHours) {
    return part(`counts are kept for ${span(settings.keepHours)} (progress.keepHours), ${asked}`);
  }
  if (!table.published) return part('the publication does not have the table as it is now: its writes are not counted');
  if (!(Date.parse(since) <= from)) return part(`counted since ${moment(since)} only, ${asked}`);
  const gap = facts.gaps.find(
    ({ subject, acceptedAt }) =>
      (subject === table.table || subject === facts.slot.name) &&
      (acceptedAt === undefined || !(Date.parse(acceptedAt) < from)),
  );
  if (gap !== undefined) return part(`a gap of ${moment(gap.detectedAt)} (${gap.kind}): writes in it are not counted`);
  if (!(now.getTime() - Date.parse(until) <= settings.gates.evidence)) {
    return { ...part(onlyUntil), isOld: true };
  }
  return { ...known, extent: 'whole', why: undefined };
}

/** Of two times in ISO 8601, in UTC. */
export function laterOf(a: string, b: string | undefined): string;
export function laterOf(a: string | undefined, b: string | undefined): string | undefined;
export function laterOf(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? b : a;
}

function whoCounts({ live, noWorker }: CountingFacts): string {
  if (live === undefined) return noWorker;
  const isCounting = live.state === 'streaming' || live.state === 'catching-up';
  return isCounting ? 'the worker has not looked since' : `the worker that answered is ${live.state}`;
}
