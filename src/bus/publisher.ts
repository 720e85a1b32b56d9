import type { Event } from '../core/event.ts';
import type { BanyanError } from '../core/errors.ts';

/** What became of one event. `rejected.error.kind` decides what happens next (`core/errors.ts`). */
export type Outcome = { readonly status: 'accepted' } | { readonly status: 'rejected'; readonly error: BanyanError };

export const ACCEPTED: Outcome = { status: 'accepted' };

/**
 * The seam to a bus. One more bus is one more implementation of this.
 *
 * `publish` sends the events of one batch (1 to 10, within the request limit, all for one bus call) and resolves with
 * one outcome per event, in the order given. A failure of the whole call is an outcome for every event; the promise rejects only when
 * `signal` aborts. An event whose fate is unknown (timeout, lost answer) is `rejected` with a kind that retries: it is
 * sent again with the same id.
 */
export interface Publisher {
  publish(events: readonly Event[], signal: AbortSignal): Promise<readonly Outcome[]>;
  /** Is the bus there and may we write to it? Throws a BanyanError of a `bus-*` kind when not. Sends no event. */
  probe(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
