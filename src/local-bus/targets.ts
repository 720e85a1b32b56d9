import { ARN, isInput, optionalText, refuseUnsupported, requiredText, TARGET_ID, unserializable } from './input.ts';
import { queueAddress } from './registry.ts';
import type { Target, TargetInput } from './registry.ts';
import { validationError } from './wire.ts';
import type { Input } from './wire.ts';

const TARGET_INPUT = { maxLength: 8_192 };
const INPUT_PATH = { maxLength: 256 };

/** Parameters of target kinds that this bus does not have. */
const OTHER_KINDS = Object.fromEntries(
  ['Kinesis', 'RunCommand', 'Ecs', 'Batch', 'Http', 'RedshiftData', 'SageMakerPipeline', 'AppSync'].map((kind) => [
    `${kind}Parameters`,
    'it delivers to SQS queues only',
  ]),
);

/** Checks one target of PutTargets. RoleArn and RetryPolicy are kept, and without effect: a local queue takes a message or is gone. */
export function readTarget(given: unknown): Target {
  if (!isInput(given)) throw unserializable('Targets', given, 'Target');
  const id = requiredText(given, 'Id', TARGET_ID);
  const arn = requiredText(given, 'Arn', ARN);
  const queue = queueAddress(arn);
  if (!arn.startsWith('arn:')) {
    throw validationError(`Parameter Arn of target ${id} is not valid. Reason: Provided Arn is not in correct format.`);
  }
  if (queue === undefined) {
    throw validationError(`Target ${id} is not supported by the embedded bus: it delivers to SQS queues only.`);
  }
  refuseUnsupported(given, {
    InputTransformer: 'use Input or InputPath, or transform in the consumer',
    ...OTHER_KINDS,
  });
  const messageGroupId = readMessageGroup(given);
  if (queue.name.endsWith('.fifo') && messageGroupId === undefined) {
    throw validationError(`Parameter(s) SqsParameters must be specified for target: ${id}.`);
  }
  return {
    id,
    arn,
    queue,
    input: readInput(given, id),
    messageGroupId,
    deadLetter: readDeadLetter(given, id),
    asGiven: given,
  };
}

function readInput(given: Input, id: string): TargetInput {
  const text = optionalText(given, 'Input', TARGET_INPUT);
  const path = optionalText(given, 'InputPath', INPUT_PATH);
  if (text !== undefined && path !== undefined) {
    throw validationError(`Only one of Input, InputPath, or InputTransformer must be provided for target ${id}.`);
  }
  if (text !== undefined) {
    try {
      JSON.parse(text);
    } catch {
      throw validationError(`Parameter Input of target ${id} is not valid. Reason: it must be valid JSON text.`);
    }
    return { kind: 'constant', text };
  }
  if (path === undefined) return { kind: 'event' };
  const steps = parsePath(path);
  if (steps === undefined) {
    throw validationError(
      `InputPath of target ${id} is not supported by the embedded bus: use members and indexes only, such as ` +
        `$.detail.items[0] or $['detail-type'].`,
    );
  }
  return steps.length === 0 ? { kind: 'event' } : { kind: 'path', path: steps };
}

/** `$`, `.member`, `['member']`, `[0]`: the JSON paths that name one place. */
export function parsePath(path: string): (string | number)[] | undefined {
  if (!path.startsWith('$')) return undefined;
  const steps: (string | number)[] = [];
  const step = /\.([A-Za-z0-9_-]+)|\[(\d+)\]|\['([^']+)'\]|\["([^"]+)"\]/y;
  step.lastIndex = 1;
  while (step.lastIndex < path.length) {
    const found = step.exec(path);
    if (found === null) return undefined;
    const [, member, index, single, double] = found;
    steps.push(index === undefined ? (member ?? single ?? double ?? '') : Number(index));
  }
  return steps;
}

function readMessageGroup(given: Input): string | undefined {
  const parameters = given['SqsParameters'] ?? undefined;
  if (parameters === undefined) return undefined;
  if (!isInput(parameters)) throw unserializable('SqsParameters', parameters, 'SqsParameters');
  return optionalText(parameters, 'MessageGroupId', { maxLength: 100 });
}

function readDeadLetter(given: Input, id: string): Target['deadLetter'] {
  const config = given['DeadLetterConfig'] ?? undefined;
  if (config === undefined) return undefined;
  if (!isInput(config)) throw unserializable('DeadLetterConfig', config, 'DeadLetterConfig');
  const arn = optionalText(config, 'Arn', ARN);
  if (arn === undefined) return undefined;
  const queue = queueAddress(arn);
  if (queue === undefined || queue.name.endsWith('.fifo')) {
    throw validationError(`DeadLetterConfig of target ${id} is not valid. Reason: it must be a standard SQS queue.`);
  }
  return { arn, queue };
}
