import { ACCEPTED, type Outcome, type Publisher } from '../../src/bus/publisher.ts';
import { BanyanError, type ErrorKind } from '../../src/core/errors.ts';
import type { Event } from '../../src/core/event.ts';
import { Condition } from '../../src/flow/condition.ts';
import { sleep } from '../../src/flow/supervise.ts';

/** What the bus does with an event. `failAfterAccept`: it has the event, and the answer is lost. `hold`: no answer until `release`. */
export type Script =
  | { readonly do: 'accept' }
  | { readonly do: 'reject'; readonly kind: ErrorKind }
  | { readonly do: 'failAfterAccept' }
  | { readonly do: 'hold' }
  | { readonly do: 'slow'; readonly ms: number };

export type Decide = (event: Event, attempt: number) => Script;

/** A bus of the seam that does what a test says, per event and attempt (from 0), and remembers everything. */
export class ScriptedPublisher implements Publisher {
  decide: Decide;
  /** What `probe` throws; undefined: the bus is there. */
  probeError: BanyanError | undefined;
  probes = 0;
  closed = false;
  /** Every request, in the order they were made. */
  readonly requests: (readonly Event[])[] = [];
  /** Every event that the bus has, in the order it got them, repeats included. */
  readonly accepted: Event[] = [];
  /** Ids that are on the way now. */
  readonly inFlight = new Set<string>();
  /** Requests that were in flight together at most. */
  peak = 0;
  readonly #attempts = new Map<string, number>();
  readonly #changed = new Condition();
  #calls = 0;
  #released = 0;

  constructor(decide: Decide = () => ({ do: 'accept' })) {
    this.decide = decide;
  }

  async publish(events: readonly Event[], signal: AbortSignal): Promise<readonly Outcome[]> {
    this.requests.push(events);
    this.#calls += 1;
    this.peak = Math.max(this.peak, this.#calls);
    for (const { id } of events) {
      if (this.inFlight.has(id)) throw new Error(`event ${id} is in flight twice`);
      this.inFlight.add(id);
    }
    this.#changed.changed();
    try {
      const outcomes: Outcome[] = [];
      for (const event of events) outcomes.push(await this.#play(event, signal));
      return outcomes;
    } finally {
      this.#calls -= 1;
      for (const { id } of events) this.inFlight.delete(id);
      this.#changed.changed();
    }
  }

  async probe(): Promise<void> {
    this.probes += 1;
    this.#changed.changed();
    if (this.probeError !== undefined) throw this.probeError;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** Answers everything that is held now. */
  release(): void {
    this.#released += 1;
    this.#changed.changed();
  }

  /** Waits until something holds of this publisher; looked at after every request, answer and probe. */
  until(holds: () => boolean): Promise<void> {
    return this.#changed.wait(holds, AbortSignal.timeout(20_000));
  }

  async #play(event: Event, signal: AbortSignal): Promise<Outcome> {
    const attempt = this.#attempts.get(event.id) ?? 0;
    this.#attempts.set(event.id, attempt + 1);
    const script = this.decide(event, attempt);
    switch (script.do) {
      case 'reject':
        return rejected(script.kind);
      case 'failAfterAccept':
        this.accepted.push(event);
        return rejected('bus-transient');
      case 'hold': {
        const released = this.#released;
        await this.#changed.wait(() => this.#released > released, signal);
        break;
      }
      case 'slow':
        await sleep(script.ms, signal);
        break;
      case 'accept':
        break;
    }
    this.accepted.push(event);
    return ACCEPTED;
  }
}

function rejected(kind: ErrorKind): Outcome {
  return { status: 'rejected', error: new BanyanError(kind, `scripted ${kind}`) };
}
