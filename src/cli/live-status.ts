import type { Config } from '../config/schema.ts';
import type { WorkerStatus } from '../core/status.ts';
import { reachable } from './healthcheck.ts';

/** What the connector's worker says of itself, where one can be asked. */
export interface LiveStatus {
  readonly live: WorkerStatus | undefined;
  /** When it said so, ISO 8601. */
  readonly liveAt: string | undefined;
  /** Where it was looked for and what came of it, for people; undefined: it answered. */
  readonly noWorker: string | undefined;
}

/** A worker on this machine answers in milliseconds. */
const TIMEOUT_MS = 2_000;

/** Asks where the configuration says that the worker listens. Never throws: a command without a worker says less, and why. */
export async function liveStatus({ name, http }: Config): Promise<LiveStatus> {
  if (http.port === 0) return none('the worker’s port is not known: http.port is 0');
  const url = `http://${reachable(http.host)}:${http.port}`;
  try {
    const response = await fetch(`${url}/v1/status`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: http.token === undefined ? {} : { authorization: `Bearer ${http.token}` },
    });
    if (response.status === 401) return none(`the worker at ${url} wants another token than http.token`);
    if (!response.ok) return none(`what listens at ${url} answered ${response.status}`);
    const live = (await response.json()) as Partial<WorkerStatus>;
    // Another connector's worker, or another service altogether.
    if (live.name !== name || live.slot === undefined || live.stream === undefined)
      return none(`what listens at ${url} is not the worker of ${name}`);
    return { live: live as WorkerStatus, liveAt: new Date().toISOString(), noWorker: undefined };
  } catch {
    return none(`no worker answered at ${url}`);
  }
}

function none(noWorker: string): LiveStatus {
  return { live: undefined, liveAt: undefined, noWorker };
}
