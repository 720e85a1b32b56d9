import type { Logger } from 'pino';
import type { Change, MessageChange } from '../core/change.ts';
import type { BanyanError } from '../core/errors.ts';
import { type Event, idPrefix, idSuffix, sequencePrefix, sequenceSuffix, type StreamIdentity } from '../core/event.ts';
import { type Lsn, sortableLsn } from '../core/lsn.ts';
import type { DeadLetterStore, NewDeadLetter } from '../state/dead-letters.ts';
import type { ForwardDelivery, Source } from './delivery.ts';

/** Index of the capture entry where none is concerned: a logical message. */
export const NO_ENTRY = -1;

export interface ParkedChange {
  readonly source: Source;
  readonly table: string;
  readonly group: string;
  readonly previousGroup: string | undefined;
  readonly error: BanyanError;
}

export interface ParkingOptions {
  readonly store: Pick<DeadLetterStore, 'park' | 'parkedAmong'>;
  readonly identity: StreamIdentity;
  /** Groups with parked letters, as the store has them at the start. */
  readonly groups: Iterable<string>;
  readonly log: Logger;
}

/**
 * Which keys are parked, and the way into `dead_letter`. A parked key stays parked, across restarts, until `redrive` has emptied it:
 * until then its later events are stored behind the first one, in order.
 */
export class Parking {
  readonly #store: ParkingOptions['store'];
  readonly #identity: StreamIdentity;
  readonly #log: Logger;
  readonly #groups: Set<string>;
  /** Writes under way by group: a group is not released while one of its events is on the way into the store. */
  readonly #writing = new Map<string, number>();
  /** The number of the last write that held something of a parked group. */
  readonly #lastWrite = new Map<string, number>();
  /** Writes begun and ended so far. */
  #writes = 0;

  constructor(options: ParkingOptions) {
    this.#store = options.store;
    this.#identity = options.identity;
    this.#log = options.log;
    this.#groups = new Set(options.groups);
  }

  isParked(group: string): boolean {
    return this.#groups.has(group);
  }

  get groups(): number {
    return this.#groups.size;
  }

  /** Events whose turn came and that can not be sent: for their own fault, or behind one of their key. Durable when it resolves. */
  async parkDeliveries(
    parked: readonly { delivery: ForwardDelivery; error: BanyanError | undefined }[],
  ): Promise<void> {
    await this.#write(
      parked.map(({ delivery, error }) => letterOf(delivery, error)),
      parked.find(({ error }) => error !== undefined)?.error,
    );
  }

  /** A change that could not become an event. Durable when it resolves. */
  async parkChange(parked: ParkedChange): Promise<void> {
    const { source, error } = parked;
    const { change } = source;
    const index = source.mapper?.firstIndex ?? 0;
    const letter: NewDeadLetter = {
      eventId: `${idPrefix(this.#identity, change.transaction)}${idSuffix(change.ordinal, index)}`,
      sequence: `${sequencePrefix(this.#identity, change.transaction)}${sequenceSuffix(change.ordinal, index)}`,
      entry: source.mapper?.entry ?? NO_ENTRY,
      group: parked.group,
      previousGroup: parked.previousGroup,
      table: parked.table,
      kind: error.kind,
      code: error.code,
      message: error.message,
      behind: false,
      event: undefined,
      change: serialized(change, source),
    };
    await this.#write([letter], error);
  }

  /** To be taken before the store is read, for `release`. */
  get mark(): number {
    return this.#writes;
  }

  /**
   * Lets groups go together that the store was found to have nothing of. False: look again, since something of one of them is on its way into
   * the store, or was stored after `mark`, which the answer may not have shown.
   */
  release(groups: Iterable<string>, mark: number): boolean {
    const together = [...groups];
    const isBusy = (group: string) => this.#writing.has(group) || (this.#lastWrite.get(group) ?? 0) > mark;
    if (together.some(isBusy)) return false;
    for (const group of together) {
      this.#groups.delete(group);
      this.#lastWrite.delete(group);
    }
    return true;
  }

  /** Lets every group go that the store no longer has: after letters were discarded. */
  async reconcile(): Promise<void> {
    await this.#releaseAbsent([...this.#groups]);
  }

  async #releaseAbsent(groups: readonly string[]): Promise<void> {
    const { mark } = this;
    const stored = new Set(await this.#store.parkedAmong(groups));
    // What was stored meanwhile stays parked.
    for (const group of groups) if (!stored.has(group)) this.release([group], mark);
  }

  async #write(letters: readonly NewDeadLetter[], error: BanyanError | undefined): Promise<void> {
    const groups = letters
      .flatMap((letter) => [letter.group, letter.previousGroup])
      .filter((group) => group !== undefined)
      .map(detached);
    this.#writes += 1;
    for (const group of groups) {
      this.#groups.add(group);
      this.#lastWrite.set(group, this.#writes);
      this.#writing.set(group, (this.#writing.get(group) ?? 0) + 1);
    }
    let added: number;
    try {
      added = await this.#store.park(letters);
    } finally {
      // Counted again at its end: a read that began meanwhile may not have seen it.
      this.#writes += 1;
      for (const group of groups) {
        this.#lastWrite.set(group, this.#writes);
        const left = (this.#writing.get(group) ?? 1) - 1;
        if (left === 0) this.#writing.delete(group);
        else this.#writing.set(group, left);
      }
    }
    // The letter of an event that came again stays as it was. Was it given up or redriven, then there may be nothing that its key waits for.
    if (added < letters.length) await this.#releaseAbsent(groups);
    if (error !== undefined && groups.some((group) => this.#groups.has(group))) {
      this.#log.error(
        {
          kind: error.kind,
          code: error.code,
          table: letters[0]?.table,
          eventId: letters[0]?.eventId,
          remedy: error.remedy,
        },
        `event parked: ${error.message}`,
      );
    }
  }
}

/** A row that is read again may be another event under its id, and must be stored beside the one that was. */
function letterId(event: Event, change: Change): string {
  return change.operation === 'read' ? `${event.id}@${sortableLsn(change.transaction.commitLsn)}` : event.id;
}

function letterOf(delivery: ForwardDelivery, error: BanyanError | undefined): NewDeadLetter {
  const { event, source } = delivery;
  return {
    eventId: letterId(event, source.change),
    sequence: event.sequence,
    entry: source.mapper?.entry ?? NO_ENTRY,
    // Unordered (`order: relaxed`): a group of its own, nothing waits behind it.
    group: event.group ?? `event:${event.id}`,
    previousGroup: event.previousGroup,
    table: delivery.fence,
    kind: error?.kind ?? 'event-rejected',
    code: error?.code,
    message: error?.message ?? 'an earlier event of its key is parked',
    behind: error === undefined,
    event: eventText(event),
    change: serialized(source.change, source),
  };
}

/** The event as JSON text, its detail verbatim: for people, and redriven from the change. */
function eventText(event: Event): string {
  const head = JSON.stringify({
    source: event.source,
    'detail-type': event.detailType,
    time: new Date(event.timeSeconds * 1000).toISOString(),
    resources: event.resources,
    ...(event.bus === undefined ? {} : { bus: event.bus }),
  });
  return `${head.slice(0, -1)},"detail":${event.detail}}`;
}

function serialized(change: Change, source: Source): string {
  if (change.operation !== 'message') return source.mapper?.serialize(change) ?? '{}';
  const { transaction, ordinal, prefix, content } = change;
  return JSON.stringify({ operation: 'message', prefix, content, ordinal, ...transactionFields(transaction) });
}

/** The message that `serialized` wrote. */
export function deserializeMessage(text: string): MessageChange {
  const stored = JSON.parse(text) as {
    prefix: string;
    content: string;
    ordinal: number;
    xid: number;
    commitLsn: string;
    committedAtMicros: string;
    timeline: number;
  };
  return {
    operation: 'message',
    prefix: stored.prefix,
    content: stored.content,
    ordinal: stored.ordinal,
    transaction: {
      xid: stored.xid,
      commitLsn: BigInt(stored.commitLsn) as Lsn,
      committedAtMicros: BigInt(stored.committedAtMicros),
      timeline: stored.timeline,
    },
  };
}

function transactionFields(transaction: Change['transaction']) {
  return {
    xid: transaction.xid,
    commitLsn: transaction.commitLsn.toString(),
    committedAtMicros: transaction.committedAtMicros.toString(),
    timeline: transaction.timeline,
  };
}

/** The engine cuts strings out of longer ones, and keeps those for them: of many rows, here, as long as the group is parked. */
function detached(text: string): string {
  return Buffer.from(text).toString();
}
