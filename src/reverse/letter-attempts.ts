import type pg from 'pg';
import type { Logger } from 'pino';
import { type BanyanError, toBanyanError } from '../core/errors.ts';
import type { ConflictStore } from '../state/conflicts.ts';
import type { ReverseLetter } from '../state/reverse-letters.ts';
import type { ApplyOutcome, Intent } from './intent.ts';
import { letterId, type ReverseParking, targetOf } from './parking.ts';
import type { Apply } from './pipeline.ts';
import { countOutcome, type ReverseProgress } from './progress.ts';

export interface LetterAttemptsOptions {
  readonly parking: ReverseParking;
  readonly read: (body: string) => readonly Intent[];
  readonly apply: Apply;
  readonly progress: ReverseProgress;
  readonly conflicts: Pick<ConflictStore, 'settleIn'>;
  readonly log: Logger;
}

export interface AttemptOptions {
  readonly byOperator: boolean;
  /** Who asked, for the record of a conflict that ends with it. */
  readonly by?: string | undefined;
}

/** done: applied, done before, or under letters of its own. without-event: no entry takes it any more. Else its letter says now what is wrong. */
export type Attempt =
  | { readonly status: 'done' | 'without-event' }
  | { readonly status: 'unreadable' | 'failed'; readonly error: BanyanError };

/** Applies single letters, while their lane or table belongs to the caller. */
export class LetterAttempts {
  readonly #options: LetterAttemptsOptions;

  constructor(options: LetterAttemptsOptions) {
    this.#options = options;
  }

  /** Throws where the same again may help. */
  async try(letter: ReverseLetter, options: AttemptOptions): Promise<Attempt> {
    const { parking } = this.#options;
    let intents: readonly Intent[];
    try {
      intents = this.#intentsOf(letter);
    } catch (thrown) {
      const error = toBanyanError(thrown, 'reading a letter');
      await parking.stays(letter, error);
      return { status: 'unreadable', error };
    }
    const [intent] = intents;
    if (intent === undefined) {
      await parking.store.markRedriven([letter.id]);
      return { status: 'without-event' };
    }
    if (letter.entry === -1) return this.#tryMessage(letter, intents);
    parking.retries(intent);
    const { byOperator, by } = options;
    const onEnded = (client: pg.ClientBase): Promise<void> => this.#endIn(client, letter, { intent, by });
    const outcome = await this.#apply(intent, { byOperator, onEnded });
    if (outcome.status !== 'failed') {
      this.#ended(letter, outcome);
      return { status: 'done' };
    }
    const { error, isParked } = outcome;
    // Where `apply` has parked it again, that kept its deadline and told its new reason.
    if (isParked) parking.parked(intent, error);
    else await parking.stays(letter, error);
    return { status: 'failed', error };
  }

  /** What the letter's event asks of its row today: the same target, or at least the same entry. Throws where it can not be read. */
  intentOf(letter: Pick<ReverseLetter, 'event' | 'eventId' | 'entry'>): Intent | undefined {
    const intents = this.#options.read(letter.event);
    return (
      intents.find((intent) => letterId(intent) === letter.eventId) ??
      intents.find(({ target }) => target.entry === letter.entry)
    );
  }

  #intentsOf(letter: ReverseLetter): readonly Intent[] {
    if (letter.entry === -1) return this.#options.read(letter.event);
    const intent = this.intentOf(letter);
    return intent === undefined ? [] : [intent];
  }

  /** A whole message, of which no entry had been applied: what still can not be gets letters of its own, behind what its row has. */
  async #tryMessage(letter: ReverseLetter, intents: readonly Intent[]): Promise<Attempt> {
    const { parking } = this.#options;
    for (const intent of intents) {
      if (parking.isDead(intent.lane)) {
        await parking.parkBehind([intent]);
        continue;
      }
      const outcome = await this.#apply(intent, { byOperator: false });
      if (outcome.status !== 'failed') countOutcome(this.#options.progress, outcome);
      else if (outcome.isParked) parking.parked(intent, outcome.error);
      else await parking.parkAlone(intent, outcome.error);
    }
    await parking.store.markRedriven([letter.id]);
    return { status: 'done' };
  }

  /** isParked: in the transaction of the attempt. */
  async #apply(
    intent: Intent,
    options: NonNullable<Parameters<Apply>[1]>,
  ): Promise<
    | Exclude<ApplyOutcome, { readonly status: 'failed' }>
    | { readonly status: 'failed'; readonly error: BanyanError; readonly isParked: boolean }
  > {
    const { apply, progress } = this.#options;
    let outcome: ApplyOutcome | undefined;
    try {
      [outcome] = await apply([intent], options);
    } catch (thrown) {
      const error = toBanyanError(thrown, 'applying a letter');
      // Refused at the commit, as deferred constraints do.
      if (error.reaction === 'park' || error.reaction === 'hold') return { status: 'failed', error, isParked: false };
      throw error;
    }
    if (outcome === undefined) throw new TypeError('an event came back without an outcome');
    if (outcome.status !== 'failed') return outcome;
    const { error } = outcome;
    if (error.reaction === 'retry' || error.reaction === 'wait') throw error;
    progress.retried += 1;
    // What a person asked for is not parked anew.
    return { status: 'failed', error, isParked: options.byOperator !== true };
  }

  /** With the event, in one transaction: a worker that is killed leaves no letter, and no open conflict, of what is done. */
  async #endIn(
    client: pg.ClientBase,
    letter: ReverseLetter,
    { intent, by }: { readonly intent: Intent; readonly by: string | undefined },
  ): Promise<void> {
    const { parking, conflicts } = this.#options;
    await parking.store.markRedrivenIn(client, letter.id);
    const { producer, eventId, target } = intent;
    await conflicts.settleIn(
      client,
      { producer, eventId, target: targetOf(letter, intent) },
      { resolution: undefined, appliedTo: target.id, by, note: undefined },
    );
  }

  #ended(letter: ReverseLetter, outcome: ApplyOutcome): void {
    const { progress, log } = this.#options;
    countOutcome(progress, outcome);
    log.info({ letter: letter.id, table: letter.table, outcome: outcome.status }, 'parked event applied');
  }
}
