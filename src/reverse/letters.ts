import { BanyanError, toBanyanError } from '../core/errors.ts';
import { REVERSE_STAGES } from '../core/stages.ts';
import { allEnded } from '../flow/all-ended.ts';
import { heldGroup } from '../state/dead-letters.ts';
import type { ReverseLetter } from '../state/reverse-letters.ts';
import type { Intent } from './intent.ts';
import { type Attempt, type AttemptOptions, LetterAttempts, type LetterAttemptsOptions } from './letter-attempts.ts';
import { emptyReport, isRefusal, type LetterReport } from './letter-report.ts';
import { redriveLoose } from './loose-letters.ts';
import type { ReversePipeline } from './pipeline.ts';

export interface LetterSelection {
  /** Letters by id: their whole groups are redriven, since one letter can not overtake those before it. */
  readonly ids?: readonly number[];
  readonly group?: string;
  readonly table?: string;
  readonly all?: boolean;
}

export interface LettersOptions extends LetterAttemptsOptions {
  readonly pipeline: Pick<ReversePipeline, 'alone'>;
  /** Compiles the targets against the catalog as it is now. Throws where that can not be done. */
  readonly reload: () => Promise<void>;
  /** No further letter is tried. */
  readonly stop: AbortSignal;
}

const PAGE = { rows: 50, bytes: 4_000_000 };
/** Groups redriven at a time. */
const CONCURRENCY = 8;
/** Lanes that are tried by themselves in a round. */
const LANES_PER_ROUND = 1_000;

/** Tries again what was set aside: what waits for a person, when one asks; what is held with its table, by itself too. */
export class ReverseLetters {
  readonly #options: LettersOptions;
  readonly #attempts: LetterAttempts;
  /** Held tables that are being tried by themselves. */
  readonly #retrying = new Set<string>();

  constructor(options: LettersOptions) {
    this.#options = options;
    this.#attempts = new LetterAttempts(options);
  }

  /** To be called now and then: a held table may have been mended. Waits for none of them. */
  retryHeld(): void {
    for (const table of this.#options.parking.heldTables) void this.#retryTable(table);
  }

  async #retryTable(table: string): Promise<void> {
    if (this.#retrying.has(table)) return;
    this.#retrying.add(table);
    try {
      await this.#redriveTable(table, emptyReport());
    } catch (error) {
      const { kind, code, message } = toBanyanError(error, 'trying the events of a held table again');
      this.#options.log.info({ table, kind, code }, message);
    } finally {
      this.#retrying.delete(table);
    }
  }

  /** Applies letters again, in order within their group, read anew by today's configuration. */
  async redrive(selection: LetterSelection, { by }: { readonly by?: string } = {}): Promise<LetterReport> {
    const { parking, log } = this.#options;
    const report = emptyReport();
    const { groups, loose } = await this.#select(selection);
    const held = groups.filter((group) => group.startsWith('table:'));
    for (const group of held) await this.#redriveTable(group.slice('table:'.length), report);
    const lanes = groups.filter((group) => !held.includes(group));
    const next = async (): Promise<void> => {
      for (let lane = lanes.shift(); lane !== undefined; lane = lanes.shift())
        await this.#redriveLane(lane, { report, by });
    };
    await allEnded(Array.from({ length: CONCURRENCY }, next));
    for (const id of loose) await redriveLoose(id, { ...this.#options, attempts: this.#attempts, report });
    log.info(
      { ...report, stopped: report.stopped.length, held: parking.heldTables.size },
      'redrive of reverse sync ended',
    );
    return report;
  }

  /** Redrives what stands behind a letter that is settled. Never rejects, since that is done: returns why something of it still stands there. */
  async redriveBehind(lane: string, { by }: { readonly by: string }): Promise<string | undefined> {
    try {
      const { stopped } = await this.redrive({ group: lane }, { by });
      return stopped[0]?.reason;
    } catch (thrown) {
      const { kind, code, message } = toBanyanError(thrown, 'applying what stands behind a parked event');
      this.#options.log.warn({ kind, code }, message);
      return message;
    }
  }

  async discard(selection: Omit<LetterSelection, 'all'>): Promise<number> {
    const { parking } = this.#options;
    const discarded = await parking.store.discard(selection);
    await parking.reconcileAll();
    return discarded;
  }

  async #select(selection: LetterSelection): Promise<{ groups: string[]; loose: number[] }> {
    const { parking } = this.#options;
    if (selection.group !== undefined) return { groups: [selection.group], loose: [] };
    const { ids, table } = selection;
    if (ids === undefined && table === undefined && selection.all !== true)
      throw new BanyanError('usage', 'say what to redrive: ids, a group, a table, or all');
    const filter = { ...(ids === undefined ? {} : { ids }), ...(table === undefined ? {} : { table }) };
    const [groups, loose] = await Promise.all([parking.store.groupsOf(filter), parking.store.looseOf(filter)]);
    const held = [...parking.heldTables].filter((each) => selection.all === true || each === table).map(heldGroup);
    return { groups: [...new Set([...held, ...groups])], loose };
  }

  /** To be called now and then, since a worker may have ended between what stood before such letters and them. */
  async retryBehind(): Promise<void> {
    const { parking, pipeline, log } = this.#options;
    const lanes = await parking.store.lanesBehind(LANES_PER_ROUND, REVERSE_STAGES);
    const next = async (): Promise<void> => {
      for (let lane = lanes.shift(); lane !== undefined; lane = lanes.shift()) {
        const ofLane = lane;
        try {
          await pipeline.alone({ lane }, () => this.tryBehind(ofLane));
        } catch (error) {
          const { kind, code, message } = toBanyanError(error, 'trying events that wait behind nothing');
          log.info({ kind, code }, message);
        }
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, next));
  }

  /**
   * While the lane belongs to the caller: tries the first letters of it for as long as they only wait behind others. Returns the one that holds up the rest for a
   * reason of its own, or that is to be the last. Throws where the stage of the table takes no events.
   */
  async tryBehind(lane: string, { last }: { readonly last?: number } = {}): Promise<ReverseLetter | undefined> {
    const { parking, stop } = this.#options;
    for (;;) {
      stop.throwIfAborted();
      const [first] = await parking.store.next(lane, { rows: 1, bytes: 1, only: 'holding' });
      if (first?.behind !== true || first.id === last) {
        await parking.reconcile(lane);
        return first;
      }
      // Where it fails, it is not behind any more, or waits.
      const attempt = await this.#attempts.try(first, { byOperator: false });
      if (attempt.status !== 'skipped') continue;
      await parking.reconcile(lane);
      throw attempt.error;
    }
  }

  async #redriveLane(
    lane: string,
    { report, by }: { readonly report: LetterReport; readonly by: string | undefined },
  ): Promise<void> {
    const { parking, pipeline, stop } = this.#options;
    await pipeline.alone({ lane }, async () => {
      for (;;) {
        const letters = await parking.store.next(lane, PAGE);
        for (const letter of letters) {
          stop.throwIfAborted();
          const reason = await this.#try(letter, report, { byOperator: true, by });
          if (reason === undefined) continue;
          report.stopped.push({ group: lane, letter: letter.id, reason: reason.message });
          await parking.reconcile(lane);
          return;
        }
        if (letters.length === 0) break;
      }
      await parking.reconcile(lane);
    });
  }

  /** The table is held until all of it is applied, or stands under its own keys. */
  async #redriveTable(table: string, report: LetterReport): Promise<void> {
    const { parking, pipeline, reload } = this.#options;
    try {
      await reload();
    } catch (error) {
      report.stopped.push({
        group: heldGroup(table),
        letter: undefined,
        reason: toBanyanError(error, 'compiling reverse.apply').message,
      });
      return;
    }
    let come = 0;
    for (let isMore = true, seen = parking.heldSoFar; isMore; seen += come) {
      // New events of the table get their turn in between: they are set aside as well, and do not fill the hand, which other tables need too.
      isMore = await pipeline.alone({ table }, async () => {
        come = parking.heldSoFar - seen;
        // Always more than have come, so that it ends.
        return await this.#redriveSome(table, report, Math.max(PAGE.rows, 2 * come));
      });
    }
  }

  /** So many of a held table's letters at least. Whether there may be more. */
  async #redriveSome(table: string, report: LetterReport, atLeast: number): Promise<boolean> {
    const { parking, stop, log } = this.#options;
    const group = heldGroup(table);
    for (let tried = 0; tried < atLeast;) {
      const letters = await parking.store.next(group, PAGE);
      for (const letter of letters) {
        stop.throwIfAborted();
        const reason = await this.#tryOfTable(letter, report);
        if (reason === undefined) continue;
        report.stopped.push({ group, letter: letter.id, reason: reason.message });
        return false;
      }
      if (letters.length === 0) {
        await parking.reconcile(group);
        log.info({ table }, 'the table is not held for reverse sync any more');
        return false;
      }
      tried += letters.length;
    }
    return true;
  }

  /** Returns why the table has to be held on. */
  async #tryOfTable(letter: ReverseLetter, report: LetterReport): Promise<BanyanError | undefined> {
    const { parking } = this.#options;
    const lane = letter.entry === -1 ? undefined : this.#laneOf(letter);
    if (lane !== undefined && parking.isDead(lane)) {
      await parking.store.move(letter.id, lane);
      report.parked += 1;
      return undefined;
    }
    const attempt = await this.#attempt(letter, { byOperator: false });
    if ('error' in attempt) {
      const { error, status } = attempt;
      if (error.reaction === 'hold' || status === 'refused' || status === 'skipped') return error;
      // Its own fault, not the table's: it holds its row, or, where nobody knows which that is, nothing.
      if (status === 'unreadable') {
        await parking.store.move(letter.id, attempt.lane);
        if (attempt.lane !== undefined) await parking.reconcile(attempt.lane);
      }
      report.parked += 1;
    } else if (attempt.status === 'done') report.sent += 1;
    else report.withoutEvent += 1;
    return undefined;
  }

  /** undefined: it can not be read, or asks nothing. */
  #laneOf(letter: ReverseLetter): string | undefined {
    try {
      return this.#attempts.intentOf(letter)?.lane;
    } catch {
      return undefined;
    }
  }

  /** Tells the report what came of an attempt; returns why it still can not be applied. */
  async #try(letter: ReverseLetter, report: LetterReport, how: AttemptOptions): Promise<BanyanError | undefined> {
    const attempt = await this.#attempt(letter, how);
    if ('error' in attempt) return attempt.error;
    if (attempt.status === 'done') report.sent += 1;
    else report.withoutEvent += 1;
    return undefined;
  }

  /** refused: nothing was done, and the letter is as it was. */
  async #attempt(
    letter: ReverseLetter,
    how: AttemptOptions,
  ): Promise<Attempt | { readonly status: 'refused'; readonly error: BanyanError }> {
    try {
      return await this.#attempts.try(letter, how);
    } catch (thrown) {
      if (isRefusal(thrown)) return { status: 'refused', error: thrown };
      throw thrown;
    }
  }

  /** What the letter's event asks of its row today. Throws where it can not be read. */
  intentOf(letter: ReverseLetter): Intent | undefined {
    return this.#attempts.intentOf(letter);
  }
}
