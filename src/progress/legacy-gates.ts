import type { WriteCounts } from '../core/progress.ts';
import type { ReadFacts } from './compare-reads.ts';
import { coverageOf } from './coverage.ts';
import { INVISIBLE } from './dependants.ts';
import type { Evidence, Question } from './gates.ts';
import { amount, moment, percent, shellWord, span } from './words.ts';

/** Whether anybody still needs the legacy table: what a table must not have before it retires, and little of before the new system is primary. */

export function legacyWrites(question: Question): Evidence {
  const { facts, table, to } = question;
  const base = { observedAt: facts.countedUntil, source: 'WAL', next: `writers ${shellWord(table.display)}` };
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
  const threshold = `none for ${span(noneFor)}`;
  if (quiet === undefined) {
    return { ...base, result: 'unknown', threshold, reason: 'so long a time is looked at from new-primary on' };
  }
  const writes = quiet.legacy + quiet.foreign;
  const { extent, why } = coverageOf(facts, { table, windowMs: noneFor, now });
  const value = extent === 'none' && writes === 0 ? undefined : amount(writes, 'write');
  const common = { ...base, threshold, value };
  if (writes > 0) {
    const last = lastLegacyAt === undefined ? '' : `, the last one about ${moment(lastLegacyAt)}`;
    return { ...common, result: 'fail', reason: `in ${span(noneFor)}${last}` };
  }
  if (why !== undefined) return { ...common, result: 'unknown', reason: why };
  return { ...common, result: 'pass', reason: `in ${span(noneFor)}` };
}

function fewWrites({ facts, table, now }: Question, base: Base): Evidence {
  const { share: most, window, allow } = facts.settings.gates.legacyWrites;
  const counts = table.writes.window;
  const allowed = Math.min(table.writes.allowed ?? 0, counts.legacy);
  const share = legacyShare({ ...counts, legacy: counts.legacy - allowed });
  const threshold = `≤ ${percent(most / 100)}`;
  const { extent, why, isOld } = coverageOf(facts, { table, windowMs: window, now });
  const none = extent === 'none' ? undefined : 'no writes';
  const value = share === undefined ? none : percent(share);
  const who = table.writes.writers
    .slice(0, 3)
    .map(({ application, role, changes }) => `${application || role} ${changes.toLocaleString('en-US')}`);
  const without = allowed === 0 ? '' : `, without ${amount(allowed, 'write')} of ${allow.join(', ')}`;
  const reason = `in ${span(window)}${without}${who.length === 0 ? '' : `: ${who.join(' · ')}`}`;
  const result = share === undefined || share * 100 <= most ? 'pass' : 'fail';
  // A failure stays one until it is measured again, however old that is.
  if (why !== undefined && !(isOld && result === 'fail')) {
    return { ...base, result: 'unknown', threshold, value, reason: why };
  }
  return { ...base, result, threshold, value, reason };
}

/** Of the legacy side among all but what the database made of reverse sync's writes, 0 to 1; undefined: there were none. */
export function legacyShare({ legacy, foreign, reverse }: Omit<WriteCounts, 'trigger'>): number | undefined {
  const all = legacy + foreign + reverse;
  return all === 0 ? undefined : (legacy + foreign) / all;
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
