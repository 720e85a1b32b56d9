import { type GateCode, type Gate, type GateResult, type Stage, type TargetStage } from '../core/progress.ts';
import { reverseIsOn } from '../core/stages.ts';
import { legacyReads, legacyWrites, dependants } from './legacy-gates.ts';
import { isRollback } from './stages.ts';
import type { Facts, RunFacts, TableFacts } from './table-facts.ts';
import { amount, moment, percent, shellWord, span } from './words.ts';

/** What a gate is judged by. */
export interface Question {
  readonly facts: Facts;
  readonly table: TableFacts;
  readonly from: Stage;
  readonly to: TargetStage;
  readonly now: Date;
}

/** What was measured. Without `ttlMs` it is good for as long as `progress.gates.evidence` says. */
export interface Evidence {
  readonly result: GateResult;
  readonly value?: string | undefined;
  readonly threshold: string;
  readonly observedAt: string | undefined;
  readonly ttlMs?: number;
  readonly source: string;
  readonly reason: string;
  readonly next?: string | undefined;
}

const GATES: Readonly<Record<GateCode, (question: Question) => Evidence>> = {
  BACKFILL_DONE: backfillDone,
  SLOT: slot,
  LAG: lag,
  PARITY: parity,
  REVERSE_TEST: reverseTest,
  CONFLICTS_OPEN: conflictsOpen,
  DEAD_LETTERS: deadLetters,
  LEGACY_WRITES: legacyWrites,
  LEGACY_READS: legacyReads,
  DEPENDANTS: dependants,
};

/** What nobody may put a reason in the place of: without its slot a table has no stream. */
export const UNWAIVABLE: ReadonlySet<GateCode> = new Set(['SLOT']);

/** By how much the clocks of database, worker and command may differ. */
const CLOCKS_DIFFER_MS = 60_000;

/** The gate as it stands now: a pass by evidence that is too old is none, a failure stays one until it is looked at again. */
export function measure(code: GateCode, question: Question): Gate {
  const { facts, table, now } = question;
  const evidence = GATES[code](question);
  const ttlMs = evidence.ttlMs ?? facts.settings.gates.evidence;
  const waiver = table.waivers.get(code);
  const gate: Gate = {
    code,
    result: evidence.result,
    value: evidence.value,
    threshold: evidence.threshold,
    observedAt: evidence.observedAt,
    ttlSeconds: ttlMs / 1_000,
    source: evidence.source,
    reason: evidence.reason,
    next: evidence.next,
    waiver:
      waiver === undefined || UNWAIVABLE.has(code) || !(Date.parse(waiver.until) > now.getTime())
        ? undefined
        : { by: waiver.by, reason: waiver.reason, until: waiver.until },
  };
  if (gate.result !== 'pass') return gate;
  if (gate.observedAt === undefined) return { ...gate, result: 'unknown', reason: 'it was never measured' };
  const ageMs = now.getTime() - Date.parse(gate.observedAt);
  // Not a number, where the time can not be read, is not young either.
  if (ageMs <= ttlMs && ageMs >= -CLOCKS_DIFFER_MS) return gate;
  if (ageMs < 0) return { ...gate, result: 'unknown', reason: `measured ${span(-ageMs)} from now: clocks differ` };
  return { ...gate, result: 'unknown', reason: `measured ${span(ageMs)} ago, good for ${span(ttlMs)}` };
}

function backfillDone({ facts, table }: Question): Evidence {
  const threshold = 'complete';
  const base = { threshold, observedAt: facts.at, source: 'state' };
  const run = table.backfill.whole;
  const next = `backfill ${shellWord(table.display)}`;
  if (!table.captured) {
    return { ...base, result: 'pass', value: 'not captured', reason: 'its rows are not sent by us' };
  }
  const lost = facts.gaps.findLast(
    ({ subject, detectedAt }) =>
      (subject === table.table || subject === facts.slot.name) && (run === undefined || detectedAt >= run.startedAt),
  );
  if (lost !== undefined) {
    const reason = `changes of it may be missing since a gap of ${moment(lost.detectedAt)} (${lost.kind})`;
    return { ...base, result: 'fail', value: 'before a gap', reason, next };
  }
  if (run === undefined) {
    if (table.backfillWanted) {
      return { ...base, result: 'fail', value: 'not begun', reason: 'the worker begins it by itself', next };
    }
    return { ...base, result: 'pass', value: 'not wanted', reason: '`backfill: false`: only changes are sent' };
  }
  const open = run.status === 'completed' ? table.backfill.partitions[0] : run;
  if (open !== undefined) return { ...base, result: 'fail', value: runText(open), reason: runReason(open), next };
  const { publishedSince } = table;
  if (publishedSince === undefined) {
    const reason = 'what changed since its rows were read is in nobody’s stream';
    return { ...base, result: 'fail', value: 'not in the stream', reason, next: 'run' };
  }
  if (!isSince(run.startedAt, publishedSince)) {
    const reason = `what changed since the run of ${moment(run.startedAt)} was not all in the stream until ${moment(publishedSince)}`;
    return { ...base, result: 'fail', value: 'before a gap', reason, next };
  }
  return {
    ...base,
    result: 'pass',
    value: amount(run.rowsSent, 'row'),
    reason: `completed ${run.finishedAt === undefined ? '' : moment(run.finishedAt)}`.trim(),
  };
}

function runText({ status, rowsSent, rowsEstimated }: RunFacts): string {
  if (status !== 'running' || rowsEstimated === undefined || rowsEstimated <= 0) return status;
  return `~${percent(Math.min(0.99, rowsSent / rowsEstimated))}`;
}

function runReason({ partition, status, reason }: RunFacts): string {
  const what = partition === undefined ? 'its rows are not all sent' : `partition ${partition} is not sent`;
  return `${what}: ${reason ?? status}`;
}

function slot({ facts, table }: Question): Evidence {
  const { name, state, walStatus, invalidation } = facts.slot;
  const base = { threshold: 'reserved', value: walStatus, observedAt: facts.at, source: 'pg_replication_slots' };
  const fail = (reason: string, next = 'check'): Evidence => ({ ...base, result: 'fail', reason, next });
  const gap = facts.gaps.find(
    ({ acceptedAt, subject }) => acceptedAt === undefined && (subject === name || subject === table.table),
  );
  if (state === 'missing') return fail(`there is no slot ${name}`, gap === undefined ? 'run' : 'recover');
  if (state === 'foreign') return fail(`slot ${name} is for another plugin or database`);
  if (invalidation !== undefined) return fail(`the server gave slot ${name} up: ${invalidation}`, 'recover');
  if (walStatus === 'lost' || walStatus === 'unreserved') {
    return fail(`WAL that slot ${name} needs is ${walStatus === 'lost' ? 'gone' : 'about to go'}`, 'recover');
  }
  if (gap !== undefined) return fail(`an open gap: ${gap.kind}`, 'recover');
  if (table.captured && table.publishedSince === undefined) {
    return fail('the table is not in the stream yet', 'run');
  }
  if (table.captured && !table.published) return fail('the publication does not have the table as it is now');
  if (walStatus !== 'reserved' && walStatus !== 'extended') {
    return { ...base, result: 'unknown', reason: `what slot ${name} holds is not known`, next: 'check' };
  }
  return { ...base, result: 'pass', reason: `slot ${name} ${facts.slot.active ? 'is read' : 'waits for its worker'}` };
}

function lag({ facts }: Question): Evidence {
  const { atMost, for: calmFor } = facts.settings.gates.lag;
  const { live } = facts;
  const threshold = `≤ ${span(atMost)} for ${span(calmFor)}`;
  const value = live?.lagSeconds === undefined ? undefined : span(live.lagSeconds * 1_000);
  const base = { threshold, value, observedAt: live?.at, source: 'heartbeat' };
  if (live === undefined) return { ...base, result: 'unknown', reason: facts.noWorker, next: 'run' };
  const { state, lagSeconds, calmSince, startedAt } = live;
  if (state === 'halted' || state === 'waiting') {
    return { ...base, result: 'fail', reason: live.problem?.message ?? `the worker is ${state}`, next: 'status' };
  }
  if (state !== 'streaming' && state !== 'catching-up') {
    return { ...base, result: 'unknown', reason: `the worker that answered is ${state}` };
  }
  if (lagSeconds === undefined) return { ...base, result: 'unknown', reason: 'it was not measured of late' };
  if (lagSeconds * 1_000 > atMost) return { ...base, result: 'fail', reason: 'the stream is behind', next: 'status' };
  const at = Date.parse(live.at);
  const calmMs = calmSince === undefined ? 0 : at - Date.parse(calmSince);
  if (calmMs >= calmFor) return { ...base, result: 'pass', reason: `for ${span(calmMs)}` };
  const runsMs = at - Date.parse(startedAt);
  if (runsMs < calmFor) return { ...base, result: 'unknown', reason: `the worker runs for ${span(runsMs)} only` };
  if (calmSince === undefined) return { ...base, result: 'unknown', reason: 'since when is not known' };
  return { ...base, result: 'fail', reason: `for ${span(calmMs)} only`, next: 'status' };
}

function parity({ facts }: Question): Evidence {
  return {
    result: 'unknown',
    threshold: 'no difference',
    observedAt: undefined,
    ttlMs: facts.settings.gates.parity.within,
    source: 'comparison',
    reason: 'both sides can not be compared yet: compare them yourself, and waive this in the open',
    next: undefined,
  };
}

/** To `dual` nothing has come back yet: only the worker's own test can say that it would be recognized. */
function reverseTest({ facts, table, from, to }: Question): Evidence {
  const ttlMs = facts.settings.gates.reverseTest.within;
  const byTest = to === 'dual' && !isRollback(from, to);
  const observedAt = byTest ? facts.live?.testedAt : table.writes.lastEchoAt;
  const threshold = `≤ ${span(ttlMs)} old`;
  const value = observedAt === undefined ? undefined : moment(observedAt);
  const base = { threshold, value, observedAt, ttlMs, source: byTest ? 'self-test' : 'WAL' };
  const reverse = facts.live?.reverse;
  if (!table.reversed) {
    return { ...base, result: 'fail', reason: 'no entry of `reverse.apply` writes this table', next: 'check' };
  }
  if (reverse?.state === 'refused') {
    return { ...base, result: 'fail', reason: reverse.problem?.message ?? 'reverse sync is refused', next: 'check' };
  }
  // An echo of this morning says nothing of a queue that nobody has read since.
  if (facts.live === undefined) return { ...base, result: 'unknown', reason: facts.noWorker, next: 'run' };
  if (reverse?.state !== 'running') {
    const why = reverse?.problem === undefined ? '' : `: ${reverse.problem.message}`;
    return { ...base, result: 'unknown', reason: `reverse sync is ${reverse?.state ?? 'off'}${why}`, next: 'status' };
  }
  if (observedAt !== undefined && !byTest && !isSince(observedAt, table.publishedSince)) {
    const reason = 'the table was put into the stream anew since the write that it showed last';
    // In the other stages what the new system sends is skipped: nothing would ever come.
    const next = reverseIsOn(from)
      ? 'have the new system change a row of it'
      : 'go by way of dual, where its events are applied, or waive this in the open';
    return { ...base, result: 'unknown', reason, next };
  }
  if (observedAt !== undefined) {
    const reason = byTest ? 'the stream showed the worker its own write' : 'the stream showed a write of reverse sync';
    return { ...base, result: 'pass', reason, next: byTest ? 'check --reverse' : undefined };
  }
  if (!byTest) {
    const reason = 'the stream has shown no write of reverse sync to this table yet';
    // In the other stages what the new system sends is skipped: nothing would ever come.
    const next = reverseIsOn(from)
      ? 'have the new system change a row of it'
      : 'go by way of dual, where its events are applied, or waive this in the open';
    return { ...base, result: 'unknown', reason, next };
  }
  const reason = 'the worker has not seen a write of its own in the stream yet';
  return { ...base, result: 'unknown', reason, next: 'check --reverse' };
}

/** False where either time is not known, or can not be read. */
function isSince(at: string, since: string | undefined): boolean {
  return since !== undefined && Date.parse(at) >= Date.parse(since);
}

function conflictsOpen({ facts, table }: Question): Evidence {
  const open = table.conflictsOpen;
  const base = { threshold: '0', value: `${open}`, observedAt: facts.at, source: 'state' };
  if (open === 0) return { ...base, result: 'pass', reason: 'nothing waits for a decision' };
  const next = `conflicts list --table ${shellWord(table.display)} --open`;
  return { ...base, result: 'fail', reason: `${amount(open, 'conflict')} to decide`, next };
}

function deadLetters({ facts, table, from, to }: Question): Evidence {
  const { forward, reverse, waiting, nameless } = table.deadLetters;
  const base = { threshold: '0', value: `${forward + reverse}`, observedAt: facts.at, source: 'state' };
  const next = `dead-letters list --table ${shellWord(table.display)}`;
  if (table.held !== undefined) {
    return { ...base, result: 'fail', reason: `its changes are set aside: ${table.held.message}`, next };
  }
  if (forward + reverse > 0) {
    return { ...base, result: 'fail', reason: `${forward} of changes, ${reverse} of events of the new system`, next };
  }
  if (waiting > 0 && isRollback(from, to)) {
    return { ...base, result: 'fail', reason: `${amount(waiting, 'event')} of the new system waits for another`, next };
  }
  if (nameless > 0) {
    const reason = `${amount(nameless, 'event')} of the new system could not be read, and may be of this table`;
    return { ...base, result: 'unknown', reason, next: 'dead-letters list --direction reverse' };
  }
  const also = waiting === 0 ? '' : `; ${amount(waiting, 'event')} of the new system waits for another`;
  return { ...base, result: 'pass', reason: `nothing is set aside${also}` };
}
