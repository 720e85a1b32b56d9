import type pg from 'pg';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import type { MessageChange, Relation, TableChange } from '../core/change.ts';
import type { BanyanError } from '../core/errors.ts';
import type { StreamIdentity } from '../core/event.ts';
import type { Finding } from '../core/finding.ts';
import type { Lsn } from '../core/lsn.ts';
import type { LoopStatus } from '../core/status.ts';
import { untilAborted } from '../flow/within.ts';
import type { ApplyMessage, SelfTestMessage } from '../postgres/apply-tag.ts';
import type { Observation } from '../state/inbox.ts';
import type { State } from '../state/state.ts';
import type { Marks } from './marks.ts';
import { basedOnKeys, LegacyKeys } from './legacy-keys.ts';
import { Observations } from './observations.ts';
import { OwnMessages } from './own-messages.ts';
import type { StreamProgress } from './pipeline.ts';
import { seldom } from './seldom.ts';
import { selfTest } from './self-test.ts';

/** A change that has crossed between the systems more often than this runs in a loop. */
export const MAX_HOPS = 2;

/** Of which the status speaks by name. */
const MAX_ORIGINS = 100;

export interface OpenOptions extends Pick<LoopGuardOptions, 'marks' | 'pool' | 'findings' | 'signal' | 'log'> {
  readonly config: Config;
  readonly state: State;
  readonly identity: StreamIdentity;
  readonly progress: StreamProgress;
  /** What was added is written: the stream's position may have moved. */
  readonly onWritten: () => void;
  readonly onHalt: (error: BanyanError) => void;
}

export interface LoopGuardOptions {
  readonly connector: string;
  readonly secret: Uint8Array;
  readonly keys: LegacyKeys;
  readonly observations: Observations;
  readonly marks: Pick<Marks, 'set'>;
  /** For marks. */
  readonly pool: pg.Pool;
  /** How far the stream has come. */
  readonly received: () => Lsn | undefined;
  /** Takes what the self-test found. */
  readonly findings: Finding[];
  /** Of the session. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** For one session. The secret is made where there is none yet: what it keyed once must be known for as long as the WAL may hold it. */
export async function openLoopGuard(options: OpenOptions): Promise<LoopGuard> {
  const { config, state, identity, progress, onWritten, onHalt, signal } = options;
  // The status keeps what an earlier session received.
  const before = progress.receivedLsn;
  return new LoopGuard({
    ...options,
    connector: config.name,
    secret: await state.reverseSecret.get(),
    keys: new LegacyKeys(basedOnKeys(config), identity),
    observations: new Observations({
      inbox: state.inbox,
      legacyChanges: state.legacyChanges,
      onWritten,
      onHalt,
      signal,
    }),
    received: () => (progress.receivedLsn === before ? undefined : progress.receivedLsn),
  });
}

/**
 * Capture's side of reverse sync: it tells our own writes in the stream from everybody else's, so that no change runs in circles, and lets whoever
 * applies events know how far it has seen. For the pipeline what comes first, for reverse sync `selfTest` and `caughtUp`.
 */
export class LoopGuard {
  readonly #options: LoopGuardOptions;
  readonly #messages: OwnMessages;
  readonly #alarm: (facts: object) => void;
  readonly #origins = new Map<string, number>();
  readonly #shapeListeners = new Set<(relation: Relation) => void>();
  #exceeded = 0;
  /** The lap that goes on, and the one behind it that whoever asks now waits for. */
  #lap: Promise<void> = Promise.resolve();
  #nextLap: Promise<void> | undefined;

  constructor(options: LoopGuardOptions) {
    const { log } = options;
    this.#options = options;
    this.#messages = new OwnMessages(options);
    this.#alarm = seldom((facts) =>
      log.error(
        facts,
        'changes that went back and forth between the systems more than twice are not published: a trigger or a consumer answers each of them with another',
      ),
    );
  }

  /** Of the messages that are ours, or pretend to be: they are nobody's event. */
  get prefix(): string {
    return this.#messages.prefix;
  }

  get keys(): LegacyKeys {
    return this.#options.keys;
  }

  get observations(): Pick<Observations, 'hasRoom' | 'flush'> {
    return this.#options.observations;
  }

  get status(): LoopStatus {
    return {
      forged: this.#messages.forged,
      exceeded: this.#exceeded,
      origins: Object.fromEntries(this.#origins),
    };
  }

  /** A table as the stream shows it. */
  describe(relation: Relation): void {
    this.#options.keys.describe(relation);
    for (const listener of this.#shapeListeners) listener(relation);
  }

  /** Calls it with each table that the stream shows from now on, also one that it shows again; the function returned ends that. */
  onShape(listener: (relation: Relation) => void): () => void {
    this.#shapeListeners.add(listener);
    return () => void this.#shapeListeners.delete(listener);
  }

  read(change: MessageChange): Exclude<ApplyMessage, SelfTestMessage> | undefined {
    return this.#messages.read(change);
  }

  /** Whether the change is in a loop: then it is counted, and goes nowhere. */
  exceeds({ origin, relation }: TableChange): boolean {
    if (origin === undefined || origin.hops <= MAX_HOPS) return false;
    this.#exceeded += 1;
    this.#alarm({
      table: `${relation.schema}.${relation.name}`,
      causedBy: origin.causedBy,
      hops: origin.hops,
      dropped: this.#exceeded,
      remedy: 'find who answers this event, and let it carry on metadata.hops, or write nothing where nothing changes',
    });
    return true;
  }

  /** A change that another system replicated into the database. */
  foreign(origin: string): void {
    const known = this.#origins.get(origin);
    if (known === undefined && this.#origins.size >= MAX_ORIGINS) return;
    this.#origins.set(origin, (known ?? 0) + 1);
  }

  observe(observation: Observation, transaction: object, hold: () => () => void): void {
    this.#options.observations.addEcho(observation, transaction, hold);
  }

  /** Remembers that somebody else changed the row. */
  note(change: TableChange, hold: () => () => void): void {
    const { keys, observations } = this.#options;
    observations.addChanges(keys.of(change), change.transaction, hold);
  }

  /**
   * Whether our writes are recognized in the stream, asked with a message through the pool that applies. undefined: they are, and reverse sync may begin. Else what
   * is wrong, which is logged and is a finding of the session from then on.
   */
  async selfTest(pool: pg.Pool, signal: AbortSignal): Promise<Finding | undefined> {
    const { secret, received, findings, log } = this.#options;
    const finding = await selfTest(pool, { messages: this.#messages, secret, received, signal, log });
    const before = findings.findIndex(({ code }) => code === 'LOOP_PROTECTION_OFF');
    if (before !== -1) findings.splice(before, 1);
    if (finding === undefined) return undefined;
    findings.push(finding);
    log.error({ code: finding.code, remedy: finding.remedy }, `reverse sync does not begin: ${finding.message}`);
    return finding;
  }

  /** Resolves when the stream has passed everything that is committed now, and `legacy_change` holds it. Callers of the same moment share one mark. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#nextLap ??= this.#runLap(this.#lap);
    await untilAborted(this.#nextLap, signal);
  }

  async #runLap(before: Promise<void>): Promise<void> {
    await before.catch(() => undefined);
    const { marks, pool, observations, signal } = this.#options;
    // From here on a mark may stand before what a new caller has seen.
    const own = this.#nextLap;
    this.#nextLap = undefined;
    if (own !== undefined) this.#lap = own;
    const { seen } = await marks.set(pool, { signal });
    await seen;
    await observations.flush();
  }
}
