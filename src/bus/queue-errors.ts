import { BanyanError, type ErrorKind } from '../core/errors.ts';
import { factsOf, socketCodes } from './aws-errors.ts';

/** Error codes of SQS, of a message or of a whole request, in the JSON protocol's and the older spelling, and of whoever answers in front of it. */
const kindByCode: Readonly<Record<string, ErrorKind>> = {
  RequestThrottled: 'queue-throttled',
  ThrottlingException: 'queue-throttled',
  Throttling: 'queue-throttled',
  TooManyRequestsException: 'queue-throttled',
  RequestLimitExceeded: 'queue-throttled',
  KmsThrottled: 'queue-throttled',
  'KMS.ThrottlingException': 'queue-throttled',
  // 120,000 messages in flight (20,000 of a FIFO queue): it passes as they are deleted.
  OverLimit: 'queue-throttled',

  InternalError: 'queue-transient',
  InternalFailure: 'queue-transient',
  InternalServerError: 'queue-transient',
  ServiceUnavailable: 'queue-transient',
  ServiceUnavailableException: 'queue-transient',
  RequestTimeout: 'queue-transient',
  RequestTimeoutException: 'queue-transient',
  TimeoutError: 'queue-transient',
  // An answer that is no JSON: something between us and the service spoke.
  SyntaxError: 'queue-transient',
  // The message is in nobody's hand any more: it comes again.
  ReceiptHandleIsInvalid: 'queue-transient',
  MessageNotInflight: 'queue-transient',

  AccessDenied: 'queue-unauthorized',
  AccessDeniedException: 'queue-unauthorized',
  InvalidSecurity: 'queue-unauthorized',
  OptInRequired: 'queue-unauthorized',
  KmsAccessDenied: 'queue-unauthorized',
  KmsDisabled: 'queue-unauthorized',
  KmsInvalidKeyUsage: 'queue-unauthorized',
  KmsInvalidState: 'queue-unauthorized',
  KmsNotFound: 'queue-unauthorized',
  KmsOptInRequired: 'queue-unauthorized',
  'KMS.AccessDeniedException': 'queue-unauthorized',
  'KMS.DisabledException': 'queue-unauthorized',
  'KMS.NotFoundException': 'queue-unauthorized',

  QueueDoesNotExist: 'queue-missing',
  'AWS.SimpleQueueService.NonExistentQueue': 'queue-missing',
  QueueDeletedRecently: 'queue-missing',
  InvalidAddress: 'queue-missing',

  CredentialsProviderError: 'queue-credentials',
  TokenProviderError: 'queue-credentials',
  ExpiredToken: 'queue-credentials',
  ExpiredTokenException: 'queue-credentials',
  RequestExpired: 'queue-credentials',
  UnrecognizedClientException: 'queue-credentials',
  InvalidClientTokenId: 'queue-credentials',
  InvalidSignatureException: 'queue-credentials',
  SignatureDoesNotMatch: 'queue-credentials',
  IncompleteSignature: 'queue-credentials',
  IncompleteSignatureException: 'queue-credentials',
  MissingAuthenticationToken: 'queue-credentials',
  MissingAuthenticationTokenException: 'queue-credentials',
};

/** Codes after which our receipt of the message is worth nothing: it is deleted, or will be delivered again. */
const lostCodes = new Set(['ReceiptHandleIsInvalid', 'MessageNotInflight', 'InvalidParameterValue']);

/** What became of one message of a batch. */
export interface MessageFault {
  readonly error: BanyanError;
  /** Nothing can be done with this receipt any more, now or later. */
  readonly isLost: boolean;
}

/** The service's sentence is left out: it may quote the receipt. */
export function messageFault(code: string, doing: string): MessageFault {
  const kind = kindByCode[code] ?? 'queue-transient';
  return {
    error: new BanyanError(kind, `${doing}: SQS refused a message with ${code}`, { code }),
    isLost: lostCodes.has(code),
  };
}

/**
 * What a failed request means. Only of errors about the set-up does the service's own sentence reach the message (it names role, action and
 * resource); others may quote what was sent or received.
 */
export function queueError(thrown: unknown, doing: string): BanyanError {
  const { code, status, message } = factsOf(thrown);
  const kind = kindOf(code, { status, message });
  const quotable = kind === 'queue-unauthorized' || kind === 'queue-credentials' || socketCodes.has(code);
  const text = quotable && message !== '' ? `${doing}: ${code}: ${message}` : `${doing}: ${code}`;
  return new BanyanError(kind, text, { code, context: { httpStatus: status } });
}

function kindOf(code: string, { status, message }: { status: number | undefined; message: string }): ErrorKind {
  const known = kindByCode[code];
  if (known !== undefined) return known;
  if (socketCodes.has(code)) return 'queue-transient';
  // The SDK compares each body's checksum, and has no code for one that differs.
  if (message.startsWith('Invalid MD5 checksum')) return 'queue-transient';
  if (status === 429) return 'queue-throttled';
  if (status === 403) return 'queue-unauthorized';
  if (status === 404) return 'queue-missing';
  if (status !== undefined && status >= 500) return 'queue-transient';
  return 'unknown';
}
