import type pg from 'pg';
import type { SeenEvent } from './accounting.ts';
import type { Decided, Decision, Delivery } from './deliveries.ts';

/**
 * The books of the way back: what the new service decided, what its legacy tables hold at the end, and what was published because of it. As in
 * accounting.ts, nothing here is counted by the worker.
 */

export interface ReverseReport {
  /** Deliveries that the service decided about. */
  readonly decided: number;
  /** Of these, legacy rows that are in the end as the service has them: as it decided, or as the legacy side answered. A withdrawn one has no row. */
  readonly applied: number;
  /** The others, and rows of deliveries that nobody decided about. */
  readonly differing: number;
  /** Events of decisions, copies not counted. */
  readonly decisions: number;
  /** Copies: the same event, sent again. */
  readonly sentTwice: number;
  /** Decisions sent behind a newer one of the same delivery. */
  readonly sentLate: number;
  /** Decisions that a trigger changed: answered by a `correction`. */
  readonly corrected: number;
  /** Decisions that were written as meant, and published all the same: the service had not yet heard of the correction before. */
  readonly announced: number;
  /** Decisions that did not know of a clerk's change: the legacy row stayed, and a `correction` told the service. */
  readonly refused: number;
  /** Rows that a trigger wrote because of a decision, published with `causedBy`. */
  readonly caused: number;
  /** Such rows that are in the table and were not published. */
  readonly causedMissing: number;
  /** Events that say `legacy` of rows that only the worker wrote. */
  readonly echoesPublished: number;
  /** Corrections and caused rows that name no decision, and second corrections of one. */
  readonly unexplained: number;
}

/** An event about the tables that the way back writes to, as it left the queue. */
export interface BackEvent extends SeenEvent {
  readonly origin: string;
  readonly causedBy: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What the legacy tables hold. */
export interface LegacyState {
  readonly deliveries: ReadonlyMap<string, Delivery>;
  /** Ids of log rows that no clerk's transaction wrote. */
  readonly logged: readonly string[];
}

/** Fields that no trigger changes and no clerk leaves as they were: with them, the row is the decision's, however it was changed. */
const MARKS = ['promisedBy', 'tracking'] as const;

const TABLES: ReadonlySet<string> = new Set(['shop.deliveries', 'shop.order_log']);

export class ReverseBooks {
  readonly #decisions = new Map<string, Decision>();
  #sentTwice = 0;
  #sentLate = 0;
  readonly #seen = new Set<string>();
  readonly #corrected = new Set<string>();
  readonly #announced = new Set<string>();
  readonly #refused = new Set<string>();
  readonly #caused = new Set<string>();
  #unexplained = 0;
  /** By what they say, the ids of events that say `legacy`. */
  readonly #legacy = new Map<string, { readonly event: BackEvent; count: number }>();

  sent({ decisions, late, repeats }: Decided & { readonly repeats: readonly Decision[] }): void {
    for (const decision of decisions) this.#decisions.set(decision.id, decision);
    this.#sentLate += late.length;
    this.#sentTwice += repeats.length;
  }

  received(event: BackEvent): void {
    const { id, origin, table } = event;
    if (!TABLES.has(table) || this.#seen.has(id)) return;
    this.#seen.add(id);
    if (origin === 'correction') this.#correction(event);
    else if (origin === 'trigger') this.#trigger(event);
    else this.#say(event);
  }

  get now() {
    return {
      decisions: this.#decisions.size,
      corrected: this.#corrected.size,
      refused: this.#refused.size,
      caused: this.#caused.size,
      seen: this.#seen.size,
    };
  }

  /** @param explains whether the shop committed what an event says */
  echoes(explains: (event: BackEvent) => boolean): number {
    let echoes = 0;
    for (const { event, count } of this.#legacy.values()) echoes += explains(event) ? count - 1 : count;
    return echoes;
  }

  report(
    deliveries: ReadonlyMap<string, Delivery | undefined>,
    { legacy, explains }: { legacy: LegacyState; explains: (event: BackEvent) => boolean },
  ): ReverseReport {
    const { equal, differing } = compare(deliveries, legacy.deliveries);
    return {
      decided: deliveries.size,
      applied: equal,
      differing,
      decisions: this.#decisions.size,
      sentTwice: this.#sentTwice,
      sentLate: this.#sentLate,
      corrected: this.#corrected.size,
      announced: this.#announced.size,
      refused: this.#refused.size,
      caused: this.#caused.size,
      causedMissing: this.causedMissing(legacy),
      echoesPublished: this.echoes(explains),
      unexplained: this.#unexplained,
    };
  }

  causedMissing({ logged }: LegacyState): number {
    return logged.filter((id) => !this.#caused.has(id)).length;
  }

  #correction(event: BackEvent): void {
    const { causedBy = '', table } = event;
    const decision = this.#decisions.get(causedBy);
    const isFirst = [this.#corrected, this.#announced, this.#refused].every((answered) => !answered.has(causedBy));
    if (table !== 'shop.deliveries' || decision === undefined || !isFirst) this.#unexplained += 1;
    else this.#answers(decision, event).add(causedBy);
  }

  #answers({ detailType, values }: Decision, { operation, data }: BackEvent): Set<string> {
    if (detailType === 'DeliveryWithdrawn') return operation === 'delete' ? this.#announced : this.#refused;
    const isKept = (field: keyof Delivery) => values[field] === undefined || values[field] === data[field];
    if (!MARKS.every(isKept)) return this.#refused;
    return (['promisedOn', 'slot'] as const).every(isKept) ? this.#announced : this.#corrected;
  }

  #trigger({ causedBy = '', table, key: [id = ''] }: BackEvent): void {
    if (table !== 'shop.order_log' || !this.#decisions.has(causedBy)) this.#unexplained += 1;
    else this.#caused.add(id);
  }

  #say(event: BackEvent): void {
    const what = JSON.stringify([event.table, event.key, event.version, event.detailType]);
    const known = this.#legacy.get(what);
    if (known === undefined) this.#legacy.set(what, { event, count: 1 });
    else known.count += 1;
  }
}

/** Row by row, both ways. */
export function compare(
  decided: ReadonlyMap<string, Delivery | undefined>,
  rows: ReadonlyMap<string, Delivery>,
): { readonly equal: number; readonly differing: number } {
  let equal = 0;
  let differing = [...rows.keys()].filter((order) => !decided.has(order)).length;
  for (const [order, delivery] of decided) {
    if (isEqual(delivery, rows.get(order))) equal += 1;
    else differing += 1;
  }
  return { equal, differing };
}

function isEqual(a: Delivery | undefined, b: Delivery | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.promisedOn === b.promisedOn && a.slot === b.slot && a.promisedBy === b.promisedBy && a.tracking === b.tracking
  );
}

export async function legacyState(client: pg.ClientBase): Promise<LegacyState> {
  const deliveries = await client.query<Delivery & { readonly orderId: string }>(
    `select order_id::text as "orderId", promised_on::text as "promisedOn", slot, promised_by as "promisedBy", tracking
      from shop.deliveries`,
  );
  const logged = await client.query<{ id: string }>(
    `select id::text as id from shop.order_log where written_by <> 'shop'`,
  );
  return {
    deliveries: new Map(deliveries.rows.map(({ orderId, ...delivery }) => [orderId, delivery])),
    logged: logged.rows.map(({ id }) => id),
  };
}
