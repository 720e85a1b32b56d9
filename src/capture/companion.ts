import type { WorkerRequest } from '../state/requests.ts';
import type { LiveSession } from './upkeep.ts';

/** Work that only the session may do that holds the slot, and that capture knows nothing of. */
export interface Companion {
  /**
   * Begins when the session streams. Resolves soon after the signal has aborted; whatever goes wrong with it is its own affair and never ends the
   * session.
   */
  run(session: LiveSession, signal: AbortSignal): Promise<void>;
  /** Answers a request of a command; undefined: it is not for this companion. */
  answer(request: WorkerRequest): Promise<unknown> | undefined;
}
