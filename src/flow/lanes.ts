/**
 * What must stay in order, as the items say it themselves. The last four fields are the bookkeeping of `Lanes`; they live on the
 * item because an object beside each row would cost more than the whole rest. Start them as `laneLinks` does.
 */
export interface LaneItem {
  /** The ordering key; undefined: relaxed, only the fence holds it. */
  readonly lane: string | undefined;
  /** A second key, which a primary-key update leaves: it waits in both lanes and holds both. */
  readonly previousLane: string | undefined;
  /** What an exclusive item is exclusive in: the table. */
  readonly fence: string;
  /** A TRUNCATE: waits for everything before it in the fence, and everything behind it waits for it. */
  readonly exclusive: boolean;
  /** How many things it still waits for; ready at 0. */
  blockers: number;
  nextInLane: LaneItem | undefined;
  nextInPreviousLane: LaneItem | undefined;
  section: FenceSection | undefined;
}

/** The items of a fence between two exclusive ones. */
export interface FenceSection {
  /** Items of this section that are not settled. */
  unsettled: number;
  /** The exclusive item before this section; undefined once it settled, or where there was none. */
  opener: LaneItem | undefined;
  /** What waits for the opener, in order. */
  held: LaneItem[];
  /** The exclusive item that ends this section and waits for all of it. */
  closer: LaneItem | undefined;
}

/** After so many keys the map of lanes is made anew: see `#renewMap`. Copying costs at most half an insert per insert. */
const INSERTS_PER_MAP = 4_096;

/** How an item's bookkeeping starts, to be spread or assigned where items are made. */
export const laneLinks = {
  blockers: 0,
  nextInLane: undefined,
  nextInPreviousLane: undefined,
  section: undefined,
} as const;

/**
 * FIFOs by key over one global order. An item is ready as soon as it is first in each of its lanes and not behind an exclusive
 * item of its fence; `onReady` is then called, from within `add` or `settle`, in order. From there until it is settled no other
 * item of its lanes becomes ready. Nothing can dead-lock: an item waits only for items added before it.
 *
 * `onReady` must not call `settle` before it returns: a long lane would then recurse once per item.
 */
export class Lanes<T extends LaneItem> {
  readonly #onReady: (item: T) => void;
  /** The last item of each lane; a lane without items has no entry, so that memory follows the work and not the keys ever seen. */
  #last = new Map<string, LaneItem>();
  /** Keys set in `#last` since it was made. */
  #inserted = 0;
  /** The current section of each fence. One a table, never removed. */
  readonly #sections = new Map<string, FenceSection>();
  #recentFence: string | undefined;
  #recentSection: FenceSection | undefined;
  #size = 0;

  constructor(onReady: (item: T) => void) {
    this.#onReady = onReady;
  }

  /** Items added and not settled, waiting or out. */
  get size(): number {
    return this.#size;
  }

  add(item: T): void {
    this.#size += 1;
    let blockers = 0;
    if (item.lane !== undefined) blockers += this.#enqueue(item, item.lane);
    if (item.previousLane !== undefined && item.previousLane !== item.lane) {
      blockers += this.#enqueue(item, item.previousLane);
    }
    const section = this.#section(item.fence);
    if (section.opener !== undefined) {
      section.held.push(item);
      blockers += 1;
    }
    if (item.exclusive) {
      if (section.unsettled > 0) {
        section.closer = item;
        blockers += 1;
      }
      const next: FenceSection = { unsettled: 0, opener: item, held: [], closer: undefined };
      item.section = next;
      this.#sections.set(item.fence, next);
      this.#recentSection = next;
    } else {
      section.unsettled += 1;
      item.section = section;
    }
    item.blockers = blockers;
    if (blockers === 0) this.#onReady(item);
  }

  /** The item is done with: what waited only for it becomes ready. Exactly once per item, after it was ready. */
  settle(item: T): void {
    const { section } = item;
    if (section === undefined || item.blockers > 0) throw new RangeError('a lane item settles that is not out');
    item.section = undefined;
    this.#size -= 1;
    // A relaxed or already empty lane costs nothing here: most items have no follower.
    if (item.lane !== undefined) this.#dequeue(item, item.lane);
    if (item.previousLane !== undefined && item.previousLane !== item.lane) this.#dequeue(item, item.previousLane);
    if (item.exclusive) {
      section.opener = undefined;
      const { held } = section;
      section.held = [];
      for (const follower of held) this.#release(follower);
      return;
    }
    section.unsettled -= 1;
    if (section.unsettled === 0 && section.closer !== undefined) {
      const { closer } = section;
      section.closer = undefined;
      this.#release(closer);
    }
  }

  /** The next item of the lane, where it waits for nothing but this one: whoever ends this one may end that one right after it. */
  soleFollower(item: T): T | undefined {
    const next = item.nextInLane;
    const isSole = next?.blockers === 1 && next.lane === item.lane && next.previousLane === undefined;
    // Only items that came in through `add` are ever linked.
    return isSole ? (next as T) : undefined;
  }

  /** Returns how many blockers the lane adds: 1 behind another item, else 0. */
  #enqueue(item: T, lane: string): 0 | 1 {
    const last = this.#last.get(lane);
    this.#last.set(lane, item);
    if (last === undefined) {
      this.#inserted += 1;
      if (this.#inserted >= INSERTS_PER_MAP && this.#inserted >= 2 * this.#last.size) this.#renewMap();
      return 0;
    }
    if (last.lane === lane) last.nextInLane = item;
    else last.nextInPreviousLane = item;
    return 1;
  }

  #dequeue(item: T, lane: string): void {
    const inLane = item.lane === lane;
    const next = inLane ? item.nextInLane : item.nextInPreviousLane;
    if (next === undefined) {
      this.#last.delete(lane);
      return;
    }
    if (inLane) item.nextInLane = undefined;
    else item.nextInPreviousLane = undefined;
    this.#release(next);
  }

  /**
   * V8 links each table that a Map outgrows to the next one. Once the first of them is in the old generation, every later one, and with it every item
   * that was ever in it, survives the young generation's collection, although dead. A new Map has no past.
   */
  #renewMap(): void {
    this.#last = new Map(this.#last);
    this.#inserted = 0;
  }

  #release(item: LaneItem): void {
    item.blockers -= 1;
    // Only items that came in through `add` are ever linked.
    if (item.blockers === 0) this.#onReady(item as T);
  }

  #section(fence: string): FenceSection {
    if (fence === this.#recentFence && this.#recentSection !== undefined) return this.#recentSection;
    let section = this.#sections.get(fence);
    if (section === undefined) {
      section = { unsettled: 0, opener: undefined, held: [], closer: undefined };
      this.#sections.set(fence, section);
    }
    this.#recentFence = fence;
    this.#recentSection = section;
    return section;
  }
}
