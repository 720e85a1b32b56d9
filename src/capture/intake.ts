import type { Change, MessageChange, Relation, TableChange, TransactionHeader } from '../core/change.ts';
import type { Lsn } from '../core/lsn.ts';
import type { RefusalMessage } from '../postgres/apply-tag.ts';
import { Forwarding } from './forwarding.ts';
import { type ChangeClass, OwnTransaction } from './own-writes.ts';
import type { PipelineOptions } from './pipeline.ts';
import { refusedRow } from './refusal.ts';
import type { RouteCounters } from './routes.ts';
import type { TransactionMarks } from './transactions.ts';

/** Marks of the stream, in order: each is forwarded, or found to be our own doing, before the next is looked at. */
export class Intake implements TransactionMarks {
  readonly #options: PipelineOptions;
  readonly #forwarding: Forwarding;
  /** Where changes of the transaction go first, if it is not just the legacy system's. */
  #aside: ((change: TableChange) => void) | undefined;
  /** Of a transaction with a tag of reverse sync. */
  #own: OwnTransaction | undefined;
  /** What waits for `pending`, in order. */
  readonly #steps: (() => void)[] = [];
  /** Set where a mark needs the database; the loop waits for it before the next mark. */
  pending: Promise<void> | undefined;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#forwarding = new Forwarding(options);
  }

  async settlePending(): Promise<void> {
    while (this.pending !== undefined) {
      const { pending } = this;
      this.pending = undefined;
      await pending;
      while (this.pending === undefined && this.#steps.length > 0) this.#steps.shift()?.();
    }
  }

  begin(transaction: TransactionHeader): void {
    const { ledger, progress, traffic } = this.#options;
    traffic.begin(transaction);
    this.#forwarding.transaction = ledger.begin(transaction.commitLsn);
    progress.receivedLsn = transaction.commitLsn;
    progress.lastCommitMicros = transaction.committedAtMicros;
    progress.lastArrivalMs = Date.now();
  }

  origin(name: string): void {
    this.#aside = (change) => this.#foreign(change, name);
  }

  commit(transaction: TransactionHeader, endLsn: Lsn): void {
    if (this.#aside !== undefined) {
      this.#own?.settle();
      this.#own = undefined;
      this.#aside = undefined;
    }
    this.#inTurn(() => {
      const { ledger, progress, traffic } = this.#options;
      traffic.commit(transaction);
      ledger.commit(this.#forwarding.current(), endLsn);
      this.#forwarding.transaction = undefined;
      progress.transactions += 1;
      progress.receivedLsn = endLsn;
      traffic.committed();
    });
  }

  idle(walEnd: Lsn): void {
    this.#options.ledger.idle(walEnd);
    this.#options.progress.receivedLsn = walEnd;
  }

  relation(relation: Relation): void {
    this.#options.guard.describe(relation);
    const error = this.#options.routes.update(relation);
    if (error === undefined) return;
    if (error.reaction !== 'hold') throw error;
    this.pending = this.#options.holding.hold(`${relation.schema}.${relation.name}`, error);
  }

  change(change: Change): void {
    if (change.operation === 'message') this.#message(change);
    else if (this.#aside === undefined) this.pending = this.#forwarding.take(change);
    else this.#aside(change);
  }

  /** At once, or behind what waits already. */
  #inTurn(step: () => void): void {
    if (this.pending === undefined) step();
    else this.#steps.push(step);
  }

  #message(change: MessageChange): void {
    const { marks, guard, writers } = this.#options;
    if (marks.accept(change)) return;
    if (change.prefix === writers.prefix) {
      this.#inTurn(() => writers.note(change));
      return;
    }
    if (change.prefix !== guard.prefix) {
      this.#forwarding.message(change);
      return;
    }
    const message = guard.read(change);
    switch (message?.kind) {
      case undefined:
        return;
      case 'tag':
        this.#ownTransaction(change.transaction).tag(message);
        return;
      case 'echo':
      case 'correction':
        this.#own?.verdict(message);
        return;
      case 'refusal':
        this.#own?.settle();
        this.#inTurn(() => {
          this.pending = this.#refused(message, change);
        });
        return;
      case 'stage':
        this.#inTurn(() => this.#forwarding.stage(message, change));
    }
  }

  #ownTransaction(transaction: TransactionHeader): OwnTransaction {
    if (this.#own !== undefined) return this.#own;
    const { guard } = this.#options;
    const own = new OwnTransaction({
      take: (change, what) => this.#inTurn(() => this.#classified(change, what)),
      observe: (observation) => guard.observe(observation, transaction, () => this.#forwarding.heldBack()),
    });
    this.#own = own;
    this.#aside = (change) => own.change(change);
    return own;
  }

  #classified(change: TableChange, what: ChangeClass): void {
    const { guard } = this.#options;
    const counters = this.#countersOf(change);
    if (counters === undefined) return;
    if (what !== 'legacy') counters[what] += 1;
    if (what === 'echo') {
      this.#forwarding.pass(change);
    } else if (guard.exceeds(change)) {
      guard.note(change, () => this.#forwarding.heldBack());
      this.#forwarding.pass(change);
    } else {
      this.pending = this.#forwarding.take(change);
    }
  }

  /** Published as ever: whoever replicates into the database is part of the legacy system. */
  #foreign(change: TableChange, origin: string): void {
    const counters = this.#countersOf(change);
    if (counters !== undefined) {
      counters.foreign += 1;
      this.#options.guard.foreign(origin);
    }
    this.pending = this.#forwarding.take(change);
  }

  /** undefined: nobody captures the table. */
  #countersOf(change: TableChange): RouteCounters | undefined {
    return this.#options.routes.get(change.relation.oid)?.counters;
  }

  /** Nothing changed in the stream: the row is published as the message has it. */
  async #refused(message: RefusalMessage, { transaction, ordinal }: MessageChange): Promise<void> {
    const { guard, routes, catalogRoute } = this.#options;
    const route = routes.get(message.table) ?? (await catalogRoute(message.table));
    if (route === undefined) return;
    const change = refusedRow(message, { transaction, ordinal, relation: route.relation });
    route.counters.refusal += 1;
    // Who has not heard of this yet must not pass for one who has: its event is refused as well. The stream may not have shown the table in this session.
    guard.keys.describe(route.relation);
    guard.note(change, () => this.#forwarding.heldBack());
    if (!guard.exceeds(change)) this.#forwarding.tell(change, route);
  }
}
