import type { QueueMessage } from '../bus/queue.ts';

/** A message in hand: invisible to others until it is deleted or given back. */
export interface Delivery {
  readonly message: QueueMessage;
  /** Until when SQS has promised it to us, on the clock of `performance.now()`. */
  ownedUntilMs: number;
}
