import { stageWinner } from '../core/stages.ts';
import { keyedHash } from '../postgres/keyed-hash.ts';
import type { AppliedVersion } from '../state/applied-versions.ts';
import type { Decision, Facts } from './decide.ts';
import type { Intent } from './intent.ts';
import { marksAfter, type Texts } from './marks.ts';
import type { After, Before, Claim, WriteDecision } from './rows.ts';

export interface EventFactsOptions {
  /** Of `reverse_secret`. */
  readonly secret: Uint8Array;
  /** Older events may be repeats that the inbox has forgotten. */
  readonly horizonMs: number;
  /** A person has decided: gaps and replays are taken. */
  readonly byOperator: boolean;
}

/** 96 of 256 bits. */
const HASH_LENGTH = 16;

/** What has to be known to decide on one event, and what is to be known of its row afterwards. Asks nobody. */
export class EventFacts {
  readonly #intent: Intent;
  readonly #options: EventFactsOptions;
  /** The columns that the target sets. */
  readonly #set: readonly string[];
  /** What stands in a row before and after is hashed once. */
  readonly #hashes = new Map<string, string>();

  constructor(intent: Intent, options: EventFactsOptions) {
    this.#intent = intent;
    this.#options = options;
    this.#set = intent.target.set.map(({ name }) => name);
  }

  of({ known, stage }: Claim, before: Before | undefined): Facts {
    const { target, basedOn, decided } = this.#intent;
    return {
      operation: target.operation,
      set: this.#set,
      version: this.#version,
      gaps: this.#options.byOperator ? 'ignore' : target.gaps,
      carries: target.carries,
      replayed: this.#isReplayed(),
      policy: target.conflict === 'stage' ? stageWinner(stage) : target.conflict,
      decided,
      known,
      row: before && {
        hashes: Object.fromEntries(Object.entries(before.texts).map(([name, text]) => [name, this.#hash(text)])),
        same: before.same,
        expected: before.expected,
      },
      basedOn,
      legacy: undefined,
    };
  }

  /** Whether events may be under way whose producer has not heard of what it is told with this write. */
  isTold({ conflict, announce }: WriteDecision, { corrected }: After): boolean {
    // Without `basedOn` nobody ever hears that the producer has heard: one announcement must do, or all that follow would be published.
    return corrected || conflict !== undefined || (announce && this.#intent.basedOn !== undefined);
  }

  /** `texts`: see `marksAfter`. */
  versionAfter(
    { known, keyNames }: Claim,
    what: {
      readonly decision: Exclude<Decision, { do: 'ask' | 'fail' }>;
      readonly texts: Texts | undefined;
      readonly told: boolean;
    },
  ): AppliedVersion {
    const { decision, texts, told } = what;
    const columns = marksAfter({
      decision,
      version: this.#version,
      key: keyNames,
      set: this.#set,
      known: known.columns,
      texts,
      hash: (text) => this.#hash(text),
      isBased: this.#intent.basedOn !== undefined,
    });
    return { ...decision.next, columns, told };
  }

  get #version(): bigint | undefined {
    const { version } = this.#intent;
    return version === undefined ? undefined : BigInt(version);
  }

  #isReplayed(): boolean {
    const { target, isReplay, eventTime } = this.#intent;
    if (this.#options.byOperator || target.replay === 'allow') return false;
    return isReplay || (eventTime !== undefined && Date.now() - Date.parse(eventTime) > this.#options.horizonMs);
  }

  /** Keyed: values of few forms could be guessed from a plain one. */
  #hash(text: string | null): string {
    if (text === null) return '-';
    let known = this.#hashes.get(text);
    if (known === undefined) {
      known = keyedHash(this.#options.secret).of(text).slice(0, HASH_LENGTH);
      this.#hashes.set(text, known);
    }
    return known;
  }
}
