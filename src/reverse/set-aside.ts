import { BanyanError } from '../core/errors.ts';
import type { QueueMessage } from '../bus/queue.ts';
import type { Intent, Target } from './intent.ts';
import type { EntryFailure } from './mapper.ts';
import type { ReverseParking } from './parking.ts';
import type { ParkingFlood } from './parking-flood.ts';
import type { ReverseProgress } from './progress.ts';

export interface SetAsideOptions {
  readonly parking: ReverseParking;
  readonly progress: ReverseProgress;
  readonly flood: Pick<ParkingFlood, 'parked'>;
  /** What dead letters of no table are listed under. */
  readonly place: string;
  /** The statements that give our role what it lacks on a table; none: it lacks nothing that we know of. */
  readonly missingGrants: (target: Target) => Promise<readonly string[]>;
}

/** Puts what can not be applied into `dead_letter`, and counts it. All of it is durable when it resolves. */
export class SetAside {
  readonly #options: SetAsideOptions;

  constructor(options: SetAsideOptions) {
    this.#options = options;
  }

  /** A message that no event could be read from, or what one entry could not read `of` it. */
  async message(message: QueueMessage, error: BanyanError, of?: EntryFailure): Promise<void> {
    const { parking, progress, place, flood } = this.#options;
    await parking.parkMessage(message, { error, place: of?.table ?? place, of });
    progress.parked += 1;
    if (error.reaction === 'park') flood.parked(error);
  }

  /** Events behind what stands aside before them. */
  async behind(intents: readonly Intent[]): Promise<void> {
    const { parking, progress } = this.#options;
    await parking.parkBehind(intents);
    progress.parked += intents.length;
  }

  /** One that its transaction has set aside, and that has committed. */
  committed(intent: Intent, error: BanyanError): void {
    this.#count(this.#options.parking.parked(intent, error), error);
  }

  /** One for which there is no transaction: only its own lane shall wait for a person. */
  async alone(intent: Intent, error: BanyanError): Promise<void> {
    this.#count(await this.#options.parking.parkAlone(intent, error), error);
  }

  /** One that a right is missing for: its table is held, so that its events do not fill the hand, and other tables go on. */
  async withTable(intent: Intent, error: BanyanError): Promise<void> {
    const grants = await this.#options.missingGrants(intent.target);
    await this.alone(intent, withRemedy(error, grants));
  }

  #count(how: 'settled' | 'waiting' | 'dead' | 'held', error: BanyanError): void {
    const { progress, flood } = this.#options;
    if (how === 'waiting') progress.waited += 1;
    else if (how !== 'settled') progress.parked += 1;
    if (how === 'dead') flood.parked(error);
  }
}

/** The letter keeps the message only, so that says it too. */
function withRemedy(error: BanyanError, grants: readonly string[]): BanyanError {
  if (grants.length === 0) return error;
  const { kind, message, code, context } = error;
  return new BanyanError(kind, `${message}; what is missing: ${grants.join(' ')}`, {
    cause: error,
    context,
    remedy: `run as the table’s owner: ${grants.join(' ')} The worker goes on by itself`,
    ...(code === undefined ? {} : { code }),
  });
}
