import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Faults } from './faults.ts';
import { isInput } from './input.ts';
import { envelope } from './put-events.ts';
import type { AcceptedEvent } from './put-events.ts';
import { readBody } from './wire.ts';

export interface AdminContext {
  readonly faults: Faults;
  /** What `GET /_banyan/health` says beside `status`. */
  readonly health: () => object;
  readonly recent: (limit: number) => readonly AcceptedEvent[];
  readonly log: (line: string) => void;
}

const ROUTES = 'GET /_banyan/health, GET /_banyan/events?limit=, GET, POST and DELETE /_banyan/faults';

/**
 * The pages of our own, in plain JSON, never touched by a fault:
 *
 * - `GET /_banyan/health`: state and counters.
 * - `GET /_banyan/events?limit=100`: the last accepted events, oldest first, each `{ bus, dropped, event }`.
 * - `GET /_banyan/faults`: `{ settings, held }`. `POST` takes a patch of the settings (`FaultPatch`: null switches one off) and `DELETE`
 *   switches all off and releases who is held.
 */
export function answerAdmin(request: IncomingMessage, response: ServerResponse, context: AdminContext): void {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  switch (`${request.method} ${pathname}`) {
    case 'GET /_banyan/health':
      return answerJson(response, 200, JSON.stringify({ status: 'ok', ...context.health() }));
    case 'GET /_banyan/events': {
      const limit = Number(searchParams.get('limit') ?? 100);
      if (!Number.isInteger(limit) || limit < 0) return refuse(response, 'limit: a whole number from 0');
      return answerJson(response, 200, `{"events":[${context.recent(limit).map(eventView).join(',')}]}`);
    }
    case 'GET /_banyan/faults':
      return answerFaults(response, context);
    case 'DELETE /_banyan/faults':
      context.faults.clear();
      return answerFaults(response, context);
    case 'POST /_banyan/faults':
      return readBody(request, 65_536, (body) => {
        const problem = setFaults(body, context.faults);
        if (problem !== undefined) return refuse(response, problem);
        context.log(`faults: ${JSON.stringify(context.faults.settings)}`);
        answerFaults(response, context);
      });
    default:
      return answerJson(response, 404, JSON.stringify({ error: `no such page; there are ${ROUTES}` }));
  }
}

function setFaults(body: string | undefined, faults: Faults): string | undefined {
  if (body === undefined) return 'the body is too long';
  try {
    const patch: unknown = JSON.parse(body);
    if (!isInput(patch)) return 'the body must be a JSON object';
    faults.set(patch);
    return undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return `the body must be JSON: ${error.message}`;
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

function answerFaults(response: ServerResponse, { faults }: AdminContext): void {
  answerJson(response, 200, JSON.stringify({ settings: faults.settings, held: faults.held }));
}

/** The event's text goes out as it came in. */
function eventView(event: AcceptedEvent): string {
  return `{"bus":${JSON.stringify(event.bus)},"dropped":${event.dropped},"event":${envelope(event)}}`;
}

function refuse(response: ServerResponse, error: string): void {
  answerJson(response, 400, JSON.stringify({ error }));
}

function answerJson(response: ServerResponse, status: number, body: string): void {
  if (response.destroyed) return;
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
