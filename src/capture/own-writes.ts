import type { Cell, ChangeOrigin, Relation, RowChange, TableChange } from '../core/change.ts';
import type { TagMessage, VerdictMessage } from '../postgres/apply-tag.ts';
import type { Observation } from '../state/inbox.ts';

/**
 * What a change of a transaction with a tag is. legacy: it came before the first tag. echo: our write, as the event meant it. correction: our write, and
 * the row is not as the event meant it. trigger: something in the database did it because of our write.
 */
export type ChangeClass = 'legacy' | 'echo' | 'correction' | 'trigger';

/** Told of every change, in the order of the stream, once it is known what it is. */
export interface OwnWritesListener {
  take(change: TableChange, what: ChangeClass): void;
  /** The write of an event was seen. */
  observe(observation: Observation): void;
}

/** Changes that may wait for the verdict on the one before them. None comes in between but by a BEFORE trigger of a partition that a row moves to. */
const MAX_WAITING = 1_000;

interface Waiting {
  readonly change: TableChange;
  readonly announced: boolean;
}

/**
 * One transaction with writes of reverse sync, as the stream shows it: tag, the row that it announces, verdict. Rows of BEFORE triggers come between tag and
 * row, those of AFTER triggers behind the verdict. The announced row waits for its verdict, and what comes meanwhile waits behind it. Messages are valid
 * when they get here; who has nothing announced loses nothing: every doubt ends in a row that is published.
 */
export class OwnTransaction {
  readonly #listener: OwnWritesListener;
  #tag: TagMessage | undefined;
  /** armed: the announced row is to come. moving: half of it came, as a delete. written: it came, and waits. */
  #state: 'idle' | 'armed' | 'moving' | 'written' = 'idle';
  #waiting: Waiting[] = [];
  #relation: Relation | undefined;
  /** Of the tag's key columns, in `#relation`. */
  #indexes: readonly number[] = [];

  constructor(listener: OwnWritesListener) {
    this.#listener = listener;
  }

  tag(tag: TagMessage): void {
    this.settle();
    this.#tag = tag;
    this.#state = 'armed';
    this.#relation = undefined;
  }

  verdict({ kind, event }: VerdictMessage): void {
    const tag = this.#tag;
    if (tag === undefined || this.#state === 'idle' || event !== tag.event) return;
    // Also where its row did not come: its table is not captured then.
    this.#conclude(tag, kind);
  }

  change(change: TableChange): void {
    const tag = this.#tag;
    if (tag === undefined) {
      this.#listener.take(change, 'legacy');
      return;
    }
    const announced = this.#isAnnounced(change, tag);
    if (!announced && this.#waiting.length === 0) {
      this.#listener.take(withOrigin(change, 'trigger', tag), 'trigger');
      return;
    }
    this.#waiting.push({ change, announced });
    if (this.#waiting.length > MAX_WAITING) this.settle();
  }

  /** Nothing more is said of what waits: at the next tag, before a refusal, and at the commit. Published, since nobody said that it is an echo. */
  settle(): void {
    if (this.#tag !== undefined && this.#waiting.length > 0) this.#conclude(this.#tag, 'correction');
    this.#state = 'idle';
  }

  #conclude(tag: TagMessage, verdict: VerdictMessage['kind']): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#state = 'idle';
    for (const { change, announced } of waiting) {
      if (!announced) this.#listener.take(withOrigin(change, 'trigger', tag), 'trigger');
      else if (verdict === 'echo') this.#listener.take(change, 'echo');
      else this.#listener.take(withOrigin(change, 'correction', tag), 'correction');
    }
    this.#listener.observe({ producer: tag.producer, eventId: tag.event, verdict });
  }

  /** One write is announced by a tag; an update that moves a row to another partition comes as a delete and an insert. */
  #isAnnounced(change: TableChange, tag: TagMessage): boolean {
    if (this.#state !== 'armed' && this.#state !== 'moving') return false;
    if (change.operation === 'truncate' || change.relation.oid !== tag.table) return false;
    const { operation } = change;
    if (this.#state === 'moving') {
      if (operation !== 'insert' || !this.#hasKey(change, tag)) return false;
      this.#state = 'written';
      return true;
    }
    const isHalf = tag.op === 'update' && operation === 'delete';
    if ((operation !== tag.op && !isHalf) || !this.#hasKey(change, tag)) return false;
    this.#state = isHalf ? 'moving' : 'written';
    return true;
  }

  #hasKey(change: RowChange, { columns, key }: TagMessage): boolean {
    if (change.relation !== this.#relation) {
      this.#relation = change.relation;
      this.#indexes = columns.map((name) => change.relation.columns.findIndex((column) => column.name === name));
    }
    return this.#indexes.every((index, position) => cellBefore(change, index) === key[position]);
  }
}

/** A row is found by the key that it had: a trigger may have given it another one. */
function cellBefore({ old, new: row }: RowChange, index: number): Cell {
  const cell = old?.[index];
  return cell === undefined ? row?.[index] : cell;
}

function withOrigin(change: TableChange, kind: ChangeOrigin['kind'], tag: TagMessage): TableChange {
  return { ...change, origin: originOf(kind, tag) };
}

/** The way back counts too. */
export function originOf(kind: ChangeOrigin['kind'], cause: { event: string; hops: number }): ChangeOrigin {
  return { kind, causedBy: cause.event, hops: cause.hops + 1 };
}
