import pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import { reverseIsOn } from '../core/stages.ts';
import { resolvesWithin } from '../flow/within.ts';
import { displayName } from '../postgres/identifier.ts';
import type { AppliedVersionStore } from '../state/applied-versions.ts';
import type { ConflictStore } from '../state/conflicts.ts';
import type { InboxOutcome, InboxStore, InboxVerdict } from '../state/inbox.ts';
import type { LegacyChangeStore } from '../state/legacy-changes.ts';
import { conflictOf, ConflictParked } from './conflict.ts';
import type { RowForPeople } from './conflict-rows.ts';
import { decide, type Decision, type Facts } from './decide.ts';
import { EventFacts } from './event-facts.ts';
import type { ApplyOutcome, ConflictKind, Intent } from './intent.ts';
import { type After, type Before, type Claim, EventRows, type RowOwner, type WriteDecision } from './rows.ts';

export interface ApplyContext extends RowOwner {
  readonly pool: pg.Pool;
  readonly inbox: InboxStore;
  readonly versions: AppliedVersionStore;
  readonly conflicts: ConflictStore;
  readonly legacyChanges: LegacyChangeStore;
  readonly show: RowForPeople;
  /** Sets an event aside in the transaction that tried it. */
  readonly park: (client: pg.ClientBase, intent: Intent, error: BanyanError) => Promise<void>;
  /** Resolves when capture has seen everything that is committed now, and `legacy_change` says so. */
  readonly caughtUp: () => Promise<void>;
  /** Older events may be repeats that the inbox has forgotten. */
  readonly horizonMs: number;
  /** A person has decided: gaps and replays are taken, and what fails is not set aside again. */
  readonly byOperator: boolean;
  /** More to be done in the transaction that ends an event, whatever became of it. What it throws undoes that. */
  readonly onEnded?: (client: pg.ClientBase, outcome: ApplyOutcome) => Promise<void>;
}

/** The stream is too far behind to wait for it with a row locked: everything is rolled back, and done again when it has caught up. */
export class UndecidedYet extends Error {}

/** How long one transaction may wait for the stream with its rows locked, whatever the number of its events. */
export class LockedWait {
  readonly #limitMs: number;
  #endsAt: number | undefined;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** From the first wait on: what was locked for that one stays locked. */
  get leftMs(): number {
    this.#endsAt ??= performance.now() + this.#limitMs;
    return Math.max(0, this.#endsAt - performance.now());
  }
}

/** Behind which the caller of `applyOne` stands. */
export const SAVEPOINT = 'event';

/** One event, behind a savepoint of its caller. Throws what the server says, and a BanyanError where the event can not be applied. */
export async function applyOne(
  client: pg.ClientBase,
  intent: Intent,
  { context, wait }: { readonly context: ApplyContext; readonly wait: LockedWait },
): Promise<ApplyOutcome> {
  return new Application(client, intent, { context, wait }).run();
}

class Application {
  readonly #client: pg.ClientBase;
  readonly #intent: Intent;
  readonly #context: ApplyContext;
  readonly #wait: LockedWait;
  readonly #rows: EventRows;
  readonly #facts: EventFacts;

  constructor(
    client: pg.ClientBase,
    intent: Intent,
    { context, wait }: { readonly context: ApplyContext; readonly wait: LockedWait },
  ) {
    this.#client = client;
    this.#intent = intent;
    this.#context = context;
    this.#wait = wait;
    this.#rows = new EventRows(client, intent, context);
    this.#facts = new EventFacts(intent, context);
  }

  async run(): Promise<ApplyOutcome> {
    const claim = await this.#rows.claim();
    if (claim === undefined) return { status: 'duplicate' };
    if (!reverseIsOn(claim.stage)) {
      // Nothing of it happened: its key has no version either, and only the event is remembered.
      await this.#client.query(`rollback to savepoint ${SAVEPOINT}`);
      const { producer, eventId, target, eventTime } = this.#intent;
      const key = { producer, eventId, target: target.id };
      await this.#context.inbox.add(this.#client, key, { outcome: 'skipped', eventTime });
      return { status: 'skipped' };
    }
    const before = await this.#rows.before();
    const facts = this.#facts.of(claim, before);
    let decision = decide(facts);
    if (decision.do === 'ask')
      decision = decide({ ...facts, legacy: await this.#legacy(this.#rows.keyOf(claim, before)) });
    switch (decision.do) {
      case 'stale':
        await this.#remember(claim, { decision, texts: before?.texts, told: claim.known.told });
        await this.#settle('stale', undefined);
        return { status: 'stale' };
      case 'nothing':
        await this.#remember(claim, { decision, texts: before?.texts, told: claim.known.told });
        await this.#settle('applied', 'unchanged');
        return applied('unchanged', decision.conflict);
      case 'refuse':
        return await this.#refuse(claim, { decision, policy: facts.policy });
      case 'insert':
      case 'update':
      case 'delete':
        return await this.#write(claim, { decision, before, policy: facts.policy });
      case 'fail':
        return this.#fail(decision, { before, policy: facts.policy });
      case 'ask':
        throw new TypeError('asked twice for the last legacy change');
      default:
        return decision satisfies never;
    }
  }

  /** The row is locked: what is known when the stream has caught up is known for as long as it stays so. */
  async #legacy(key: readonly string[]): Promise<{ sequence: string | undefined }> {
    const { caughtUp, legacyChanges } = this.#context;
    const { schema, name } = this.#intent.target.table;
    const { leftMs } = this.#wait;
    // What fails is asked again without a lock, and says so there.
    const isThere = leftMs > 0 && (await resolvesWithin(leftMs, caughtUp()).catch(() => false));
    if (!isThere) throw new UndecidedYet();
    return { sequence: await legacyChanges.sequenceOf(this.#client, `${schema}.${name}`, key) };
  }

  async #write(
    claim: Claim,
    what: {
      readonly decision: WriteDecision;
      readonly before: Before | undefined;
      readonly policy: Facts['policy'];
    },
  ): Promise<ApplyOutcome> {
    const { decision, before, policy } = what;
    const after = await this.#rows.write(claim, { decision, before }).catch((thrown: unknown) => {
      throw this.#notMade(decision, thrown);
    });
    if (after === undefined) {
      // A BEFORE trigger has let it fall.
      const fallen = { do: 'refuse', conflict: 'echo_diverged', next: decision.next } as const;
      return await this.#refuse(claim, { decision: fallen, policy });
    }
    await this.#remember(claim, { decision, texts: after.texts, told: this.#facts.isTold(decision, after) });
    if (decision.conflict !== undefined) {
      await this.#record({ kind: decision.conflict, policy, resolution: 'new-wins', current: before?.texts });
    }
    return applied(verdictOf(decision, after), decision.conflict);
  }

  /** Nothing is written; the producer is told how the row stands. */
  async #refuse(
    claim: Claim,
    { decision, policy }: { readonly decision: Extract<Decision, { do: 'refuse' }>; readonly policy: Facts['policy'] },
  ): Promise<ApplyOutcome> {
    const row = await this.#rows.tell(claim);
    await this.#remember(claim, { decision, texts: row, told: true });
    await this.#record({ kind: decision.conflict, policy, resolution: 'legacy-wins', current: row });
    await this.#settle('refused', undefined);
    return { status: 'refused', conflict: decision.conflict };
  }

  #fail(
    { kind, conflict }: Extract<Decision, { do: 'fail' }>,
    { before, policy }: { readonly before: Before | undefined; readonly policy: Facts['policy'] },
  ): never {
    const { target } = this.#intent;
    if (kind === 'conflict-parked' && conflict !== undefined) {
      const facts = { kind: conflict, policy, resolution: 'parked', current: before?.texts } as const;
      throw new ConflictParked(conflictOf(this.#intent, { ...facts, show: this.#context.show }), target.table);
    }
    const says = this.#intent.decided === 'event' && kind === 'row-missing' ? NOT_MADE.patch : SAYS[kind];
    throw new BanyanError(kind, `${displayName(target.table)}: ${says}`, { context: { conflict } });
  }

  /** An update was to make its row: what it lacks for that is no fault of the event's. */
  #notMade(decision: WriteDecision, thrown: unknown): unknown {
    const { target } = this.#intent;
    if (target.operation !== 'update' || decision.do !== 'insert' || !(thrown instanceof pg.DatabaseError))
      return thrown;
    const { code = '' } = thrown;
    const says = code === '42501' ? NOT_MADE.right : code === '23502' ? NOT_MADE.column : undefined;
    if (says === undefined) return thrown;
    const context = { conflict: decision.conflict };
    return new BanyanError('row-missing', `${displayName(target.table)}: ${says}`, { cause: thrown, code, context });
  }

  async #remember(claim: Claim, what: Parameters<EventFacts['versionAfter']>[1]): Promise<void> {
    const key = { table: this.#rows.versionsOf, key: claim.versionKey };
    await this.#context.versions.save(this.#client, key, this.#facts.versionAfter(claim, what));
  }

  async #settle(outcome: InboxOutcome, verdict: InboxVerdict | undefined): Promise<void> {
    const { producer, eventId, target } = this.#intent;
    await this.#context.inbox.settle(this.#client, { producer, eventId, target: target.id }, { outcome, verdict });
  }

  async #record(conflict: Omit<Parameters<typeof conflictOf>[1], 'show'>): Promise<void> {
    const { conflicts, show } = this.#context;
    await conflicts.record(this.#client, conflictOf(this.#intent, { ...conflict, show }));
  }
}

const SAYS: Readonly<Record<Extract<Decision, { do: 'fail' }>['kind'], string>> = {
  'version-gap': 'an event with an earlier version has not come yet',
  'row-missing': 'the row is not there, or not yet',
  'conflict-parked': 'a person has to decide',
  replayed: 'the event is a replay, or older than applied events are remembered',
};

const TO_BE_DONE =
  'have the row made, by its producer or by hand, and resolve the conflict again; `--keep current` drops the event';
/** Why an update can not become the row that it needs; a message alone reaches who has asked for it. */
const NOT_MADE = {
  patch: `the row is not there, and the event carries only what changed: ${TO_BE_DONE}`,
  right: `the row is not there, and the role lacks the right to insert it: grant that, or ${TO_BE_DONE}`,
  column: `the row is not there, and the event sets not all columns that a new row needs: ${TO_BE_DONE}`,
};

export function verdictOf({ announce }: WriteDecision, { corrected }: After): 'correction' | 'echo' {
  return corrected || announce ? 'correction' : 'echo';
}

function applied(verdict: InboxVerdict, conflict: ConflictKind | undefined): ApplyOutcome {
  return { status: 'applied', verdict, ...(conflict === undefined ? {} : { conflict }) };
}
