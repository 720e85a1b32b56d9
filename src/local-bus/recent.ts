import type { AcceptedEvent } from './put-events.ts';

/** At most so many events are kept, and (roughly) so many characters of their details. */
const MAX_EVENTS = 1_000;
const MAX_CHARACTERS = 16_000_000;

/** The last events that the bus accepted, for people and tests who want to look. */
export class RecentEvents {
  readonly #events: AcceptedEvent[] = [];
  #characters = 0;

  add(event: AcceptedEvent): void {
    this.#events.push(event);
    this.#characters += event.detail.length;
    while (this.#events.length > MAX_EVENTS || (this.#characters > MAX_CHARACTERS && this.#events.length > 1)) {
      this.#characters -= this.#events.shift()?.detail.length ?? 0;
    }
  }

  /** Oldest first. */
  last(limit: number): readonly AcceptedEvent[] {
    return limit > 0 ? this.#events.slice(-limit) : [];
  }
}
