import type { WorkerState, WorkerStatus } from '../core/status.ts';

/** A standby is ready: a rolling deploy may end the worker that it waits for. */
const READY: Readonly<Record<WorkerState, boolean>> = {
  streaming: true,
  'catching-up': true,
  standby: true,
  starting: false,
  waiting: false,
  halted: false,
  stopping: false,
};

export function isReady(state: WorkerState): boolean {
  return READY[state];
}

/** What /readyz says while the worker is ready. Capture decides about that; what is amiss with reverse sync is said beside it. */
export function readyText({ state, reverse }: WorkerStatus): string {
  const isAmiss = reverse?.state === 'waiting' || reverse?.state === 'refused';
  return isAmiss ? `${state}, reverse sync ${reverse.state}: ${reverse.problem?.kind ?? 'unknown'}` : state;
}

/** What /readyz says while the worker is not ready. */
export interface NotReady {
  readonly state: WorkerState;
  readonly problem: { readonly kind: string; readonly message: string; readonly since: string } | undefined;
  readonly remedy: string;
}

export function notReady(status: WorkerStatus): NotReady {
  const { state, problem } = status;
  return {
    state,
    problem: problem === undefined ? undefined : { kind: problem.kind, message: problem.message, since: problem.since },
    remedy: problem?.remedy ?? (state === 'stopping' ? 'none: it drains and ends' : 'none: it is on its way'),
  };
}
