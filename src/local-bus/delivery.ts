import { sliceAt } from './json-text.ts';
import { envelope } from './put-events.ts';
import type { AcceptedEvent, RoutedEvent } from './put-events.ts';
import { allowsRule } from './queue-policy.ts';
import { ownArn, queueUrl } from './queues.ts';
import type { QueuePolicy, Queues } from './queues.ts';
import type { Rule, Target } from './registry.ts';

/** Counts of messages, not of events: an event may match several rules, a rule may have several targets. */
export interface DeliveryCounters {
  delivered: number;
  /** The queue's policy does not let the rule send: the real one drops without a word, too. */
  denied: number;
  /** The queue is gone, or did not take the message. */
  failed: number;
  /** Of denied and failed, those that a dead-letter queue took. */
  deadLettered: number;
}

interface Message {
  readonly body: string;
  readonly event: AcceptedEvent;
  readonly rule: Rule;
  readonly target: Target;
}

/** Why a target did not take a message, in the words that the real one puts on dead letters. */
interface Failure {
  readonly code: 'NO_PERMISSIONS' | 'RESOURCE_NOT_FOUND' | 'INVALID_INPUT_PATH' | 'SDK_CLIENT_ERROR';
  readonly message: string;
}

/** SQS takes at most this many messages and bytes at once. */
const BATCH_MESSAGES = 10;
const BATCH_BYTES = 1_048_576;

/**
 * Carries accepted events to the queues of the rules that match, in the background: PutEvents is answered before. Messages of one queue
 * leave in the order of acceptance.
 */
export class Delivery {
  readonly #queues: Queues;
  readonly #log: (line: string) => void;
  readonly #outboxes = new Map<string, Message[]>();
  readonly #pumps = new Map<string, Promise<void>>();
  readonly #reported = new Set<string>();
  /** By the answer of `policyOf`, which is another object when the policy changed: the rules asked for, and the verdict. */
  readonly #verdicts = new WeakMap<QueuePolicy, Map<string, boolean>>();
  readonly #counters: DeliveryCounters;

  constructor(
    queues: Queues,
    { counters, log }: { readonly counters: DeliveryCounters; readonly log: (line: string) => void },
  ) {
    this.#queues = queues;
    this.#counters = counters;
    this.#log = log;
  }

  route({ event, bus, detailValue }: RoutedEvent): void {
    if (bus === undefined || bus.rules.size === 0) return;
    let value: object | undefined;
    let whole: string | undefined;
    for (const rule of bus.rules.values()) {
      if (!rule.enabled || rule.targets.size === 0) continue;
      value ??= eventValue(event, detailValue);
      if (!rule.pattern.matches(value)) continue;
      for (const target of rule.targets.values()) {
        whole ??= envelope(event);
        this.#post(whole, { event, rule, target });
      }
    }
  }

  /** Resolves when everything routed so far is in its queue, or counted as not delivered. */
  async drained(): Promise<void> {
    while (this.#pumps.size > 0) await Promise.all(this.#pumps.values());
  }

  #post(whole: string, addressed: Omit<Message, 'body'>): void {
    const { target } = addressed;
    const body = bodyFor(target, whole);
    const key = queueUrl(target.queue);
    const outbox = this.#outboxes.get(key) ?? [];
    this.#outboxes.set(key, outbox);
    // Without a body the message can not be delivered; it goes through the outbox all the same, to keep the order.
    outbox.push({ ...addressed, body: body ?? '' });
    if (!this.#pumps.has(key)) this.#pumps.set(key, this.#pump(key, outbox));
  }

  async #pump(key: string, outbox: Message[]): Promise<void> {
    try {
      // Let the request be answered, and its other entries join the batch.
      await new Promise(setImmediate);
      while (outbox.length > 0) {
        const messages = outbox.splice(0);
        for (let at = 0; at < messages.length;) {
          const batch = takeBatch(messages, at);
          await this.#send(batch);
          at += batch.length;
        }
      }
    } finally {
      this.#pumps.delete(key);
    }
  }

  async #send(batch: readonly Message[]): Promise<void> {
    const [first] = batch;
    if (first === undefined) return;
    const policy = await this.#queues.policyOf(first.target.queue);
    if (policy === undefined)
      return await this.#giveUp(batch, { code: 'RESOURCE_NOT_FOUND', message: 'The queue does not exist.' });
    const allowed: Message[] = [];
    for (const message of batch) {
      if (message.body === '') {
        await this.#giveUp([message], { code: 'INVALID_INPUT_PATH', message: 'The event has nothing at InputPath.' });
      } else if (this.#mayReach(message.target.arn, { message, policy })) {
        allowed.push(message);
      } else {
        await this.#giveUp([message], {
          code: 'NO_PERMISSIONS',
          message: 'The queue’s policy does not allow this rule.',
        });
      }
    }
    if (allowed.length > 0) await this.#sendAllowed(allowed);
  }

  async #sendAllowed(batch: readonly Message[]): Promise<void> {
    const queue = batch[0]?.target.queue;
    if (queue === undefined) return;
    const entries = batch.map((message, index) => ({
      Id: `${index}`,
      MessageBody: escapeForSqs(message.body),
      MessageGroupId: message.target.messageGroupId,
    }));
    try {
      const answer = await this.#queues.call(
        'SendMessageBatch',
        { QueueUrl: queueUrl(queue), Entries: entries },
        queue.region,
      );
      const failed = (answer['Failed'] ?? []) as readonly { readonly Id: string; readonly Message: string }[];
      this.#counters.delivered += batch.length - failed.length;
      for (const { Id, Message: reason } of failed) {
        const message = batch[Number(Id)];
        if (message !== undefined) await this.#giveUp([message], { code: 'SDK_CLIENT_ERROR', message: reason });
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unknown';
      await this.#giveUp(batch, { code: 'SDK_CLIENT_ERROR', message: reason });
    }
  }

  async #giveUp(messages: readonly Message[], failure: Failure): Promise<void> {
    for (const message of messages) {
      if (failure.code === 'NO_PERMISSIONS') this.#counters.denied++;
      else this.#counters.failed++;
      const rescued = await this.#deadLetter(message, failure);
      if (rescued) this.#counters.deadLettered++;
      this.#report(message, { failure, rescued });
    }
  }

  async #deadLetter(message: Message, failure: Failure): Promise<boolean> {
    const { deadLetter } = message.target;
    if (deadLetter === undefined) return false;
    const policy = await this.#queues.policyOf(deadLetter.queue);
    if (policy === undefined || !this.#mayReach(deadLetter.arn, { message, policy })) return false;
    const { body, event, rule, target } = message;
    const attributes = {
      RULE_ARN: rule.arn,
      TARGET_ARN: target.arn,
      ERROR_CODE: failure.code,
      ERROR_MESSAGE: failure.message,
      RETRY_ATTEMPTS: '0',
    };
    const input = {
      QueueUrl: queueUrl(deadLetter.queue),
      MessageBody: escapeForSqs(body === '' ? envelope(event) : body),
      MessageAttributes: Object.fromEntries(
        Object.entries(attributes).map(([name, value]) => [name, { DataType: 'String', StringValue: value }]),
      ),
    };
    try {
      await this.#queues.call('SendMessage', input, deadLetter.queue.region);
      return true;
    } catch (error) {
      this.#log(`dead-letter queue ${deadLetter.queue.name} did not take a message: ${String(error)}`);
      return false;
    }
  }

  #mayReach(arn: string, { message, policy }: { readonly message: Message; readonly policy: QueuePolicy }): boolean {
    const { rule, event } = message;
    let verdicts = this.#verdicts.get(policy);
    if (verdicts === undefined) this.#verdicts.set(policy, (verdicts = new Map()));
    const key = `${rule.arn} ${arn}`;
    let verdict = verdicts.get(key);
    if (verdict === undefined) {
      // A target's ARN may have the account of the bus, the queue's own has that of fauxqs: the policy may name either.
      const [own, question] = [ownArn(arn), { ruleArn: rule.arn, account: event.account }];
      verdict = [arn, own].some((queueArn) => allowsRule(policy.policy, { ...question, queueArn }));
      verdicts.set(key, verdict);
    }
    return verdict;
  }

  /** Once per rule, target and cause: a broken target would else fill the log. */
  #report(
    { rule, target }: Message,
    { failure, rescued }: { readonly failure: Failure; readonly rescued: boolean },
  ): void {
    const key = `${rule.arn} ${target.id} ${failure.code}`;
    if (this.#reported.has(key)) return;
    this.#reported.add(key);
    const end = rescued
      ? 'its events go to the dead-letter queue'
      : 'its events are dropped, as the real service drops them';
    this.#log(`rule ${rule.name}, target ${target.id}: ${failure.code}, ${failure.message} (${end}; said once)`);
  }
}

function takeBatch(messages: readonly Message[], from: number): readonly Message[] {
  const batch: Message[] = [];
  let bytes = 0;
  for (const message of messages.slice(from, from + BATCH_MESSAGES)) {
    bytes += Buffer.byteLength(message.body);
    if (batch.length > 0 && bytes > BATCH_BYTES) break;
    batch.push(message);
  }
  return batch;
}

function bodyFor(target: Target, whole: string): string | undefined {
  switch (target.input.kind) {
    case 'constant':
      return target.input.text;
    case 'path':
      return sliceAt(whole, target.input.path);
    default:
      return whole;
  }
}

function eventValue(event: AcceptedEvent, detail: unknown): object {
  return {
    version: '0',
    id: event.id,
    'detail-type': event.detailType,
    source: event.source,
    account: event.account,
    time: event.time,
    region: event.region,
    resources: event.resources,
    detail,
  };
}

/**
 * fauxqs refuses what lies beyond the basic plane, which the real SQS takes. A body is JSON, where an escape means the same
 * character; numbers, order and everything else stay as they are.
 */
function escapeForSqs(body: string): string {
  if (!/[\uD800-\uDFFF\uFFFE\uFFFF]/.test(body)) return body;
  return body.replaceAll(/[\uD800-\uDFFF\uFFFE\uFFFF]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16)}`);
}
