/** What a failed call to an AWS service says of itself. */
export interface ServiceFacts {
  /** The service's own code, or that of the socket. */
  readonly code: string;
  readonly status: number | undefined;
  /** May quote what was sent: only for errors about the set-up. */
  readonly message: string;
}

/** What a socket or the name service says when the way to the service is broken. */
export const socketCodes: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'ERR_SOCKET_CONNECTION_TIMEOUT',
  'UND_ERR_SOCKET',
]);

/** The SDK's errors carry the service's code as `name`; those of a socket have a `code` of Node.js, at times one level down. */
export function factsOf(thrown: unknown): ServiceFacts {
  if (!(thrown instanceof Error)) return { code: typeof thrown, status: undefined, message: '' };
  const { $metadata, code } = thrown as Error & { $metadata?: { httpStatusCode?: number }; code?: unknown };
  const inner = thrown.cause instanceof Error ? (thrown.cause as Error & { code?: unknown }).code : undefined;
  const socketCode = [code, inner].find((each) => typeof each === 'string' && socketCodes.has(each));
  const name = typeof socketCode === 'string' ? socketCode : thrown.name;
  return { code: name, status: $metadata?.httpStatusCode, message: thrown.message };
}
