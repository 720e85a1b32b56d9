import { createQueue, type QueueFacts } from '../bus/queue.ts';
import type { Reverse } from '../config/reverse-schema.ts';
import type { Config } from '../config/schema.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { asFinding } from './findings.ts';
import { MAX_RECEIVES, placeOfQueue, QUEUE_ACTIONS } from './infra-reverse.ts';

/** How long the queue may take to answer. */
const PROBE_TIMEOUT_MS = 15_000;
/** Fewer deliveries than this are soon used up by a database that is away. */
const FEW_RECEIVES = 100;
/** A worker that stands still over a weekend must find its messages. */
const SHORT_RETENTION_SECONDS = 3 * 86_400;

/** The queue of `reverse`: asks for its attributes only, and receives nothing, since each delivery counts. */
export async function checkQueue(config: Config): Promise<Finding[]> {
  const { reverse, bus } = config;
  if (reverse === undefined) return [];
  const place = { subject: 'queue', path: 'reverse.queue' };
  const isAws = placeOfQueue(reverse.queue).region !== undefined;
  if (bus.type === 'local' && bus.endpoint === undefined && reverse.endpoint === undefined && !isAws) {
    const message = 'the embedded bus makes the queue when the worker starts, with a rule for what reverse.apply takes';
    return [{ code: 'QUEUE_LOCAL', severity: 'info', ...place, message }];
  }
  const queue = createQueue({
    url: reverse.queue,
    endpoint: reverse.endpoint,
    region: reverse.region ?? (bus.type === 'local' ? 'us-east-1' : undefined),
    // As the worker does: emulators look at no signature, but the SDK wants to make one.
    ...(bus.type === 'local' && !isAws ? { credentials: { accessKeyId: 'local', secretAccessKey: 'local' } } : {}),
  });
  try {
    const facts = await queue.probe(AbortSignal.timeout(PROBE_TIMEOUT_MS));
    return queueFindings(facts, reverse).map((finding) => ({ ...place, ...finding }));
  } catch (error) {
    if (error instanceof DOMException && error.name === 'TimeoutError') {
      const silent = new BanyanError(
        'queue-transient',
        `the queue did not answer within ${PROBE_TIMEOUT_MS / 1_000} s`,
        {
          remedy: 'can this machine reach the endpoint (reverse.region, reverse.endpoint, proxies, VPC endpoints)?',
        },
      );
      return [asFinding(silent, { ...place, code: 'QUEUE_NOT_USABLE' })];
    }
    const failure = toBanyanError(error, 'asking the queue');
    const finding = asFinding(failure, { ...place, code: failure.kind.toUpperCase().replaceAll('-', '_') });
    return [failure.kind === 'queue-unauthorized' ? { ...finding, remedy: statementFor(reverse) } : finding];
  } finally {
    queue.close();
  }
}

/** Of the worker's role. */
function statementFor(reverse: Reverse): string {
  const { name, account = 'ACCOUNT', region } = placeOfQueue(reverse.queue);
  const arn = `arn:aws:sqs:${region ?? reverse.region ?? 'REGION'}:${account}:${name}`;
  return JSON.stringify({ Effect: 'Allow', Action: QUEUE_ACTIONS, Resource: arn });
}

type QueueFinding = Omit<Finding, 'subject' | 'path'>;

/** What of the queue's own settings loses messages, or is not what it seems. */
export function queueFindings(facts: QueueFacts, reverse: Reverse): QueueFinding[] {
  const { isFifo, visibilityTimeoutSeconds, retentionSeconds, maxReceives } = facts;
  const horizonSeconds = Math.floor(reverse.horizon / 1_000);
  const findings: QueueFinding[] = [];
  if (maxReceives === undefined) {
    findings.push({
      code: 'QUEUE_WITHOUT_DEAD_LETTERS',
      severity: 'warning',
      message:
        'the queue has no dead-letter queue: a message that can not even be parked comes again until it is too old, and is gone then',
      remedy: setAttributes(reverse, {
        RedrivePolicy: JSON.stringify({ deadLetterTargetArn: 'ARN-OF-ANOTHER-QUEUE', maxReceiveCount: MAX_RECEIVES }),
      }),
    });
  } else if (maxReceives < FEW_RECEIVES) {
    findings.push({
      code: 'QUEUE_GIVES_UP_SOON',
      severity: 'warning',
      message: `after ${maxReceives} deliveries a message goes to the dead-letter queue, and each one counts while the database is away; what can not be applied is parked by the worker itself`,
      remedy: setAttributes(reverse, {
        RedrivePolicy: JSON.stringify({ deadLetterTargetArn: 'ARN-AS-IT-IS', maxReceiveCount: MAX_RECEIVES }),
      }),
    });
  }
  if (retentionSeconds > horizonSeconds) {
    findings.push({
      code: 'QUEUE_OUTLIVES_HORIZON',
      severity: 'warning',
      message: `the queue keeps a message for ${days(retentionSeconds)}, and the worker remembers its event for ${days(horizonSeconds)} only (reverse.horizon): later it is no longer known for a repeat`,
      remedy: `reverse: { horizon: ${Math.ceil(retentionSeconds / 86_400)}d }`,
    });
  }
  if (retentionSeconds < SHORT_RETENTION_SECONDS) {
    findings.push({
      code: 'QUEUE_RETENTION_SHORT',
      severity: 'warning',
      message: `the queue keeps a message for ${days(retentionSeconds)}: events are lost when the worker stands still for longer`,
      remedy: setAttributes(reverse, { MessageRetentionPeriod: `${Math.min(1_209_600, horizonSeconds)}` }),
    });
  }
  if (isFifo) {
    findings.push({
      code: 'QUEUE_FIFO',
      severity: 'info',
      message:
        'a rule gives all messages of a FIFO queue one group, so that one event is applied after the other; with `version` a standard queue is as safe and faster',
    });
  }
  const ownSeconds = Math.ceil(reverse.visibilityTimeout / 1_000);
  if (visibilityTimeoutSeconds !== ownSeconds) {
    findings.push({
      code: 'QUEUE_VISIBILITY',
      severity: 'info',
      message: `the queue hides a message for ${visibilityTimeoutSeconds} s; the worker asks for ${ownSeconds} s with each receive (reverse.visibilityTimeout), which counts`,
    });
  }
  return findings;
}

function setAttributes({ queue }: Reverse, attributes: Readonly<Record<string, string>>): string {
  return `aws sqs set-queue-attributes --queue-url ${queue} --attributes '${JSON.stringify(attributes)}'`;
}

function days(seconds: number): string {
  const [amount, unit] =
    seconds % 86_400 === 0 ? [seconds / 86_400, 'd'] : seconds % 3_600 === 0 ? [seconds / 3_600, 'h'] : [seconds, 's'];
  return `${amount} ${unit}`;
}
