import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { answerAdmin } from './admin.ts';
import type { AdminContext } from './admin.ts';
import type { Faults } from './faults.ts';
import { isInput } from './input.ts';
import { answer, answerError, readBody, regionOf, ServiceError } from './wire.ts';
import type { Caller, Input } from './wire.ts';

export interface ServerContext extends AdminContext {
  readonly caller: Caller;
  /** Bytes of a request's body; above it the answer is 413. */
  readonly maxBodyBytes: number;
  /** Carries out an operation. Throws ServiceError. */
  readonly invoke: (operation: string, input: Input, caller: Caller) => unknown;
  readonly onRequest: (operation: string) => void;
}

/** The HTTP server of the bus: the AWS JSON 1.1 protocol at `/`, and our own pages below `/_banyan`. Not listening yet. */
export function createBusServer(context: ServerContext): Server {
  const server = createServer((request, response) => {
    response.on('error', () => undefined);
    if (request.url?.startsWith('/_banyan/') === true) answerAdmin(request, response, context);
    else if (context.faults.strikes('down')) request.socket.destroy();
    else receive(request, response, context);
  });
  // Longer than the idle time of any client, so that it is never we who close a connection that a request is coming on.
  server.keepAliveTimeout = 120_000;
  server.requestTimeout = 60_000;
  return server;
}

const TARGET_PREFIX = 'AWSEvents.';

function receive(request: IncomingMessage, response: ServerResponse, context: ServerContext): void {
  readBody(request, context.maxBodyBytes, (body) => {
    const target = request.headers['x-amz-target'];
    if (body === undefined) {
      return answerError(
        response,
        new ServiceError('RequestEntityTooLargeException', 'The request is too large.', 413),
      );
    }
    if (request.method !== 'POST' || typeof target !== 'string' || !target.startsWith(TARGET_PREFIX)) {
      const message = 'Expected POST with the header X-Amz-Target: AWSEvents.<operation>';
      return answerError(response, new ServiceError('UnknownOperationException', message));
    }
    const operation = target.slice(TARGET_PREFIX.length);
    context.onRequest(operation);
    const caller: Caller = {
      account: context.caller.account,
      region: regionOf(request.headers.authorization) ?? context.caller.region,
    };
    const { delayMs, hold } = context.faults.settings;
    const call = { operation, body, caller };
    if (delayMs === undefined && hold === undefined) return carryOut(response, call, context);
    carryOutLater(response, call, context).catch((error: unknown) => {
      context.log(`a request failed: ${String(error)}`);
      response.destroy();
    });
  });
}

interface Call {
  readonly operation: string;
  readonly body: string;
  readonly caller: Caller;
}

function carryOut(response: ServerResponse, call: Call, context: ServerContext): void {
  finish(response, execute(call, context));
}

interface Result {
  readonly status: number;
  readonly body: string;
  readonly lost: boolean;
}

function finish(response: ServerResponse, { status, body, lost }: Result): void {
  if (lost) response.destroy();
  else answer(response, status, body);
}

function execute({ operation, body, caller }: Call, context: ServerContext): Result {
  try {
    refuseByFault(context.faults, { operation, caller });
    const output = context.invoke(operation, parseInput(body), caller);
    const lost = operation === 'PutEvents' && context.faults.strikes('answerLost');
    return { status: 200, body: JSON.stringify(output), lost };
  } catch (error) {
    const known =
      error instanceof ServiceError
        ? error
        : new ServiceError('InternalException', 'The embedded bus failed, see its log.', 500);
    if (known !== error) context.log(`${operation} failed: ${error instanceof Error ? error.stack : String(error)}`);
    return { status: known.status, body: JSON.stringify({ __type: known.code, message: known.message }), lost: false };
  }
}

async function carryOutLater(response: ServerResponse, call: Call, context: ServerContext): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const { delayMs, hold } = context.faults.settings;
  if (delayMs !== undefined) await wait(delayMs, gone.signal);
  if (hold === 'request') await context.faults.waitForRelease(gone.signal);
  // Who gave up before the request was carried out never made it.
  if (gone.signal.aborted) return;
  const result = execute(call, context);
  if (hold === 'answer') await context.faults.waitForRelease(gone.signal);
  finish(response, result);
}

function refuseByFault(faults: Faults, { operation, caller }: Pick<Call, 'operation' | 'caller'>): void {
  if (faults.strikes('expiredCredentials')) {
    throw new ServiceError('ExpiredTokenException', 'The security token included in the request is expired');
  }
  if (operation !== 'PutEvents') return;
  if (faults.strikes('throttle')) throw new ServiceError('ThrottlingException', 'Rate exceeded');
  if (faults.strikes('deny')) {
    throw new ServiceError(
      'AccessDeniedException',
      `User: arn:aws:iam::${caller.account}:user/local is not authorized to perform: events:PutEvents because no ` +
        'identity-based policy allows the events:PutEvents action',
    );
  }
}

function parseInput(body: string): Input {
  let input: unknown;
  try {
    input = JSON.parse(body === '' ? '{}' : body);
  } catch (error) {
    throw new ServiceError('SerializationException', error instanceof Error ? error.message : 'not JSON');
  }
  if (!isInput(input)) throw new ServiceError('SerializationException', 'The body must be a JSON object');
  return input;
}

function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener(
    'abort',
    () => {
      clearTimeout(timer);
      resolve();
    },
    { once: true },
  );
  return promise;
}
