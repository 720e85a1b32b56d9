import type { WriteCounts } from '../core/progress.ts';
import type { ReadFacts } from './compare-reads.ts';
import { INVISIBLE } from './dependants.ts';
import type { Evidence, Question } from './gates.ts';
import type { Facts, TableFacts } from './table-facts.ts';
import { amount, moment, percent, shellWord, span } from './words.ts';

/** Whether anybody still needs the legacy table: what a table must not have before it retires, and little of before the new system is primary. */

export function legacyWrites(question: Question): Evidence {
  const { facts, table, to } = question;
  const base = { observedAt: facts.live?.countedUntil, source: 'WAL', next: `writers ${shellWord(table.display)}` };
  if (!table.captured) {
    const reason = 'the table is not captured: nobody counts its writes';
    return { ...base, result: 'unknown', threshold: 'counted', reason, next: 'check' };
  }
  return to === 'retired' ? noWrites(question, base) : fewWrites(question, base);
}

type Base = Pick<Evidence, 'observedAt' | 'source' | 'next'>;

function noWrites({ facts, table, now }: Question, base: Base): Evidence {
  const { noneFor } = facts.settings.gates.legacyWrites;
  const { quiet, lastLegacyAt } = table.writes;
  const writes = quiet.legacy + quiet.foreign;
  const threshold = `none for ${span(noneFor)}`;
  const common = { ...base, threshold, value: amount(writes, 'write') };
  if (writes > 0) {
    const last = lastLegacyAt === undefined ? '' : `, the last one about ${moment(lastLegacyAt)}`;
    return { ...common, result: 'fail', reason: `in ${span(noneFor)}${last}` };
  }
  const hole = uncovered(facts, { table, windowMs: noneFor, now });
  if (hole !== undefined) return { ...common, result: 'unknown', reason: hole };
  return { ...common, result: 'pass', reason: `in ${span(noneFor)}` };
}

function fewWrites({ facts, table, now }: Question, base: Base): Evidence {
  const { share: most, window, allow } = facts.settings.gates.legacyWrites;
  const counts = table.writes.window;
  const allowed = Math.min(table.writes.allowed ?? 0, counts.legacy);
  const share = legacyShare({ ...counts, legacy: counts.legacy - allowed });
  const threshold = `≤ ${percent(most / 100)}`;
  const value = share === undefined ? 'no writes' : percent(share);
  const who = table.writes.writers
    .slice(0, 3)
    .map(({ application, role, changes }) => `${application || role} ${changes.toLocaleString('en-US')}`);
  const without = allowed === 0 ? '' : `, without ${amount(allowed, 'write')} of ${allow.join(', ')}`;
  const reason = `in ${span(window)}${without}${who.length === 0 ? '' : `: ${who.join(' · ')}`}`;
  const hole = uncovered(facts, { table, windowMs: window, now });
  if (hole !== undefined) return { ...base, result: 'unknown', threshold, value, reason: hole };
  const result = share === undefined || share * 100 <= most ? 'pass' : 'fail';
  return { ...base, result, threshold, value, reason };
}

/** Of the legacy side among all but what the database made of reverse sync's writes, 0 to 1; undefined: there were none. */
export function legacyShare({ legacy, foreign, reverse }: Omit<WriteCounts, 'trigger'>): number | undefined {
  const all = legacy + foreign + reverse;
  return all === 0 ? undefined : (legacy + foreign) / all;
}

/** Why not every write in the window is counted; undefined: every one is, up to when the worker says. */
function uncovered(
  facts: Facts,
  { table, windowMs, now }: { readonly table: TableFacts; readonly windowMs: number; readonly now: Date },
): string | undefined {
  const { countingSince, gaps, live, settings } = facts;
  const from = now.getTime() - windowMs;
  const short = (since: string) => `counted since ${moment(since)} only, and ${span(windowMs)} are asked for`;
  if (windowMs > settings.keepHours) {
    return `counts are kept for ${span(settings.keepHours)} (progress.keepHours), and ${span(windowMs)} are asked for`;
  }
  if (countingSince === undefined || table.publishedSince === undefined) return 'its writes are not counted yet';
  if (!table.published) return 'the publication does not have the table as it is now: its writes are not counted';
  if (!(Date.parse(countingSince) <= from)) return short(countingSince);
  if (!(Date.parse(table.publishedSince) <= from)) return short(table.publishedSince);
  const gap = gaps.find(
    ({ subject, acceptedAt }) =>
      (subject === table.table || subject === facts.slot.name) &&
      (acceptedAt === undefined || !(Date.parse(acceptedAt) < from)),
  );
  if (gap !== undefined) return `a gap of ${moment(gap.detectedAt)} (${gap.kind}): writes in it are not counted`;
  if (live === undefined) return `up to when is not known: ${facts.noWorker}`;
  if (live.countedUntil === undefined) return 'the worker does not know up to when it has counted';
  return undefined;
}

export function legacyReads({ facts, table, now }: Question): Evidence {
  const { noneFor } = facts.settings.gates.legacyReads;
  const { reads } = table;
  const base = {
    threshold: `none for ${span(noneFor)}`,
    observedAt: reads === undefined ? undefined : facts.usesAt,
    source: reads?.source ?? 'statistics',
    next: `readers ${shellWord(table.display)}`,
  };
  if (reads === undefined) return { ...base, result: 'unknown', reason: 'the table is not there to be looked at' };
  const from = now.getTime() - noneFor;
  const { readAt, unclearAt, watchedSince, blind } = reads;
  if (readAt !== undefined && !(Date.parse(readAt) < from)) {
    return { ...base, result: 'fail', value: moment(readAt), reason: 'it was read then, or shortly before' };
  }
  if (blind !== undefined) return { ...base, result: 'unknown', reason: blind };
  if (unclearAt !== undefined && !(Date.parse(unclearAt) < from)) {
    const reason = `something read it, and by whom is not known: ${whyUnclear(reads)}`;
    return { ...base, result: 'unknown', value: moment(unclearAt), reason };
  }
  if (!(Date.parse(watchedSince) <= from)) {
    const reason = `watched without a reset of statistics since ${moment(watchedSince)} only`;
    return { ...base, result: 'unknown', value: 'none seen', reason };
  }
  return { ...base, result: 'pass', value: 'none', reason: `since ${moment(watchedSince)}` };
}

function whyUnclear({ withoutStatements, ownRole, countsNested }: ReadFacts): string {
  if (withoutStatements !== undefined) return `we ourselves read it meanwhile; ${withoutStatements}`;
  if (!ownRole) return 'our role owns the table or is a superuser’s, so that it may be an application’s too';
  if (!countsNested) return 'a function may have: with pg_stat_statements.track = all for everybody it would be told';
  return 'a write to a table whose foreign key points here may have';
}

export function dependants({ facts, table }: Question): Evidence {
  const found = table.dependants;
  const base = { threshold: '0', value: `${found.length}`, observedAt: facts.usesAt, source: 'catalog' };
  if (found.length === 0) return { ...base, result: 'pass', reason: INVISIBLE };
  const kinds = Array.from(
    Map.groupBy(found, ({ kind }) => kind),
    ([kind, of]) => `${of.length} ${kind}${of.length === 1 ? '' : kind === 'policy' ? ' (several)' : 's'}`,
  );
  const reason = kinds.map((text) => text.replace('policy (several)', 'policies')).join(', ');
  return { ...base, result: 'fail', reason, next: `readers ${shellWord(table.display)}` };
}
