import { BanyanError, type ErrorKind } from '../core/errors.ts';
import { factsOf, socketCodes } from './aws-errors.ts';

/** Error codes of EventBridge, of an entry or of a whole request, and of whoever answers in front of it. */
const kindByCode: Readonly<Record<string, ErrorKind>> = {
  ThrottlingException: 'bus-throttled',
  Throttling: 'bus-throttled',
  TooManyRequestsException: 'bus-throttled',
  RequestLimitExceeded: 'bus-throttled',
  LimitExceededException: 'bus-throttled',

  InternalFailure: 'bus-transient',
  InternalException: 'bus-transient',
  InternalServerError: 'bus-transient',
  InternalError: 'bus-transient',
  ServiceUnavailable: 'bus-transient',
  ServiceUnavailableException: 'bus-transient',
  ConcurrentModificationException: 'bus-transient',
  TimeoutError: 'bus-transient',
  RequestTimeout: 'bus-transient',
  RequestTimeoutException: 'bus-transient',

  MalformedDetail: 'event-rejected',
  InvalidArgument: 'event-rejected',
  RedactionFailure: 'event-rejected',

  RequestEntityTooLargeException: 'event-too-large',

  AccessDeniedException: 'bus-unauthorized',
  AccessDenied: 'bus-unauthorized',
  NotAuthorizedForSourceException: 'bus-unauthorized',
  NotAuthorizedForDetailTypeException: 'bus-unauthorized',
  InvalidAccountIdException: 'bus-unauthorized',
  OptInRequired: 'bus-unauthorized',

  ResourceNotFoundException: 'bus-missing',

  CredentialsProviderError: 'bus-credentials',
  TokenProviderError: 'bus-credentials',
  ExpiredToken: 'bus-credentials',
  ExpiredTokenException: 'bus-credentials',
  RequestExpired: 'bus-credentials',
  UnrecognizedClientException: 'bus-credentials',
  InvalidClientTokenId: 'bus-credentials',
  InvalidSignatureException: 'bus-credentials',
  SignatureDoesNotMatch: 'bus-credentials',
  IncompleteSignature: 'bus-credentials',
  IncompleteSignatureException: 'bus-credentials',
  MissingAuthenticationToken: 'bus-credentials',
  MissingAuthenticationTokenException: 'bus-credentials',
};

/** A whole request was refused because of what is in it: what exactly must be found out entry by entry. */
export type RequestFault = 'too-large' | 'invalid' | undefined;

export interface RequestFailure {
  readonly error: BanyanError;
  readonly fault: RequestFault;
}

/**
 * The error of one entry. Its message is never passed on, since it may quote what it refuses; the code says enough, and `dead_letter` has the
 * event.
 */
export function entryError(code: string): BanyanError {
  const kind = kindByCode[code] ?? 'unknown';
  return new BanyanError(kind, `EventBridge refused the event with ${code}`, { code });
}

/**
 * What a failed request means. Only of errors about the set-up does the service's own sentence reach the message (it names role, action and
 * resource); a validation error quotes the offending value.
 */
export function requestFailure(thrown: unknown, doing: string): RequestFailure {
  const { code, status, message } = factsOf(thrown);
  if (code === 'ValidationException' || code === 'SerializationException') {
    if (/\bsize\b|too large|too long|exceeds/i.test(message)) return tooLarge(code, doing);
    if (/event ?bus ?name/i.test(message)) {
      return fail('bus-missing', `${doing}: EventBridge does not take the name of the bus`, code);
    }
    const error = new BanyanError('event-rejected', `${doing}: EventBridge refused the request with ${code}`, { code });
    return { error, fault: 'invalid' };
  }
  const kind = kindOf(code, status);
  if (kind === 'event-too-large') return tooLarge(code, doing);
  const quotable = kind === 'bus-unauthorized' || kind === 'bus-credentials' || socketCodes.has(code);
  const text = quotable && message !== '' ? `${doing}: ${code}: ${message}` : `${doing}: ${code}`;
  return { error: new BanyanError(kind, text, { code, context: { httpStatus: status } }), fault: undefined };
}

function kindOf(code: string, status: number | undefined): ErrorKind {
  const known = kindByCode[code];
  if (known !== undefined) return known;
  if (socketCodes.has(code)) return 'bus-transient';
  if (status === 413) return 'event-too-large';
  if (status === 429) return 'bus-throttled';
  if (status !== undefined && status >= 500) return 'bus-transient';
  return 'unknown';
}

function tooLarge(code: string, doing: string): RequestFailure {
  const message = `${doing}: EventBridge refused the request as too large; bus.maxRequest may be above the limit of this partition`;
  return { error: new BanyanError('event-too-large', message, { code }), fault: 'too-large' };
}

function fail(kind: ErrorKind, message: string, code: string): RequestFailure {
  return { error: new BanyanError(kind, message, { code }), fault: undefined };
}
