import type { EventPattern } from '../core/pattern.ts';
import { ServiceError, validationError } from './wire.ts';
import type { Caller, Input } from './wire.ts';

/** Soft quotas of the real service, per account and region, bus, rule. */
export const MAX_BUSES = 100;
export const MAX_RULES = 300;
export const MAX_TARGETS = 5;

export interface QueueAddress {
  readonly region: string;
  readonly name: string;
}

/** What of a matched event goes to a target. */
export type TargetInput =
  | { readonly kind: 'event' }
  | { readonly kind: 'constant'; readonly text: string }
  | { readonly kind: 'path'; readonly path: readonly (string | number)[] };

export interface Target {
  readonly id: string;
  readonly arn: string;
  readonly queue: QueueAddress;
  readonly input: TargetInput;
  readonly messageGroupId: string | undefined;
  readonly deadLetter: { readonly arn: string; readonly queue: QueueAddress } | undefined;
  /** As PutTargets got it, for ListTargetsByRule. */
  readonly asGiven: Input;
}

export interface Rule {
  readonly name: string;
  readonly arn: string;
  readonly busName: string;
  patternText: string;
  pattern: EventPattern;
  enabled: boolean;
  description: string | undefined;
  roleArn: string | undefined;
  readonly targets: Map<string, Target>;
}

export interface Bus {
  readonly name: string;
  readonly arn: string;
  readonly description: string | undefined;
  /** Seconds since 1970-01-01 UTC, as the wire protocol has times. */
  readonly createdAt: number;
  readonly rules: Map<string, Rule>;
}

/** All buses of all accounts and regions; `default` is there from the start in each. */
export class Registry {
  readonly #buses = new Map<string, Bus>();

  get size(): number {
    return this.#buses.size;
  }

  create(name: string, description: string | undefined, caller: Caller): Bus {
    const arn = busArn(name, caller);
    if (name === 'default' || this.#buses.has(arn)) {
      throw new ServiceError('ResourceAlreadyExistsException', `Event bus ${name} already exists.`);
    }
    if (this.list(caller).length >= MAX_BUSES) throw limitExceeded();
    const bus: Bus = { name, arn, description, createdAt: nowSeconds(), rules: new Map() };
    this.#buses.set(arn, bus);
    return bus;
  }

  /** By name or ARN; undefined is the default bus. */
  find(nameOrArn: string | undefined, caller: Caller): Bus | undefined {
    const name = nameOrArn ?? 'default';
    const arn = name.startsWith('arn:') ? name : busArn(name, caller);
    const bus = this.#buses.get(arn);
    if (bus !== undefined || arn !== busArn('default', caller)) return bus;
    const created: Bus = { name: 'default', arn, description: undefined, createdAt: nowSeconds(), rules: new Map() };
    this.#buses.set(arn, created);
    return created;
  }

  get(nameOrArn: string | undefined, caller: Caller): Bus {
    const bus = this.find(nameOrArn, caller);
    if (bus === undefined) {
      throw new ServiceError('ResourceNotFoundException', `Event bus ${busNameOf(nameOrArn)} does not exist.`);
    }
    return bus;
  }

  /** Sorted by name. */
  list(caller: Caller): readonly Bus[] {
    this.find('default', caller);
    const prefix = busArn('', caller);
    const buses = [...this.#buses.values()].filter((bus) => bus.arn.startsWith(prefix));
    return buses.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** A bus that does not exist is deleted already. */
  delete(name: string, caller: Caller): void {
    if (busNameOf(name) === 'default') throw validationError('Cannot delete event bus default.');
    const bus = this.find(name, caller);
    if (bus === undefined) return;
    if (bus.rules.size > 0) throw validationError(`Event bus ${bus.name} can't be deleted since it has rules.`);
    this.#buses.delete(bus.arn);
  }
}

export function getRule(bus: Bus, name: string): Rule {
  const rule = bus.rules.get(name);
  if (rule === undefined) {
    throw new ServiceError('ResourceNotFoundException', `Rule ${name} does not exist on EventBus ${bus.name}.`);
  }
  return rule;
}

export function limitExceeded(): ServiceError {
  return new ServiceError('LimitExceededException', 'The requested resource exceeds the maximum number allowed.');
}

export function ruleArn(bus: Bus, ruleName: string): string {
  const path = bus.name === 'default' ? ruleName : `${bus.name}/${ruleName}`;
  return `${bus.arn.slice(0, bus.arn.indexOf(':event-bus/'))}:rule/${path}`;
}

/** `arn:aws:sqs:REGION:ACCOUNT:NAME`; undefined for every other ARN. */
export function queueAddress(arn: string): QueueAddress | undefined {
  const [prefix, partition, service, region, account, name, ...rest] = arn.split(':');
  if (prefix !== 'arn' || partition?.startsWith('aws') !== true || service !== 'sqs' || rest.length > 0)
    return undefined;
  if (!region || !account || !name) return undefined;
  return { region, name };
}

function busArn(name: string, { account, region }: Caller): string {
  return `arn:aws:events:${region}:${account}:event-bus/${name}`;
}

function busNameOf(nameOrArn = 'default'): string {
  return nameOrArn.slice(nameOrArn.indexOf(':event-bus/') < 0 ? 0 : nameOrArn.indexOf('/') + 1);
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1_000);
}
