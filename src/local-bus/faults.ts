import { isInput } from './input.ts';

/** When a fault strikes: always (`true`), with a probability of 0 to 1, or the next so many times. */
export type Trigger = true | { readonly probability: number } | { readonly next: number };

/**
 * What goes wrong on demand. `down`, `delayMs`, `hold` and `expiredCredentials` concern every operation, the others PutEvents. In the order
 * in which they are applied:
 */
export interface FaultSettings {
  /** The connection is destroyed before anything is read. */
  readonly down?: Trigger;
  /** Every answer comes this many milliseconds later. */
  readonly delayMs?: number;
  /**
   * Nothing is answered until released. `request`: the request is carried out when released, if the caller still waits. `answer`: it is carried
   * out at once, and only its answer waits.
   */
  readonly hold?: 'request' | 'answer';
  /** ExpiredTokenException */
  readonly expiredCredentials?: Trigger;
  /** ThrottlingException for the whole request. */
  readonly throttle?: Trigger;
  /** AccessDeniedException */
  readonly deny?: Trigger;
  /** Single entries fail; `next` and `probability` count entries. Default code: InternalFailure. */
  readonly failEntries?: true | FailEntries;
  /** The events are accepted and delivered, then the connection is destroyed. */
  readonly answerLost?: Trigger;
}

export interface FailEntries {
  readonly probability?: number;
  readonly next?: number;
  readonly code?: string;
  readonly message?: string;
}

/** A patch of `FaultSettings`: null switches a fault off. */
export type FaultPatch = { readonly [Name in keyof FaultSettings]?: FaultSettings[Name] | null };

const TRIGGERED = ['down', 'expiredCredentials', 'throttle', 'deny', 'failEntries', 'answerLost'] as const;
const NAMES: readonly string[] = [...TRIGGERED, 'delayMs', 'hold'];

/** The faults of one bus: what is set, how often it still strikes, and who is held. */
export class Faults {
  readonly #random: () => number;
  readonly #held = new Set<() => void>();
  #settings: FaultSettings = {};

  /** `random` returns 0 to 1, as `Math.random` does; tests give one of their own. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** What is set now; `next` counts down. */
  get settings(): FaultSettings {
    return this.#settings;
  }

  /** Requests that are held now. */
  get held(): number {
    return this.#held.size;
  }

  /** Sets the faults named and leaves the others as they are. Throws RangeError on what is no fault. */
  set(patch: FaultPatch): void {
    const settings: Record<string, unknown> = { ...this.#settings };
    for (const [name, value] of Object.entries(patch)) {
      if (value === null || value === undefined) {
        delete settings[name];
        continue;
      }
      const problem = problemOf(name, value);
      if (problem !== undefined) throw new RangeError(problem);
      settings[name] = value;
    }
    this.#settings = settings;
    if (this.#settings.hold === undefined) this.release();
  }

  /** Switches everything off and lets go who is held. */
  clear(): void {
    this.#settings = {};
    this.release();
  }

  /** Lets go who is held, and leaves the settings. */
  release(): void {
    for (const letGo of this.#held) letGo();
    this.#held.clear();
  }

  /** Resolves when released, or when `signal` aborts (the caller went away). */
  async waitForRelease(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const letGo = (): void => resolve();
    this.#held.add(letGo);
    signal.addEventListener('abort', letGo, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', letGo);
      this.#held.delete(letGo);
    }
  }

  /** Whether the fault strikes now; counts the strike. */
  strikes(name: (typeof TRIGGERED)[number]): boolean {
    const trigger: true | FailEntries | undefined = this.#settings[name];
    if (trigger === undefined) return false;
    if (trigger === true) return true;
    if (trigger.probability !== undefined) return this.#random() < trigger.probability;
    if (trigger.next === undefined) return true;
    const settings: Record<string, unknown> = { ...this.#settings, [name]: { ...trigger, next: trigger.next - 1 } };
    if (trigger.next <= 1) delete settings[name];
    this.#settings = settings;
    return true;
  }

  /** The failure of one entry, where it is to fail. */
  entryFailure(): { readonly ErrorCode: string; readonly ErrorMessage: string } | undefined {
    const setting = this.#settings.failEntries;
    if (setting === undefined || !this.strikes('failEntries')) return undefined;
    const { code = 'InternalFailure', message = 'A fault that was asked for.' } = setting === true ? {} : setting;
    return { ErrorCode: code, ErrorMessage: message };
  }
}

function problemOf(name: string, value: unknown): string | undefined {
  if (!NAMES.includes(name)) return `${name} is no fault; there are ${NAMES.join(', ')}`;
  if (name === 'delayMs') {
    return typeof value === 'number' && value >= 0 && value <= 3_600_000
      ? undefined
      : 'delayMs: a number of milliseconds, 0 to 3600000';
  }
  if (name === 'hold') return value === 'request' || value === 'answer' ? undefined : 'hold: "request" or "answer"';
  if (value === true) return undefined;
  const expected = `${name}: true, { "probability": 0 to 1 } or { "next": a whole number from 1 }`;
  if (!isInput(value)) return expected;
  const allowed = name === 'failEntries' ? ['probability', 'next', 'code', 'message'] : ['probability', 'next'];
  const unknown = Object.keys(value).find((key) => !allowed.includes(key));
  if (unknown !== undefined) return `${name}.${unknown} is unknown; there are ${allowed.join(', ')}`;
  const { probability, next, code, message } = value;
  if (probability !== undefined && next !== undefined) return `${name}: either probability or next`;
  if (name !== 'failEntries' && probability === undefined && next === undefined) return expected;
  if (probability !== undefined && !(typeof probability === 'number' && probability >= 0 && probability <= 1)) {
    return expected;
  }
  if (next !== undefined && !(Number.isInteger(next) && (next as number) >= 1)) return expected;
  for (const text of [code, message]) {
    if (text !== undefined && typeof text !== 'string') return 'failEntries: code and message are text';
  }
  return undefined;
}
