import { ServiceError, validationError } from './wire.ts';
import type { Input } from './wire.ts';

export interface TextRule {
  readonly maxLength: number;
  /** The characters that AWS allows, for the message, and the test. */
  readonly pattern?: RegExp;
}

export const BUS_NAME: TextRule = { maxLength: 256, pattern: /^[/.\-_A-Za-z0-9]+$/ };
export const BUS_NAME_OR_ARN: TextRule = { maxLength: 1_600 };
export const RULE_NAME: TextRule = { maxLength: 64, pattern: /^[.\-_A-Za-z0-9]+$/ };
export const TARGET_ID: TextRule = { maxLength: 64, pattern: /^[.\-_A-Za-z0-9]+$/ };
export const ARN: TextRule = { maxLength: 1_600 };
export const DESCRIPTION: TextRule = { maxLength: 512 };

export function isInput(value: unknown): value is Input {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function requiredText(input: Input, member: string, rule: TextRule): string {
  const value = optionalText(input, member, rule);
  if (value === undefined) throw constraint(member, 'Member must not be null');
  return value;
}

/** Messages name the member and the constraint, never the value. */
export function optionalText(input: Input, member: string, rule: TextRule): string | undefined {
  const value = input[member] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw unserializable(member, value, 'String');
  if (value.length === 0) throw constraint(member, 'Member must have length greater than or equal to 1');
  if (value.length > rule.maxLength) {
    throw constraint(member, `Member must have length less than or equal to ${rule.maxLength}`);
  }
  if (rule.pattern !== undefined && !rule.pattern.test(value)) {
    throw constraint(member, `Member must satisfy regular expression pattern: ${rule.pattern.source.slice(1, -1)}`);
  }
  return value;
}

export function requiredList(input: Input, member: string, maxLength: number): readonly unknown[] {
  const value = input[member] ?? undefined;
  if (value === undefined) throw constraint(member, 'Member must not be null');
  if (!Array.isArray(value)) throw unserializable(member, value, 'List');
  if (value.length === 0) throw constraint(member, 'Member must have length greater than or equal to 1');
  if (value.length > maxLength) throw constraint(member, `Member must have length less than or equal to ${maxLength}`);
  return value;
}

/** One page of a listing; the token is the number of items before the page. */
export function page<T>(items: readonly T[], input: Input): { items: readonly T[]; nextToken: string | undefined } {
  const limit = input['Limit'] ?? 100;
  if (typeof limit !== 'number' || !Number.isInteger(limit)) throw unserializable('Limit', limit, 'Integer');
  if (limit < 1 || limit > 100) throw constraint('Limit', 'Member must be between 1 and 100');
  const token = optionalText(input, 'NextToken', { maxLength: 2_048 });
  const from = token === undefined ? 0 : Number(token);
  if (!Number.isInteger(from) || from < 0) throw validationError('Parameter NextToken is not valid.');
  const to = from + limit;
  return { items: items.slice(from, to), nextToken: to < items.length ? `${to}` : undefined };
}

/** What an operation of the real service can do and this one does not: refused, never ignored. */
export function refuseUnsupported(input: Input, members: Readonly<Record<string, string>>): void {
  for (const [member, instead] of Object.entries(members)) {
    if (input[member] !== undefined && input[member] !== null) {
      throw validationError(`${member} is not supported by the embedded bus: ${instead}`);
    }
  }
}

export function unserializable(member: string, value: unknown, wanted: string): ServiceError {
  const kind = Array.isArray(value) ? 'list' : value === null ? 'null' : typeof value;
  return new ServiceError('SerializationException', `${member}: a ${kind} can not be converted to ${wanted}`);
}

function constraint(member: string, text: string): ServiceError {
  const name = `${member.charAt(0).toLowerCase()}${member.slice(1)}`;
  return validationError(`1 validation error detected: Value at '${name}' failed to satisfy constraint: ${text}`);
}
