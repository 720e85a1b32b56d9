import type { Logger } from 'pino';
import { untilAborted } from '../flow/within.ts';
import type { LiveSession } from './upkeep.ts';

/** Lets what is in flight settle, so that little has to be sent again. What does not settle in time stays unconfirmed. */
export async function drained(
  session: LiveSession,
  { deadlineMs, log }: { deadlineMs: number; log: Logger },
): Promise<void> {
  const { dispatcher, ownWrites, traffic } = session;
  const { state, queued } = dispatcher.status;
  const deadline = AbortSignal.timeout(Math.ceil(deadlineMs));
  // Also where the bus takes nothing: what has settled is confirmed once it is counted.
  const counted = untilAborted(traffic.flush(), deadline);
  try {
    if (state === 'sending') {
      await Promise.all([dispatcher.drain(deadline), untilAborted(ownWrites.observations.flush(), deadline), counted]);
      // What the bus has taken meanwhile.
      await untilAborted(traffic.flush(), deadline);
    } else {
      await counted;
    }
  } catch {
    counted.catch(() => undefined);
    log.warn(
      { queued, left: dispatcher.status.queued, deadlineMs },
      'not everything in flight was settled in time: it will be sent again',
    );
  }
}
