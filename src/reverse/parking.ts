import type pg from 'pg';
import type { Logger } from 'pino';
import type { BanyanError, ErrorKind } from '../core/errors.ts';
import { heldGroup } from '../state/dead-letters.ts';
import type { NewReverseLetter, ReverseLetter, ReverseLetterStore } from '../state/reverse-letters.ts';
import type { QueueMessage } from '../bus/queue.ts';
import type { Intent } from './intent.ts';
import type { EntryFailure } from './mapper.ts';

/** What may still come by itself: such a letter holds nothing up, and is tried again until its deadline. */
const WAITING: ReadonlySet<ErrorKind> = new Set(['parent-missing', 'version-gap', 'row-missing']);

const HELD = /^table:(.*)$/s;
/** Of an id that comes from outside: enough to find it, too little to fill the log. */
const LOGGED_ID_LENGTH = 200;

type StayingLetter = Pick<ReverseLetter, 'id' | 'group' | 'table' | 'behind' | 'waitsUntil'>;

export interface ParkingOptions {
  readonly store: ReverseLetterStore;
  /** `reverse.waitFor` */
  readonly waitForMs: number;
  readonly log: Logger;
}

/**
 * What stands aside. Of a *dead* lane a letter waits for a person, and later events go behind it. Of a *waiting* lane something is to come by itself;
 * later events are tried. All events of a *held* table are set aside. `dead_letter` says the same, so that a restart changes nothing: what is
 * remembered here is only marked when it is durable there.
 */
export class ReverseParking {
  readonly store: ReverseLetterStore;
  readonly #waitForMs: number;
  readonly #log: Logger;
  readonly #dead = new Set<string>();
  readonly #waiting = new Set<string>();
  readonly #held = new Set<string>();
  /** Intents that the transaction on its way has parked, if it commits. */
  readonly #parkedIn = new WeakSet<Intent>();
  /** Intents of letters that are tried again, and when those had come. */
  readonly #retries = new WeakMap<Intent, string>();
  /** Answers of the database that are on their way, and whether more has happened to the group since it was asked. */
  readonly #looks = new Set<{ readonly group: string; isOutdated: boolean }>();
  #arrivals = 0;
  #heldSoFar = 0;

  private constructor({ store, waitForMs, log }: ParkingOptions) {
    this.store = store;
    this.#waitForMs = waitForMs;
    this.#log = log;
  }

  static async load(options: ParkingOptions): Promise<ReverseParking> {
    const parking = new ReverseParking(options);
    const { dead, waiting } = await options.store.groups();
    for (const group of dead) parking.#mark(group);
    for (const group of waiting) parking.#waiting.add(group);
    return parking;
  }

  /** Whether the event may not be tried: something before it stands aside. */
  isBehind({ lane, target }: Intent): boolean {
    return this.#dead.has(lane) || this.#held.has(tableOf(target.table));
  }

  isDead(lane: string): boolean {
    return this.#dead.has(lane);
  }

  isWaiting(lane: string): boolean {
    return this.#waiting.has(lane);
  }

  /** Lanes with something that is to come by itself. */
  get waitingLanes(): ReadonlySet<string> {
    return this.#waiting;
  }

  /** `schema.name` */
  get heldTables(): ReadonlySet<string> {
    return this.#held;
  }

  /** How many events were set aside with their table since the worker began, whichever it was. */
  get heldSoFar(): number {
    return this.#heldSoFar;
  }

  /** Sets the event aside in the transaction that tried it. Nothing is marked before `parked` is told that it has committed. */
  async parkIn(client: pg.ClientBase, intent: Intent, error: BanyanError): Promise<void> {
    const letter = this.#letter(intent, { error, behind: false });
    const isParked = await this.store.parkIn(client, letter, { isRetry: this.#retries.has(intent) });
    if (isParked) this.#parkedIn.add(intent);
    else this.#parkedIn.delete(intent);
  }

  /** It is a letter's, and did not come again: a letter that a person discards meanwhile stays discarded. */
  retries(intent: Intent, { sequence }: Pick<ReverseLetter, 'sequence'>): void {
    this.#retries.set(intent, sequence.slice(sequence.lastIndexOf('-') + 1));
  }

  /** Whether a transaction set it aside of which nobody knows if it has committed. */
  mayBeParked(intent: Intent): boolean {
    return this.#parkedIn.has(intent);
  }

  /** The transaction of `parkIn` has committed. settled: its letter was tried again, and discarded meanwhile. */
  parked(intent: Intent, error: BanyanError): 'settled' | 'waiting' | 'dead' | 'held' {
    if (!this.#parkedIn.delete(intent)) return 'settled';
    return this.#markParked(intent, error);
  }

  /** Sets an event aside for which there is no transaction. Durable when it resolves. What waits for a person to grant something holds its table. */
  async parkAlone(intent: Intent, error: BanyanError): Promise<'waiting' | 'dead' | 'held'> {
    await this.store.park([this.#letter(intent, { error, behind: false })]);
    return this.#markParked(intent, error);
  }

  /** A letter can not be applied again, for a reason that came up when there was no transaction any more. */
  async stays(letter: StayingLetter, error: BanyanError): Promise<void> {
    const { id, group, table, behind, waitsUntil } = letter;
    const { kind, code, message, remedy } = error;
    // What nobody has to decide of waits with its table, and is tried when that is mended. A dead letter holds its lane on.
    const isHeld = error.reaction === 'hold' && group !== undefined && (behind || waitsUntil !== undefined);
    const mayWait = WAITING.has(kind);
    await this.store.setReason(id, { kind, code, message, mayWait, ...(isHeld ? { group: heldGroup(table) } : {}) });
    if (isHeld) this.#hold(table, { letter: id, kind, code, remedy, why: message });
  }

  /** Stores events behind what stands aside before them. Durable when it resolves. */
  async parkBehind(intents: readonly Intent[]): Promise<void> {
    await this.store.park(intents.map((intent) => this.#letter(intent, { error: undefined, behind: true })));
  }

  /**
   * A message that no event could be read from, or what one entry could not read of it. It holds up its row, where that is known, and nothing else; unless a table has to
   * be mended first: then it is one of that table's.
   */
  async parkMessage(
    { id, body }: QueueMessage,
    { error, place, of }: { error: BanyanError; place: string; of?: EntryFailure | undefined },
  ): Promise<void> {
    const held = error.reaction === 'hold' ? error.context['table'] : undefined;
    const table = typeof held === 'string' ? held : undefined;
    await this.store.park([
      {
        eventId: of?.target === undefined ? `message ${id}` : `message ${id} ${of.target}`,
        entry: of?.entry ?? -1,
        group: table === undefined ? of?.lane : heldGroup(table),
        table: table ?? place,
        sequence: sequenceOf(of?.version, this.#arrival()),
        kind: error.kind,
        code: error.code,
        message: error.message,
        behind: false,
        waitForMs: undefined,
        event: body,
      },
    ]);
    const { kind, code, remedy, message: why } = error;
    if (table !== undefined) return this.#hold(table, { message: id, kind, remedy, why });
    if (of?.lane !== undefined) await this.reconcile(of.lane);
    this.#log.warn({ message: id, entry: of?.entry, kind, code, remedy }, `message parked: ${why}`);
  }

  /** A letter of the lane has waited for too long. */
  expired(group: string): void {
    this.#mark(group);
  }

  /** Marks the group as `dead_letter` has it: after letters of it were settled, or nobody knows what became of a transaction. */
  async reconcile(group: string): Promise<void> {
    const { dead, waiting } = await this.#lookAt(group);
    if (waiting) this.#waiting.add(group);
    else this.#waiting.delete(group);
    if (dead) {
      this.#mark(group);
      return;
    }
    this.#dead.delete(group);
    const table = HELD.exec(group)?.[1];
    if (table !== undefined) this.#held.delete(table);
  }

  /** What stands aside when it resolves: messages are parked, and letters expire, whoever has the lane at that moment. */
  async #lookAt(group: string): Promise<{ readonly dead: boolean; readonly waiting: boolean }> {
    this.#outdate(group);
    for (;;) {
      const look = { group, isOutdated: false };
      this.#looks.add(look);
      try {
        const found = await this.store.lookAt(group);
        if (!look.isOutdated) return found;
      } finally {
        this.#looks.delete(look);
      }
    }
  }

  #outdate(group: string): void {
    for (const look of this.#looks) if (look.group === group) look.isOutdated = true;
  }

  /** Everything that is marked, as `dead_letter` has it: after letters were discarded. */
  async reconcileAll(): Promise<void> {
    for (const group of new Set([...this.#dead, ...this.#waiting, ...[...this.#held].map(heldGroup)]))
      await this.reconcile(group);
  }

  #markParked(intent: Intent, error: BanyanError): 'waiting' | 'dead' | 'held' {
    const { lane, target, eventId } = intent;
    const table = tableOf(target.table);
    const { kind, code, message, remedy } = error;
    const facts = { event: eventId.slice(0, LOGGED_ID_LENGTH), entry: target.entry, table, kind, code };
    if (holdsTable(error)) {
      this.#hold(table, { ...facts, remedy, why: message });
      return 'held';
    }
    this.#outdate(lane);
    if (WAITING.has(kind)) {
      this.#waiting.add(lane);
      this.#log.info(facts, `event waits: ${message}`);
      return 'waiting';
    }
    this.#dead.add(lane);
    this.#log.warn({ ...facts, remedy }, `event parked: ${message}`);
    return 'dead';
  }

  #hold(table: string, { why, ...facts }: { readonly why: string; readonly [fact: string]: unknown }): void {
    if (!this.#held.has(table)) this.#log.error({ ...facts, table }, `${table} is held for reverse sync: ${why}`);
    this.#held.add(table);
    this.#outdate(heldGroup(table));
  }

  #mark(group: string): void {
    this.#outdate(group);
    const table = HELD.exec(group)?.[1];
    if (table === undefined) this.#dead.add(group);
    else this.#held.add(table);
  }

  #letter(intent: Intent, { error, behind }: { error: BanyanError | undefined; behind: boolean }): NewReverseLetter {
    const { target, lane, version, body } = intent;
    const table = tableOf(target.table);
    // Behind a dead lane also where the table is held: the lane's letters are one order.
    const isHeld = error === undefined ? this.#held.has(table) && !this.#dead.has(lane) : holdsTable(error);
    if (isHeld) this.#heldSoFar += 1;
    return {
      eventId: letterId(intent),
      entry: target.entry,
      group: isHeld ? heldGroup(table) : lane,
      table,
      // A letter of an event that could not be read when it came has another id: the new one takes its place.
      sequence: sequenceOf(version, this.#retries.get(intent) ?? this.#arrival()),
      kind: error?.kind ?? (isHeld ? 'schema-drift' : 'row-refused'),
      code: error?.code,
      message: error?.message ?? (isHeld ? 'its table is held' : 'it waits behind an earlier event of its key'),
      behind,
      waitForMs: error !== undefined && WAITING.has(error.kind) ? this.#waitForMs : undefined,
      event: body,
    };
  }

  /** Sorts as text. Over a restart the clock goes on. */
  #arrival(): string {
    this.#arrivals = Math.max(this.#arrivals + 1, Date.now() * 1_000);
    return String(this.#arrivals).padStart(17, '0');
  }
}

/** Sorts as text by version, then by arrival. */
function sequenceOf(version: string | undefined, arrival: string): string {
  return `${versionText(version)}-${arrival}`;
}

/** Not the event is at fault, but what the table is, or what the role may do with it. */
function holdsTable({ reaction }: BanyanError): boolean {
  return reaction === 'hold' || reaction === 'wait';
}

export function letterId({ producer, eventId, target }: Intent): string {
  return `${producer} ${eventId} ${target.id}`;
}

/** The target that the event of a letter was for when it came. */
export function targetOf(
  letter: Pick<ReverseLetter, 'eventId'>,
  { producer, eventId }: Pick<Intent, 'producer' | 'eventId'>,
): string {
  return letter.eventId.slice(`${producer} ${eventId} `.length);
}

export function tableOf({ schema, name }: { readonly schema: string; readonly name: string }): string {
  return `${schema}.${name}`;
}

/** More digits than any version has that a person would give. */
const DIGITS = 40;

/** An integer as text that sorts like it: the sign first, and the digits of a negative one the other way round. Without a version: before all others. */
export function versionText(version: string | undefined): string {
  if (version === undefined) return '0'.repeat(DIGITS + 1);
  const digits = version
    .replace(/^[-+]?0*/, '')
    .padStart(DIGITS, '0')
    .slice(-DIGITS);
  if (!version.startsWith('-')) return `2${digits}`;
  return `1${digits.replaceAll(/\d/g, (digit) => `${9 - Number(digit)}`)}`;
}
