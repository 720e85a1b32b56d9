/**
 * Everything that can go wrong, by what must happen next. Foreign codes (SQLSTATE, AWS error codes) become a kind once, at
 * the edge where they arrive; behind it only kinds are compared.
 */
export type ErrorKind =
  | 'config'
  | 'usage'
  | 'preflight'
  | 'database-unavailable'
  | 'database-privilege'
  | 'slot-in-use'
  | 'gap'
  | 'schema-drift'
  | 'mapping-failed'
  | 'contract-violated'
  | 'event-rejected'
  | 'event-too-large'
  | 'bus-transient'
  | 'bus-throttled'
  | 'bus-unauthorized'
  | 'bus-missing'
  | 'bus-credentials'
  | 'parking-flood'
  | 'hold-limit'
  | 'envelope-invalid'
  | 'parent-missing'
  | 'version-gap'
  | 'row-missing'
  | 'row-refused'
  | 'conflict-parked'
  | 'replayed'
  | 'stream-behind'
  | 'queue-transient'
  | 'queue-throttled'
  | 'queue-unauthorized'
  | 'queue-missing'
  | 'queue-credentials'
  | 'unknown';

/**
 * retry: the same again, later, nobody needs to act. park: set this event aside with its key. hold: set the table's changes
 * aside. wait: stop, say why, try again until a person has mended it. halt: stop until a person restarts or resumes it.
 */
export type Reaction = 'retry' | 'park' | 'hold' | 'wait' | 'halt';

export interface Policy {
  readonly reaction: Reaction;
  /** What a person does about it; the same sentence reaches log, /readyz, /v1/status and `check`. */
  readonly remedy: string;
}

export const policies: Readonly<Record<ErrorKind, Policy>> = {
  config: { reaction: 'halt', remedy: 'mend the configuration and start again' },
  usage: { reaction: 'halt', remedy: 'see `banyan --help`' },
  preflight: { reaction: 'halt', remedy: 'run `banyan check`: it prints the statement that mends each finding' },
  'database-unavailable': { reaction: 'retry', remedy: 'none: the worker reconnects by itself' },
  'database-privilege': {
    reaction: 'wait',
    remedy: 'grant what is missing (`banyan init --role NAME` prints the script); the worker goes on by itself',
  },
  'slot-in-use': { reaction: 'wait', remedy: 'none: this worker takes over when the other one stops' },
  gap: {
    reaction: 'halt',
    remedy:
      'read the gap report (`banyan recover`), then `banyan recover --accept-gap` goes on with a new position and backfills the tables concerned',
  },
  'schema-drift': {
    reaction: 'hold',
    remedy: 'mend the table’s mapping, restart, then `banyan dead-letters redrive --table TABLE`',
  },
  'mapping-failed': {
    reaction: 'park',
    remedy: 'mend the mapping or the row’s cause, restart, then `banyan dead-letters redrive`',
  },
  'contract-violated': {
    reaction: 'park',
    remedy: 'mend the mapping or the JSON Schema, restart, then `banyan dead-letters redrive`',
  },
  'event-rejected': {
    reaction: 'park',
    remedy: 'see the reason with `banyan dead-letters show`, mend the mapping, then `banyan dead-letters redrive`',
  },
  'event-too-large': {
    reaction: 'park',
    remedy: 'exclude the large column in the mapping, restart, then `banyan dead-letters redrive`',
  },
  'bus-transient': { reaction: 'retry', remedy: 'none: the events are sent again with the same ids' },
  'bus-throttled': {
    reaction: 'retry',
    remedy: 'none, the rate adapts; if it lasts, ask AWS for a higher PutEvents quota in this region',
  },
  'bus-unauthorized': {
    reaction: 'wait',
    remedy:
      'allow events:PutEvents and events:DescribeEventBus on the bus (`banyan infra` prints the policy); the worker goes on by itself',
  },
  'bus-missing': {
    reaction: 'wait',
    remedy: 'create the bus (`banyan infra` prints the template) or mend bus.name; the worker goes on by itself',
  },
  'bus-credentials': {
    reaction: 'wait',
    remedy: 'give the worker valid AWS credentials (task role or environment); it goes on by itself',
  },
  'parking-flood': {
    reaction: 'halt',
    remedy: 'look at `banyan dead-letters list`: one mistake parks everything; mend it, restart, then redrive',
  },
  'hold-limit': {
    reaction: 'halt',
    remedy: 'mend the held table’s mapping and restart; the slot keeps what was not read yet',
  },
  'envelope-invalid': {
    reaction: 'park',
    remedy:
      'mend the producer or the entry of reverse.apply, restart, then `banyan dead-letters redrive`, or discard what was never meant for this queue',
  },
  'parent-missing': {
    reaction: 'park',
    remedy:
      'none while it waits: it is tried again when its key or the row it depends on has changed; past the deadline, see why that row does not come, then `banyan dead-letters redrive`',
  },
  'version-gap': {
    reaction: 'park',
    remedy:
      'none while it waits for the events before it; past the deadline, ask the producer for them, or accept the gap with `banyan dead-letters redrive`',
  },
  'row-missing': {
    reaction: 'park',
    remedy:
      'none while it waits for the event that makes its row; past the deadline, ask the producer for that event, then `banyan dead-letters redrive`, or discard it',
  },
  'row-refused': {
    reaction: 'park',
    remedy:
      'see with `banyan dead-letters show` which constraint or trigger refused it; mend the producer, the entry of reverse.apply or the table, then `banyan dead-letters redrive`',
  },
  'conflict-parked': {
    reaction: 'park',
    remedy: 'decide with `banyan conflicts show` and `banyan conflicts resolve` which side wins',
  },
  replayed: {
    reaction: 'park',
    remedy:
      'it comes from a replay, or is older than what is remembered; apply it with `banyan dead-letters redrive`, discard it, or allow replays in the entry of reverse.apply',
  },
  'stream-behind': {
    reaction: 'retry',
    remedy:
      'none once the stream has caught up; if it lasts, see on `/v1/status` how far it is behind and what it waits for: the bus, or one very large transaction',
  },
  'queue-transient': {
    reaction: 'retry',
    remedy: 'none: messages that were not deleted come again and are not applied twice',
  },
  'queue-throttled': { reaction: 'retry', remedy: 'none, the worker asks less often' },
  'queue-unauthorized': {
    reaction: 'wait',
    remedy:
      'allow sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and sqs:GetQueueAttributes on the queue (`banyan infra` prints the policy); the worker goes on by itself',
  },
  'queue-missing': {
    reaction: 'wait',
    remedy: 'create the queue (`banyan infra` prints the template) or mend reverse.queue; the worker goes on by itself',
  },
  'queue-credentials': {
    reaction: 'wait',
    remedy: 'give the worker valid AWS credentials (task role or environment); it goes on by itself',
  },
  unknown: {
    reaction: 'halt',
    remedy: 'read the log line with this error; if it is not your set-up, please report it',
  },
};

export interface BanyanErrorOptions {
  readonly cause?: unknown;
  /** Facts for the log, never row values or secrets. */
  readonly context?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Overrides the policy's remedy where a more exact one is known, such as the statement that mends it. */
  readonly remedy?: string;
  /** The code of the other side (SQLSTATE, AWS error code), kept for log and dead letter. */
  readonly code?: string;
}

/** The message says what failed; `kind` decides what happens; `remedy` says what to do. */
export class BanyanError extends Error {
  readonly kind: ErrorKind;
  readonly context: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly remedy: string;
  readonly code: string | undefined;

  constructor(kind: ErrorKind, message: string, options: BanyanErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = 'BanyanError';
    this.kind = kind;
    this.context = options.context ?? {};
    this.remedy = options.remedy ?? policies[kind].remedy;
    this.code = options.code;
  }

  get reaction(): Reaction {
    return policies[this.kind].reaction;
  }
}

/** Wraps whatever was thrown; a BanyanError passes as it is, anything else is `unknown`. */
export function toBanyanError(error: unknown, doing: string): BanyanError {
  if (error instanceof BanyanError) return error;
  const reason = error instanceof Error ? error.message : typeof error;
  return new BanyanError('unknown', `${doing}: ${reason}`, { cause: error });
}
