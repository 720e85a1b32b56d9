import type pg from 'pg';
import type { Logger } from 'pino';
import { type BanyanError, toBanyanError } from '../core/errors.ts';
import type { ConflictStore } from '../state/conflicts.ts';
import type { ReverseLetter } from '../state/reverse-letters.ts';
import type { ApplyOutcome, Intent } from './intent.ts';
import type { EntryFailure, EventReading } from './mapper.ts';
import { letterId, type ReverseParking, tableOf, targetOf } from './parking.ts';
import type { Apply } from './pipeline.ts';
import { countOutcome, type ReverseProgress } from './progress.ts';
import { refuseSkipped, StageOff } from './stage-off.ts';

export interface LetterAttemptsOptions {
  readonly parking: ReverseParking;
  readonly read: (body: string) => EventReading;
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

/**
 * done: applied, done before, or under letters of its own. without-event: no entry takes it any more. skipped: the stage of its table takes none, and the letter is
 * as it was. Else its letter says now what is wrong.
 */
export type Attempt =
  | { readonly status: 'done' | 'without-event' }
  /** lane: of its row, where that can be read. */
  | { readonly status: 'unreadable'; readonly error: BanyanError; readonly lane: string | undefined }
  | { readonly status: 'failed' | 'skipped'; readonly error: BanyanError };

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
      intents = this.intentsOf(letter);
    } catch (thrown) {
      const error = toBanyanError(thrown, 'reading a letter');
      await parking.stays(letter, error);
      return { status: 'unreadable', error, lane: this.#laneOf(letter) };
    }
    const [intent] = intents;
    if (intent === undefined) {
      await parking.store.markRedriven([letter.id]);
      return { status: 'without-event' };
    }
    if (letter.entry === -1) return this.#tryMessage(letter, intents);
    parking.retries(intent, letter);
    const { byOperator, by } = options;
    const onEnded = async (client: pg.ClientBase, outcome: ApplyOutcome): Promise<void> => {
      refuseSkipped(outcome, letter.table);
      await this.#endIn(client, letter, { intent, by });
    };
    const outcome = await this.#apply(intent, { byOperator, onEnded });
    if (outcome.status !== 'failed') {
      this.#ended(letter, outcome);
      return { status: 'done' };
    }
    const { error, isParked } = outcome;
    if (error instanceof StageOff) return { status: 'skipped', error };
    // Where `apply` has parked it again, that kept its deadline and told its new reason.
    if (!isParked) await parking.stays(letter, error);
    else {
      parking.parked(intent, error);
      // It has a letter by its own id now, where this one was of a message that the entry could not read.
      if (letter.eventId !== letterId(intent)) await parking.store.markRedriven([letter.id]);
    }
    return { status: 'failed', error };
  }

  /** What the letter's event asks of its row today. undefined: no entry takes it any more. Throws where it can not be read. */
  intentOf(letter: LetterEvent): Intent | undefined {
    const reading = this.#readingOf(letter);
    if (reading === undefined) return undefined;
    if ('error' in reading) throw reading.error;
    return reading.intent;
  }

  /** By the same target; else by what is most like it, since entries are moved, and their columns or their table are renamed. */
  #readingOf({ event, eventId, entry, table }: LetterEvent): EntryReading | EntryFailure | undefined {
    const { intents, failures } = this.#options.read(event);
    const all = [...intents.map(readingOf), ...failures];
    const ofTable = all.filter((reading) => reading.table === table);
    return (
      all.find(({ target }) => target !== undefined && eventId.endsWith(` ${target}`)) ??
      ofTable.find((reading) => reading.entry === entry) ??
      ofTable[0] ??
      all.find((reading) => reading.entry === entry)
    );
  }

  #laneOf(letter: LetterEvent): string | undefined {
    try {
      return this.#readingOf(letter)?.lane;
    } catch {
      return undefined;
    }
  }

  /** The letter's event, or all that its message asks for where the letter is that of the whole. Throws where it can not be read. */
  intentsOf(letter: ReverseLetter): readonly Intent[] {
    if (letter.entry !== -1) {
      const intent = this.intentOf(letter);
      return intent === undefined ? [] : [intent];
    }
    const { intents, failures } = this.#options.read(letter.event);
    const [first] = failures;
    if (first !== undefined) throw first.error;
    return intents;
  }

  /** A whole message, of which no entry had been applied: what still can not be gets letters of its own, behind what its row has. */
  async #tryMessage(letter: ReverseLetter, intents: readonly Intent[]): Promise<Attempt> {
    const { parking } = this.#options;
    let skipped: BanyanError | undefined;
    for (const intent of intents) {
      if (parking.isDead(intent.lane)) {
        await parking.parkBehind([intent]);
        continue;
      }
      const attempt = await this.tryNew(intent, { byOperator: false });
      if (attempt.status === 'skipped') skipped = attempt.error;
    }
    // What was done is known when it is tried again.
    if (skipped !== undefined) return { status: 'skipped', error: skipped };
    await parking.store.markRedriven([letter.id]);
    return { status: 'done' };
  }

  /** An event without a letter of its own, while its lane belongs to the caller: where it can not be applied it gets one. Throws where the same again may help. */
  async tryNew(
    intent: Intent,
    { byOperator }: Pick<AttemptOptions, 'byOperator'>,
  ): Promise<{ readonly status: 'done' } | { readonly status: 'failed' | 'skipped'; readonly error: BanyanError }> {
    const { parking, progress } = this.#options;
    const onEnded = async (_: pg.ClientBase, outcome: ApplyOutcome): Promise<void> =>
      refuseSkipped(outcome, tableOf(intent.target.table));
    const outcome = await this.#apply(intent, { byOperator, onEnded });
    if (outcome.status !== 'failed') {
      countOutcome(progress, outcome);
      return { status: 'done' };
    }
    const { error, isParked } = outcome;
    if (error instanceof StageOff) return { status: 'skipped', error };
    if (isParked) parking.parked(intent, error);
    else await parking.parkAlone(intent, error);
    return { status: 'failed', error };
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
      const isItsFault = error.reaction === 'park' || error.reaction === 'hold';
      if (isItsFault || error instanceof StageOff) return { status: 'failed', error, isParked: false };
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

type LetterEvent = Pick<ReverseLetter, 'event' | 'eventId' | 'entry' | 'table'>;

type EntryReading = Pick<EntryFailure, 'entry' | 'table' | 'target' | 'lane'> & { readonly intent: Intent };

function readingOf(intent: Intent): EntryReading {
  const { target, lane } = intent;
  return { entry: target.entry, table: tableOf(target.table), target: target.id, lane, intent };
}
