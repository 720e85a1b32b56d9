import type { Logger } from 'pino';
import { toBanyanError } from '../core/errors.ts';
import { untilAborted } from '../flow/within.ts';
import type { LiveSession } from './upkeep.ts';

/** One statement, also where a drain has used all of the time. */
const REST_MS = 200;

/** The end of a session that was told to stop: as `drained`, and what is counted is remembered up to its end. */
export async function stopped(
  session: LiveSession,
  { deadlineMs, log }: { deadlineMs: number; log: Logger },
): Promise<void> {
  const stopBy = performance.now() + deadlineMs;
  await drained(session, { deadlineMs, log });
  const left = AbortSignal.timeout(Math.ceil(Math.max(REST_MS, stopBy - performance.now())));
  await untilAborted(session.traffic.rest(), left).catch((error: unknown) => {
    const { kind, code, message } = toBanyanError(error, 'storing up to when changes are counted');
    log.info({ kind, code }, message);
  });
}

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
