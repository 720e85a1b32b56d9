import { parseAddress, parseCidr } from './pattern-address.ts';
import type { AddressRange } from './pattern-address.ts';
import type { Scalar } from './pattern-json.ts';
import { ignoreCase, wildcard } from './pattern-text.ts';
import type { TextTest } from './pattern-text.ts';

export type ValueTest = (value: Scalar) => boolean;

/** What the array behind one field name says: any of these is enough. */
export interface FieldTest {
  readonly exact: ReadonlySet<Scalar>;
  readonly tests: readonly ValueTest[];
  /** `exists: false` is among the values: the field may be absent. */
  readonly absent: boolean;
}

/** Reports why the pattern is not valid; never returns. `path` is relative to the field. */
export type Refuse = (reason: string, path?: string) => never;

/** The names that a match expression may have; also what a branch of `$or` can not be called. */
export const OPERATORS: ReadonlySet<string> = new Set(
  (
    'exactly equals-ignore-case prefix suffix anything-but exists wildcard numeric cidr = < <= > >= ' +
    'regex not-wildcard not-equals-ignore-case date-after date-on-or-after date-before date-on-or-before in-date-range ' +
    'ip-address-in-range ip-address-not-in-range'
  ).split(' '),
);

export function compileField(values: readonly unknown[], refuse: Refuse): FieldTest {
  if (values.length === 0) refuse('Empty arrays are not allowed');
  const exact = new Set<Scalar>();
  const tests: ValueTest[] = [];
  let absent = false;
  for (const [index, value] of values.entries()) {
    const refuseHere: Refuse = (reason, path = '') => refuse(reason, `[${index}]${path}`);
    if (isScalar(value)) {
      addExact(exact, value);
      // The same address may be written in several ways, of IPv6 above all.
      const address = typeof value === 'string' ? parseAddress(value) : undefined;
      if (address !== undefined) tests.push(inRange({ bits: address.bits, bottom: address.value, top: address.value }));
    } else if (isObject(value)) {
      const { name, operand } = onlyMember(value, refuseHere);
      const refuseOperand: Refuse = (reason, path = '') => refuseHere(reason, `.${name}${path}`);
      if (name === 'exists' && operand === false) absent = true;
      else tests.push(compileOperator(name, operand, refuseOperand));
    } else {
      refuseHere('Match value must be String, number, true, false, or null');
    }
  }
  return { exact, tests, absent };
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function compileOperator(name: string, operand: unknown, refuse: Refuse): ValueTest {
  switch (name) {
    case 'exactly': {
      const text = textOf(operand, refuse, 'exact');
      return (value) => value === text;
    }
    case 'prefix':
    case 'suffix':
    case 'equals-ignore-case':
    case 'wildcard':
      return onText(compileText(name, operand, refuse));
    case 'cidr': {
      const range = parseCidr(textOf(operand, refuse, 'cidr'));
      return 'invalid' in range ? refuse(range.invalid) : inRange(range);
    }
    case 'exists':
      if (typeof operand !== 'boolean') refuse('exists match pattern must be either true or false.');
      return () => true;
    case 'numeric':
      if (!Array.isArray(operand)) refuse('Value of numeric must be an array.');
      return compileNumeric(operand as readonly unknown[], refuse);
    case 'anything-but':
      return compileAnythingBut(operand, refuse);
    default:
      return refuse(`Unrecognized match type ${name}`);
  }
}

type TextOperator = 'prefix' | 'suffix' | 'equals-ignore-case' | 'wildcard';

function compileText(name: TextOperator, operand: unknown, refuse: Refuse): TextTest {
  if ((name === 'prefix' || name === 'suffix') && isObject(operand)) {
    const inner = onlyMember(operand, refuse);
    if (inner.name !== 'equals-ignore-case') refuse(`Unsupported ${name} pattern: ${inner.name}`);
    return ignoreCase(textOf(inner.operand, refuse, 'equals-ignore-case'), name);
  }
  const text = textOf(operand, refuse, name);
  switch (name) {
    case 'prefix':
      return (value) => value.startsWith(text);
    case 'suffix':
      return (value) => value.endsWith(text);
    case 'equals-ignore-case':
      return ignoreCase(text, 'whole');
    default: {
      const test = wildcard(text);
      return typeof test === 'function' ? test : refuse(test.invalid);
    }
  }
}

/** Needs the field to be there; takes every kind of value that is not among those named. */
function compileAnythingBut(operand: unknown, refuse: Refuse): ValueTest {
  if (isObject(operand)) {
    const { name, operand: inner } = onlyMember(operand, refuse);
    if (name !== 'prefix' && name !== 'suffix' && name !== 'equals-ignore-case' && name !== 'wildcard') {
      return refuse(`Unsupported anything-but pattern: ${name}`);
    }
    const unwanted = (Array.isArray(inner) ? (inner as readonly unknown[]) : [inner]).map((text) => {
      if (typeof text !== 'string') refuse(`${name} match pattern must be a string`, `.${name}`);
      if (text === '' && (name === 'prefix' || name === 'suffix')) refuse('Null prefix/suffix not allowed', `.${name}`);
      return compileText(name, text, (reason) => refuse(reason, `.${name}`));
    });
    if (unwanted.length === 0) refuse('Empty arrays are not allowed', `.${name}`);
    return (value) => typeof value !== 'string' || !unwanted.some((test) => test(value));
  }
  const listed: readonly unknown[] = Array.isArray(operand) ? (operand as readonly unknown[]) : [operand];
  const unwanted = new Set<Scalar>();
  for (const value of listed) {
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'bigint') {
      return refuse('Value of anything-but must be an array or single string/number value.');
    }
    addExact(unwanted, value);
  }
  if (listed.length === 0) refuse('Empty arrays are not allowed');
  if (new Set(listed.map((value) => typeof value === 'string')).size > 1) {
    refuse('Inside anything but list, either all values are number or string, mixed type is not supported');
  }
  return (value) => !unwanted.has(value);
}

type Bound = { readonly value: number | bigint; readonly open: boolean };

function compileNumeric(expression: readonly unknown[], refuse: Refuse): ValueTest {
  const [operator, , second] = expression;
  if (operator === '=') {
    const wanted = new Set<Scalar>();
    addExact(wanted, numberAt(expression, 1, refuse));
    if (expression.length > 2) refuse('Too many elements in numeric expression');
    return (value) => wanted.has(value);
  }
  let bottom: Bound | undefined;
  let top: Bound | undefined;
  if (operator === '<' || operator === '<=') {
    top = { value: numberAt(expression, 1, refuse), open: operator === '<' };
    if (expression.length > 2) refuse('Too many elements in numeric expression');
  } else if (operator === '>' || operator === '>=') {
    bottom = { value: numberAt(expression, 1, refuse), open: operator === '>' };
    if (expression.length > 2) {
      if (second !== '<' && second !== '<=') refuse(`Bad numeric range operator: ${describe(second)}`);
      top = { value: numberAt(expression, 3, refuse), open: second === '<' };
      if (expression.length > 4) refuse('Too many elements in numeric expression');
      if (bottom.value >= top.value) refuse('Bottom must be less than top');
    }
  } else {
    refuse(
      expression.length === 0
        ? 'Empty arrays are not allowed'
        : `Unrecognized numeric range operator: ${describe(operator)}`,
    );
  }
  return (value) => {
    if (typeof value !== 'number' && typeof value !== 'bigint') return false;
    if (bottom !== undefined && (bottom.open ? value <= bottom.value : value < bottom.value)) return false;
    return top === undefined || (top.open ? value < top.value : value <= top.value);
  };
}

function numberAt(expression: readonly unknown[], index: number, refuse: Refuse): number | bigint {
  const value = expression[index];
  if (typeof value === 'number' || typeof value === 'bigint') return value;
  return refuse(`Value of ${describe(expression[index - 1])} must be numeric`);
}

function onlyMember(
  expression: Readonly<Record<string, unknown>>,
  refuse: Refuse,
): { readonly name: string; readonly operand: unknown } {
  const [name, ...others] = Object.keys(expression);
  if (name === undefined) return refuse('Match expression name not found');
  if (others.length > 0) refuse('Only one key allowed in match expression');
  return { name, operand: expression[name] };
}

function textOf(operand: unknown, refuse: Refuse, name: string): string {
  return typeof operand === 'string' ? operand : refuse(`${name} match pattern must be a string`);
}

function onText(test: TextTest): ValueTest {
  return (value) => typeof value === 'string' && test(value);
}

function inRange(range: AddressRange): ValueTest {
  return (value) => {
    const address = typeof value === 'string' ? parseAddress(value) : undefined;
    if (address === undefined || address.bits !== range.bits) return false;
    return address.value >= range.bottom && address.value <= range.top;
  };
}

function isScalar(value: unknown): value is Scalar {
  return value === null || ['string', 'number', 'bigint', 'boolean'].includes(typeof value);
}

/** An integer beyond 2^53 goes in as bigint and as double: events reach us through either kind of parser. */
function addExact(values: Set<Scalar>, value: Scalar): void {
  values.add(value);
  if (typeof value === 'bigint') values.add(Number(value));
  else if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    values.add(BigInt(value));
  }
}

function describe(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? 'nothing' : typeof value;
}
