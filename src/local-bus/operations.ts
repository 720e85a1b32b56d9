import { compilePattern, InvalidPatternError } from '../core/pattern.ts';
import type { EventPattern } from '../core/pattern.ts';
import { parseExactJson } from '../core/pattern-json.ts';
import {
  ARN,
  BUS_NAME,
  BUS_NAME_OR_ARN,
  DESCRIPTION,
  isInput,
  optionalText,
  page,
  refuseUnsupported,
  requiredList,
  requiredText,
  RULE_NAME,
} from './input.ts';
import { getRule, limitExceeded, MAX_RULES, MAX_TARGETS, ruleArn } from './registry.ts';
import type { Bus, Registry, Rule } from './registry.ts';
import { readTarget } from './targets.ts';
import { ServiceError, validationError } from './wire.ts';
import type { Caller, Input } from './wire.ts';

export interface OperationContext {
  readonly registry: Registry;
  readonly caller: Caller;
  /** Whether the bus has queues to deliver to. */
  readonly hasQueues: boolean;
}

export type Operation = (input: Input, context: OperationContext) => object;

/** Everything but PutEvents, by the name after `AWSEvents.`. */
export const operations: ReadonlyMap<string, Operation> = new Map<string, Operation>([
  ['CreateEventBus', createEventBus],
  ['DescribeEventBus', describeEventBus],
  ['ListEventBuses', listEventBuses],
  ['DeleteEventBus', deleteEventBus],
  ['PutRule', putRule],
  ['DescribeRule', describeRule],
  ['ListRules', listRules],
  ['EnableRule', (input, context) => switchRule(input, { ...context, enabled: true })],
  ['DisableRule', (input, context) => switchRule(input, { ...context, enabled: false })],
  ['DeleteRule', deleteRule],
  ['PutTargets', putTargets],
  ['ListTargetsByRule', listTargetsByRule],
  ['RemoveTargets', removeTargets],
  ['TestEventPattern', testEventPattern],
]);

function createEventBus(input: Input, { registry, caller }: OperationContext): object {
  refuseUnsupported(input, {
    EventSourceName: 'it has no partner event sources',
    KmsKeyIdentifier: 'it encrypts nothing',
    DeadLetterConfig: 'set it on the target',
    LogConfig: 'read GET /_banyan/events instead',
  });
  const name = requiredText(input, 'Name', BUS_NAME);
  if (name.includes('/')) throw validationError("Event bus name must not contain '/'.");
  const bus = registry.create(name, optionalText(input, 'Description', DESCRIPTION), caller);
  return { EventBusArn: bus.arn, Description: bus.description };
}

function describeEventBus(input: Input, { registry, caller }: OperationContext): object {
  return busView(registry.get(optionalText(input, 'Name', BUS_NAME_OR_ARN), caller));
}

function listEventBuses(input: Input, { registry, caller }: OperationContext): object {
  const prefix = optionalText(input, 'NamePrefix', BUS_NAME) ?? '';
  const { items, nextToken } = page(
    registry.list(caller).filter((bus) => bus.name.startsWith(prefix)),
    input,
  );
  return { EventBuses: items.map(busView), NextToken: nextToken };
}

function deleteEventBus(input: Input, { registry, caller }: OperationContext): object {
  registry.delete(requiredText(input, 'Name', BUS_NAME_OR_ARN), caller);
  return {};
}

function putRule(input: Input, { registry, caller }: OperationContext): object {
  const name = requiredText(input, 'Name', RULE_NAME);
  const bus = busOf(input, { registry, caller });
  refuseUnsupported(input, { ScheduleExpression: 'it runs no schedules' });
  const patternText = optionalText(input, 'EventPattern', { maxLength: 4_096 });
  if (patternText === undefined) {
    throw validationError('Parameter(s) EventPattern or ScheduleExpression must be specified.');
  }
  const existing = bus.rules.get(name);
  if (existing === undefined && bus.rules.size >= MAX_RULES) throw limitExceeded();
  // A rule is replaced by what is given now; its targets stay.
  bus.rules.set(name, {
    name,
    arn: ruleArn(bus, name),
    busName: bus.name,
    patternText,
    pattern: compile(patternText),
    enabled: readState(input),
    description: optionalText(input, 'Description', DESCRIPTION),
    roleArn: optionalText(input, 'RoleArn', ARN),
    targets: existing?.targets ?? new Map(),
  });
  return { RuleArn: ruleArn(bus, name) };
}

function describeRule(input: Input, context: OperationContext): object {
  const rule = getRule(busOf(input, context), requiredText(input, 'Name', RULE_NAME));
  return { ...ruleView(rule), CreatedBy: context.caller.account };
}

function listRules(input: Input, context: OperationContext): object {
  const prefix = optionalText(input, 'NamePrefix', RULE_NAME) ?? '';
  const rules = [...busOf(input, context).rules.values()].filter((rule) => rule.name.startsWith(prefix));
  const { items, nextToken } = page(
    rules.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    input,
  );
  return { Rules: items.map(ruleView), NextToken: nextToken };
}

function switchRule(input: Input, context: OperationContext & { readonly enabled: boolean }): object {
  getRule(busOf(input, context), requiredText(input, 'Name', RULE_NAME)).enabled = context.enabled;
  return {};
}

function deleteRule(input: Input, context: OperationContext): object {
  const bus = busOf(input, context);
  const name = requiredText(input, 'Name', RULE_NAME);
  if ((bus.rules.get(name)?.targets.size ?? 0) > 0) {
    throw validationError("Rule can't be deleted since it has targets.");
  }
  bus.rules.delete(name);
  return {};
}

function putTargets(input: Input, context: OperationContext): object {
  const rule = ruleOf(input, context);
  const targets = requiredList(input, 'Targets', 100).map(readTarget);
  if (!context.hasQueues) throw validationError('This bus was started without queues: it has nothing to deliver to.');
  const ids = new Set([...rule.targets.keys(), ...targets.map((target) => target.id)]);
  if (ids.size > MAX_TARGETS) throw limitExceeded();
  for (const target of targets) rule.targets.set(target.id, target);
  return { FailedEntryCount: 0, FailedEntries: [] };
}

function listTargetsByRule(input: Input, context: OperationContext): object {
  const { items, nextToken } = page([...ruleOf(input, context).targets.values()], input);
  return { Targets: items.map((target) => target.asGiven), NextToken: nextToken };
}

function removeTargets(input: Input, context: OperationContext): object {
  const rule = ruleOf(input, context);
  const failed = requiredList(input, 'Ids', 100)
    .filter((id) => typeof id !== 'string' || !rule.targets.delete(id))
    .map((id) => ({
      TargetId: id,
      ErrorCode: 'ResourceNotFoundException',
      ErrorMessage: `Rule ${rule.name} does not have a target with this id.`,
    }));
  return { FailedEntryCount: failed.length, FailedEntries: failed };
}

/** Members that the real service wants in an event to test, beside a valid JSON object. */
const EVENT_MEMBERS = ['id', 'account', 'source', 'time', 'region', 'resources', 'detail-type'];

function testEventPattern(input: Input): object {
  const pattern = compile(requiredText(input, 'EventPattern', { maxLength: 4_096 }));
  const event = parseEvent(requiredText(input, 'Event', { maxLength: 1_048_576 }));
  const missing = EVENT_MEMBERS.filter((member) => event[member] === undefined);
  if (missing.length > 0) {
    throw validationError(`Parameter Event is not valid. Reason: it lacks ${missing.join(', ')}.`);
  }
  return { Result: pattern.matches(event) };
}

function parseEvent(text: string): Input {
  let event: unknown;
  try {
    event = parseExactJson(text);
  } catch {
    event = undefined;
  }
  if (!isInput(event)) throw validationError('Parameter Event is not valid. Reason: it must be a JSON object.');
  return event;
}

function compile(pattern: string): EventPattern {
  try {
    return compilePattern(pattern);
  } catch (error) {
    if (!(error instanceof InvalidPatternError)) throw error;
    throw new ServiceError('InvalidEventPatternException', error.message);
  }
}

function readState(input: Input): boolean {
  const state = optionalText(input, 'State', { maxLength: 64 }) ?? 'ENABLED';
  if (!['ENABLED', 'DISABLED', 'ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS'].includes(state)) {
    throw validationError(
      "1 validation error detected: Value at 'state' failed to satisfy constraint: Member must satisfy enum value set: " +
        '[ENABLED, DISABLED, ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS]',
    );
  }
  return state !== 'DISABLED';
}

function busOf(input: Input, { registry, caller }: Pick<OperationContext, 'registry' | 'caller'>): Bus {
  return registry.get(optionalText(input, 'EventBusName', BUS_NAME_OR_ARN), caller);
}

function ruleOf(input: Input, context: OperationContext): Rule {
  return getRule(busOf(input, context), requiredText(input, 'Rule', RULE_NAME));
}

function busView(bus: Bus): object {
  const { name, arn, description, createdAt } = bus;
  return { Name: name, Arn: arn, Description: description, CreationTime: createdAt, LastModifiedTime: createdAt };
}

function ruleView(rule: Rule): object {
  return {
    Name: rule.name,
    Arn: rule.arn,
    EventPattern: rule.patternText,
    State: rule.enabled ? 'ENABLED' : 'DISABLED',
    Description: rule.description,
    RoleArn: rule.roleArn,
    EventBusName: rule.busName,
  };
}
