import { z } from 'zod';
import { BanyanError } from '../core/errors.ts';
import type { WorkerRequest } from '../state/requests.ts';
import { resolveConflict } from './resolve.ts';
import type { RunningSync } from './sync.ts';

/** Which parked letters a command means. */
const selectionSchema = z.strictObject({
  direction: z.literal('reverse'),
  ids: z.array(z.int().positive()).exactOptional(),
  group: z.string().exactOptional(),
  table: z.string().exactOptional(),
  all: z.boolean().exactOptional(),
});

const resolutionSchema = z.strictObject({
  conflict: z.int().positive(),
  keep: z.enum(['current', 'proposed']),
  by: z.string(),
  note: z.string().optional(),
});

/** Requests of the way back; undefined: it is another one. `running` throws where reverse sync does not run. */
export function answerRequest(
  request: WorkerRequest,
  { running }: { running: () => RunningSync },
): Promise<unknown> | undefined {
  const { command, arguments: given } = request;
  if (command === 'resolve-conflict') return resolve(request, running);
  if (command === 'test-reverse') return test(running);
  if (given['direction'] !== 'reverse' || (command !== 'redrive' && command !== 'discard')) return undefined;
  return answerLetters(request, running);
}

async function answerLetters(request: WorkerRequest, running: () => RunningSync): Promise<unknown> {
  const { direction: _direction, ...selection } = parsed(selectionSchema, request);
  const { letters, parking, counts, flood, consumer } = running();
  // Whoever does this has seen them.
  const isSeen = (): void => {
    flood.over();
    consumer.resumed();
  };
  if (request.command === 'redrive') {
    const report = await letters.redrive(selection, { by: request.requestedBy });
    if (report.sent > 0) isSeen();
    running().counts = await parking.store.counts().catch(() => counts);
    return report;
  }
  const { all: _all, ...filter } = selection;
  const discarded = await letters.discard(filter);
  if (discarded > 0) isSeen();
  return { discarded };
}

async function resolve(request: WorkerRequest, running: () => RunningSync): Promise<unknown> {
  const resolution = parsed(resolutionSchema, request);
  const { conflicts, inbox, parking, pipeline, letters, engine } = running();
  return await resolveConflict(
    { ...resolution, note: resolution.note },
    { conflicts, inbox, parking, pipeline, letters, apply: engine.apply },
  );
}

async function test(running: () => RunningSync): Promise<{ readonly testedAt: string }> {
  const unprotected = await running().test();
  if (unprotected !== undefined) throw unprotected;
  return { testedAt: new Date().toISOString() };
}

function parsed<T>(schema: z.ZodType<T>, { command, arguments: given }: WorkerRequest): T {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  throw new BanyanError('usage', `the request ${command} does not say what it means`);
}
