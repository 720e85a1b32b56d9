import type pg from 'pg';
import { reverseIsOn } from '../core/stages.ts';
import { queryTogether, type TextQuery, type TextRow } from '../postgres/together.ts';
import { type ApplyContext, verdictOf } from './apply-one.ts';
import { decide, type Decision } from './decide.ts';
import { EventFacts } from './event-facts.ts';
import type { ApplyOutcome, Intent } from './intent.ts';
import type { Texts } from './marks.ts';
import { type Before, type Claim, EventRows, type WriteDecision } from './rows.ts';

const BEGIN: TextQuery = { name: 'banyan_begin', text: 'begin isolation level read committed', values: [] };
const COMMIT: TextQuery = { name: 'banyan_commit', text: 'commit', values: [] };

type Context = Pick<ApplyContext, 'connector' | 'stateSchema' | 'secret' | 'inbox' | 'versions' | 'horizonMs'>;

/**
 * Several events in three messages to the server: what they find, what they write, what is to be known of them. For what nearly all events are: nothing is in their
 * way. No event has a savepoint, so that one that is not plain undoes them all.
 *
 * All rows are read before the first is written; each write looks whether its row is still the version that was read, and else writes nothing. So what one event's
 * triggers do to the row of another is not overlooked.
 *
 * undefined: not all are plain, and the transaction is still open, as it is when something is thrown.
 */
export async function applyPlainly(
  client: pg.ClientBase,
  intents: readonly Intent[],
  context: Context,
): Promise<ReadonlyMap<Intent, ApplyOutcome> | undefined> {
  const events = intents.map((intent) => new PlainEvent(client, intent, context));
  const [, ...found] = await queryTogether(client, [BEGIN, ...events.flatMap((event) => event.asking)]);
  for (const [index, event] of events.entries()) {
    if (!event.decides(found[index * 2]?.[0], found[index * 2 + 1]?.[0])) return undefined;
  }
  const keys = events.flatMap(({ versionKey }) => versionKey ?? []);
  // Two spellings of one key: what the second finds depends on the first.
  if (new Set(keys).size < keys.length) return undefined;
  const writers = events.flatMap((event) => {
    const { writing } = event;
    return writing === undefined ? [] : { event, writing };
  });
  if (writers.length > 0) {
    const written = await queryTogether(
      client,
      writers.map(({ writing }) => writing),
    );
    for (const [index, { event }] of writers.entries()) if (!event.hasWritten(written[index]?.[0])) return undefined;
  }
  await queryTogether(client, [...events.flatMap((event) => event.remembering), COMMIT]);
  return new Map(events.map((event) => [event.intent, event.outcome]));
}

type Plain = WriteDecision | Extract<Decision, { do: 'stale' | 'nothing' }>;

class PlainEvent {
  readonly intent: Intent;
  /** As if it were known, until it shows that it is not. */
  outcome: ApplyOutcome = { status: 'duplicate' };
  readonly #context: Context;
  readonly #rows: EventRows;
  readonly #facts: EventFacts;
  #found: { readonly claim: Claim; readonly before: Before | undefined; readonly decision: Plain } | undefined;
  /** What the row holds in the end, and whether its producer is told of it. */
  #after: { readonly texts: Texts | undefined; readonly told: boolean } = { texts: undefined, told: false };

  constructor(client: pg.ClientBase, intent: Intent, context: Context) {
    this.intent = intent;
    this.#context = context;
    this.#rows = new EventRows(client, intent, context);
    this.#facts = new EventFacts(intent, { ...context, byOperator: false });
  }

  get asking(): readonly TextQuery[] {
    return [this.#rows.claiming(), this.#rows.finding()];
  }

  /** False: it is not plain. */
  decides(claimed: TextRow | undefined, row: TextRow | undefined): boolean {
    const claim = this.#rows.claimed(claimed);
    if (claim === undefined) return true;
    if (!reverseIsOn(claim.stage)) return false;
    const before = this.#rows.found(row);
    const decision = decide(this.#facts.of(claim, before));
    if (decision.do === 'ask' || decision.do === 'refuse' || decision.do === 'fail') return false;
    if (decision.do !== 'stale' && decision.conflict !== undefined) return false;
    this.#found = { claim, before, decision };
    this.#after = { texts: before?.texts, told: claim.known.told };
    if (decision.do === 'stale') this.outcome = { status: 'stale' };
    if (decision.do === 'nothing') this.outcome = { status: 'applied', verdict: 'unchanged' };
    return true;
  }

  /** What its versions are under; undefined: it is known. */
  get versionKey(): string | undefined {
    return this.#found && `${this.#rows.versionsOf} ${this.#found.claim.versionKey}`;
  }

  /** undefined: nothing is to be written. */
  get writing(): TextQuery | undefined {
    if (this.#found === undefined) return undefined;
    const { claim, before, decision } = this.#found;
    return isWrite(decision) ? this.#rows.writing(claim, { decision, before }) : undefined;
  }

  /** False: a trigger has let it fall, or the row is another one by now. */
  hasWritten(row: TextRow | undefined): boolean {
    if (this.#found === undefined || !isWrite(this.#found.decision)) return false;
    const { before, decision } = this.#found;
    const after = this.#rows.written({ decision, before }, row);
    if (after === undefined) return false;
    this.#after = { texts: after.texts, told: this.#facts.isTold(decision, after) };
    this.outcome = { status: 'applied', verdict: verdictOf(decision, after) };
    return true;
  }

  get remembering(): readonly TextQuery[] {
    if (this.#found === undefined) return [];
    const { claim, decision } = this.#found;
    const { versions, inbox } = this.#context;
    const key = { table: this.#rows.versionsOf, key: claim.versionKey };
    const saving = versions.saving(key, this.#facts.versionAfter(claim, { decision, ...this.#after }));
    if (isWrite(decision)) return [saving];
    const { producer, eventId, target } = this.intent;
    const end =
      decision.do === 'stale'
        ? ({ outcome: 'stale', verdict: undefined } as const)
        : ({ outcome: 'applied', verdict: 'unchanged' } as const);
    return [saving, inbox.settling({ producer, eventId, target: target.id }, end)];
  }
}

function isWrite(decision: Plain): decision is WriteDecision {
  return decision.do !== 'stale' && decision.do !== 'nothing';
}
