import type { IncomingMessage, ServerResponse } from 'node:http';
import { randomUUID } from 'node:crypto';

/** The members of a request, as parsed; every operation checks those that it reads. */
export type Input = Readonly<Record<string, unknown>>;

/** Who asks: a bus is identified by account, region and name. */
export interface Caller {
  readonly account: string;
  readonly region: string;
}

/** An error that the caller gets as the real EventBridge would give it: `__type`, message, status. */
export class ServiceError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.name = 'ServiceError';
    this.code = code;
    this.status = status;
  }
}

export function validationError(message: string): ServiceError {
  return new ServiceError('ValidationException', message);
}

/** The region in the credential scope of a signed request (`Credential=KEY/DATE/REGION/events/aws4_request`). */
export function regionOf(authorization: string | undefined): string | undefined {
  const at = authorization?.indexOf('Credential=') ?? -1;
  if (authorization === undefined || at < 0) return undefined;
  const [, , region, service] = authorization.slice(at).split('/', 4);
  return region === '' || service === undefined ? undefined : region;
}

/** Answers in AWS JSON 1.1; `body` is JSON text. */
export function answer(response: ServerResponse, status: number, body: string): void {
  if (response.destroyed || response.writableEnded) return;
  response.writeHead(status, {
    'content-type': 'application/x-amz-json-1.1',
    'content-length': Buffer.byteLength(body),
    'x-amzn-requestid': randomUUID(),
  });
  response.end(body);
}

export function answerError(response: ServerResponse, error: ServiceError): void {
  answer(response, error.status, JSON.stringify({ __type: error.code, message: error.message }));
}

/**
 * Reads a request's body and hands it to `done`, or hands over undefined when it is longer than `maxBytes` (the rest is then read
 * and dropped, so that the client gets to see an answer). A request that breaks off hands over nothing.
 */
export function readBody(request: IncomingMessage, maxBytes: number, done: (body: string | undefined) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
    else chunks.length = 0;
  });
  request.on('end', () => {
    const [only] = chunks;
    if (bytes > maxBytes) done(undefined);
    else
      done(only !== undefined && chunks.length === 1 ? only.toString('utf8') : Buffer.concat(chunks).toString('utf8'));
  });
  // The peer went away in the middle of its request: there is nobody to answer, and nothing was done yet.
  request.on('error', () => undefined);
}
