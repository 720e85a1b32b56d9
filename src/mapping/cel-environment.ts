import { Environment, type ASTNode } from '@marcbachmann/cel-js';
import { add, compare, Decimal, divide, formatDecimal, multiply, parseDecimal, round, subtract } from './decimal.ts';
import { TIMESTAMP } from './cel-values.ts';

const DURATION = 'google.protobuf.Duration';
/** Digits after the point that `divide` and `round` may be asked for; PostgreSQL's own limit of a declared scale is 1000. */
const MAX_SCALE = 1_000n;

/**
 * CEL with what PostgreSQL's columns need: exact decimals, and NULL that can be compared with every type. Division of
 * decimals has no operator, since a quotient is not exact: `row.total.divide(3, 2)` says how many digits it shall have.
 */
export function celEnvironment(): Environment {
  const environment = new Environment({
    limits: { maxAstNodes: 2_000, maxDepth: 100, maxListElements: 500, maxMapEntries: 500, maxCallArguments: 16 },
  });
  environment.registerType('decimal', { ctor: Decimal, fields: {} });
  for (const [other, convert] of operands) {
    const decimal = (value: unknown) => convert(value as never);
    for (const [operator, apply] of arithmetic) {
      environment.registerOperator(`decimal ${operator} ${other}: decimal`, (a: Decimal, b: unknown) =>
        apply(a, decimal(b)),
      );
      if (other === 'decimal') continue;
      environment.registerOperator(`${other} ${operator} decimal: decimal`, (a: unknown, b: Decimal) =>
        apply(decimal(a), b),
      );
    }
    for (const [operator, holds] of comparison) {
      environment.registerOperator(`decimal ${operator} ${other}`, (a: Decimal, b: unknown) =>
        holds(compare(a, decimal(b))),
      );
      if (other === 'decimal') continue;
      environment.registerOperator(`${other} ${operator} decimal`, (a: unknown, b: Decimal) =>
        holds(compare(decimal(a), b)),
      );
    }
    environment.registerOperator(`decimal == ${other}`, (a: Decimal, b: unknown) => compare(a, decimal(b)) === 0);
    environment.registerFunction(`decimal(${other}): decimal`, (value: unknown) => decimal(value));
    environment.registerFunction(`decimal.divide(${other}, int): decimal`, (a: Decimal, b: unknown, scale: bigint) => {
      const quotient = divide(a, decimal(b), checkedScale(scale));
      if (quotient === undefined) throw new RangeError('division by zero');
      return quotient;
    });
  }
  environment.registerOperator('-decimal', (a: Decimal) => new Decimal(-a.unscaled, a.scale));
  environment.registerFunction('decimal(string): decimal', (text: string) => {
    const value = parseDecimal(text);
    if (value === undefined) throw new RangeError('not a decimal number');
    return value;
  });
  environment.registerFunction('decimal.round(int): decimal', (a: Decimal, scale: bigint) =>
    round(a, checkedScale(scale)),
  );
  environment.registerFunction('string(decimal): string', formatDecimal);
  environment.registerFunction('double(decimal): double', (a: Decimal) => Number(formatDecimal(a)));
  environment.registerFunction('int(decimal): int', (a: Decimal) => a.unscaled / 10n ** BigInt(a.scale));
  environment.registerFunction(`string(${TIMESTAMP}): string`, (date: Date) => formatTimestamp(date));
  for (const type of [
    'string',
    'bool',
    'int',
    'uint',
    'double',
    'decimal',
    'bytes',
    'list',
    'map',
    TIMESTAMP,
    DURATION,
  ]) {
    environment.registerOperator(`${type} == null`, (a: unknown, b: unknown) => a === b);
  }
  return environment;
}

/** As `to_jsonb` writes timestamptz at UTC: no fraction where it is zero, offset `+00:00`. */
export function formatTimestamp(date: Date): string {
  const iso = date.toISOString();
  const millis = iso.slice(19, 23).replace(/\.?0+$/, '');
  return `${iso.slice(0, 19)}${millis}+00:00`;
}

const arithmetic: readonly (readonly [string, (a: Decimal, b: Decimal) => Decimal])[] = [
  ['+', add],
  ['-', subtract],
  ['*', multiply],
];

const comparison: readonly (readonly [string, (order: number) => boolean])[] = [
  ['<', (order) => order < 0],
  ['<=', (order) => order <= 0],
  ['>', (order) => order > 0],
  ['>=', (order) => order >= 0],
];

/** A double counts as its shortest decimal form, so that `row.price > 9.99` compares with 9.99 and not with what binary makes of it. */
const operands: readonly (readonly [string, (value: never) => Decimal])[] = [
  ['decimal', (value: Decimal) => value],
  ['int', (value: bigint) => new Decimal(value, 0)],
  [
    'double',
    (value: number) => {
      const decimal = parseDecimal(`${value}`);
      if (decimal === undefined) throw new RangeError('a decimal has no NaN and no infinity');
      return decimal;
    },
  ],
];

function checkedScale(scale: bigint): number {
  if (scale < 0n || scale > MAX_SCALE) throw new RangeError(`digits after the point must be 0 to ${MAX_SCALE}`);
  return Number(scale);
}

export interface ColumnUse {
  readonly variable: 'row' | 'old';
  readonly column: string;
  /** Offset in the expression. */
  readonly position: number;
}

export interface ExpressionUses {
  readonly columns: readonly ColumnUse[];
  readonly old: boolean;
  /** What the type checker does not refuse, and we do. */
  readonly refusals: readonly { readonly message: string; readonly position: number }[];
}

/** What an expression names, found before it runs: so that only those columns are decoded, and all of them are known to exist. */
export function usesOf(root: ASTNode): ExpressionUses {
  const columns: ColumnUse[] = [];
  const refusals: { message: string; position: number }[] = [];
  let old = false;
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) {
      for (const item of node) visit(item);
      return;
    }
    if (!isNode(node)) return;
    if ((node.op === '.' || node.op === '[]') && isVariable(node.args[0])) {
      const [variable, key] = node.args;
      const name = variable.args;
      old ||= name === 'old';
      const column =
        typeof key === 'string' ? key : key.op === 'value' && typeof key.args === 'string' ? key.args : undefined;
      const position = typeof key === 'string' ? node.start : key.start;
      if (column === undefined) {
        refusals.push({ message: `name the column, as in ${name}.status or ${name}['status']`, position });
        visit(key);
      } else columns.push({ variable: name, column, position });
      return;
    }
    if ((node.op === '==' || node.op === '!=') && node.args.some(isNullLiteral)) {
      for (const side of node.args) {
        if (isVariable(side) && side.args === 'old') old = true;
        else visit(side);
      }
      return;
    }
    if (isVariable(node)) {
      refusals.push({ message: `${node.args} is no value by itself: name its columns`, position: node.start });
      return;
    }
    // Its patterns are JavaScript regular expressions, and one that backtracks would stop the whole stream.
    if (node.op === 'rcall' && node.args[0] === 'matches') {
      refusals.push({
        message: 'matches() is switched off: a regular expression can hang; use contains, startsWith, endsWith or in',
        position: node.start,
      });
    }
    visit(node.args);
  };
  visit(root);
  return { columns, old, refusals };
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
}

function isVariable(node: unknown): node is ASTNode & { readonly op: 'id'; readonly args: 'row' | 'old' } {
  return isNode(node) && node.op === 'id' && (node.args === 'row' || node.args === 'old');
}

function isNullLiteral(node: ASTNode): boolean {
  return node.op === 'value' && node.args === null;
}
