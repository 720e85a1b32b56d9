import { toBanyanError } from '../core/errors.ts';
import type { Intent } from './intent.ts';
import type { LetterAttempts } from './letter-attempts.ts';
import { isRefusal, type LetterReport } from './letter-report.ts';
import { letterId, type ReverseParking } from './parking.ts';
import type { ReversePipeline } from './pipeline.ts';

export interface LooseOptions {
  readonly parking: ReverseParking;
  readonly pipeline: Pick<ReversePipeline, 'alone'>;
  readonly attempts: Pick<LetterAttempts, 'intentsOf' | 'tryNew'>;
  readonly report: LetterReport;
}

/**
 * Redrives a letter from which no event could be read when it came. What it asks for now goes into the lanes behind what is there: what can not be applied gets
 * letters of its own.
 */
export async function redriveLoose(id: number, options: LooseOptions): Promise<void> {
  const { parking, pipeline, attempts, report } = options;
  const letter = await parking.store.get(id);
  if (letter?.status !== 'parked') return;
  let intents: readonly Intent[];
  try {
    intents = attempts.intentsOf(letter);
  } catch (thrown) {
    const error = toBanyanError(thrown, 'reading a letter');
    await parking.stays(letter, error);
    report.stopped.push({ group: `letter ${id}`, letter: id, reason: error.message });
    return;
  }
  let isDone = true;
  for (const intent of intents) {
    const { lane } = intent;
    isDone = (await pipeline.alone({ lane }, () => redriveNew(intent, { ...options, id }))) && isDone;
  }
  // Else it is read once more: what was done of it is known then.
  if (isDone) await parking.store.markRedriven([id]);
  if (intents.length === 0) report.withoutEvent += 1;
}

/** Whether the letter is not needed any more for this event of it: that was applied, or has a letter of its own. */
async function redriveNew(intent: Intent, options: LooseOptions & { readonly id: number }): Promise<boolean> {
  const { parking, attempts, report, id } = options;
  const stopped = async (reason: string): Promise<void> => {
    const own = await parking.store.ofEvent(letterId(intent));
    report.stopped.push({ group: own?.group ?? intent.lane, letter: own?.id ?? id, reason });
  };
  if (parking.isBehind(intent)) {
    await parking.parkBehind([intent]);
    await stopped('something stands before it');
    return true;
  }
  try {
    const attempt = await attempts.tryNew(intent, { byOperator: true });
    if (attempt.status === 'done') report.sent += 1;
    else await stopped(attempt.error.message);
    return attempt.status !== 'skipped';
  } catch (thrown) {
    if (!isRefusal(thrown)) throw thrown;
    await stopped(thrown.message);
    return false;
  }
}
