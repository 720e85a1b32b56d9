import type { Logger } from 'pino';
import { z } from 'zod';
import { BanyanError, policies, toBanyanError } from '../core/errors.ts';
import { INTERRUPTED, type WorkerRequest } from '../state/requests.ts';
import { redrive } from './redrive.ts';
import { askBackfill } from './backfill/ask.ts';
import type { LiveSession } from './upkeep.ts';

/** Which parked letters a command means. */
const selectionSchema = z.strictObject({
  ids: z.array(z.int().positive()).optional(),
  group: z.string().optional(),
  table: z.string().optional(),
  all: z.boolean().optional(),
});

interface RequestContext {
  readonly session: LiveSession;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Does what a command asked for and stores the answer. Throws only where the answer can not be stored. */
export async function serveRequest(request: WorkerRequest, context: RequestContext): Promise<void> {
  const { session, signal, log } = context;
  log.info({ request: request.id, command: request.command, requestedBy: request.requestedBy }, 'serving a request');
  try {
    await session.state.requests.finish(request.id, { result: await answer(request, context) });
  } catch (error) {
    const { message, kind, remedy } = toBanyanError(error, request.command);
    log.warn({ request: request.id, kind }, `the request failed: ${message}`);
    await session.state.requests.finish(
      request.id,
      signal.aborted
        ? { error: INTERRUPTED }
        : { error: message, remedy: remedy === policies.usage.remedy ? undefined : remedy },
    );
  }
}

async function answer(request: WorkerRequest, context: RequestContext): Promise<unknown> {
  const { session, signal, log } = context;
  const { state, parking, holding, routes, dispatcher, factory, companions, ownWrites } = session;
  for (const companion of companions) {
    const answered = companion.answer(request);
    if (answered !== undefined) return answered;
  }
  switch (request.command) {
    case 'redrive':
      return redrive(selectionOf(request), {
        parking,
        holding,
        routes,
        signal,
        log,
        deadLetters: state.deadLetters,
        heldTables: state.held,
        mappersFor: async (table) => factory.compileNow(table, routes.byTable(table)?.relation),
        mapMessage: (change) => {
          const own = change.prefix === ownWrites.prefix ? ownWrites.read(change) : undefined;
          return own?.kind === 'stage' ? factory.stageEvent(own, change) : factory.mapMessage(change);
        },
        send: (event) => dispatcher.send(event, signal),
        passed: (table) => dispatcher.passed(table, signal),
      });
    case 'discard': {
      const { all: _all, ...filter } = selectionOf(request);
      const discarded = await state.deadLetters.discard(withoutAbsent(filter));
      await parking.reconcile();
      return { discarded };
    }
    case 'backfill':
      return askBackfill(request, session);
    default:
      throw new BanyanError('usage', `this worker knows no request ${request.command}`);
  }
}

function selectionOf(request: WorkerRequest) {
  const parsed = selectionSchema.safeParse(request.arguments);
  if (!parsed.success)
    throw new BanyanError('usage', `the request ${request.command} does not say which letters it means`);
  return withoutAbsent(parsed.data);
}

/** Absent and undefined are two things to the compiler, and one to us. */
function withoutAbsent<T extends Record<string, unknown>>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
