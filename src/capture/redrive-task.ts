import type { Logger } from 'pino';
import type { Outcome } from '../bus/publisher.ts';
import type { MessageChange } from '../core/change.ts';
import type { Event } from '../core/event.ts';
import type { Mapper } from '../mapping/mapper.ts';
import type { DeadLetterStore } from '../state/dead-letters.ts';
import type { HeldTableStore } from '../state/held-tables.ts';
import type { Holding } from './holding.ts';
import type { Parking } from './parking.ts';
import type { Routes } from './routes.ts';

export interface RedriveReport {
  /** Events that the bus accepted. */
  readonly sent: number;
  /** Events and changes of held tables that can not be sent, or wait behind such a one: parked under their own key now. */
  readonly parked: number;
  /** Letters whose change makes no event any more under today's mapping. */
  readonly withoutEvent: number;
  /** Groups that stopped at a letter that still can not be sent; it and what is behind it stay parked. */
  readonly stopped: readonly { readonly group: string; readonly letter: number | undefined; readonly reason: string }[];
}

export interface RedriveOptions {
  readonly deadLetters: Pick<DeadLetterStore, 'groupsOf' | 'nextOfGroups' | 'setReason' | 'markRedriven'>;
  readonly heldTables: Pick<HeldTableStore, 'list' | 'clear'>;
  readonly parking: Parking;
  readonly holding: Pick<Holding, 'addedTo' | 'isWriting' | 'account'>;
  readonly routes: Pick<Routes, 'release'>;
  /** The mappers of a table, compiled for what its columns are now. Throws `schema-drift` where they still can not be. */
  readonly mappersFor: (table: string) => Promise<readonly Mapper[]>;
  readonly mapMessage: (change: MessageChange) => Event | undefined;
  /** Sends one event; retries and waits are inside, so an outcome is final: accepted, or rejected for the event's own fault. */
  readonly send: (event: Event) => Promise<Outcome>;
  /** Resolves when no event of the table that was submitted so far is on its way. */
  readonly passed: (table: string) => Promise<void>;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** One read of letters: their changes in memory several times over, for each of the groups that are redriven together. */
export const LETTERS_PER_READ = { rows: 200, bytes: 4_000_000 };
/** How soon a group is looked at again whose last event is still on its way into the store. */
export const LOOK_AGAIN_MS = 20;

/** What a redrive has done so far. */
export interface Tally {
  sent: number;
  parked: number;
  withoutEvent: number;
  stopped: { group: string; letter: number | undefined; reason: string }[];
}
