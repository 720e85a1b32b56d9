import { qualifiedName, quoteIdentifier } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import type { TargetColumn } from './intent.ts';

/** Whether what stands in the column is not what was meant, as the column's type sees it. */
export function differs(alias: string, target: TargetColumn, number: number): string {
  const [value, meant] = [column(alias, target.name), parameter(number, target)];
  switch (target.compareAs) {
    case 'value':
      return `${value} is distinct from ${meant}`;
    case 'jsonb':
      return `${value}::jsonb is distinct from ${meant}::jsonb`;
    case 'text':
      return `${value}::text collate "C" is distinct from ${meant}::text collate "C"`;
    default:
      return target.compareAs satisfies never;
  }
}

export function isKey(alias: string, key: readonly TargetColumn[], first: number): string {
  return key.map((each, index) => `${column(alias, each.name)} = ${parameter(first + index, each)}`).join(' and ');
}

export function parameter(number: number, { castType }: TargetColumn): string {
  return `$${number}::${castType}`;
}

export function column(alias: string, name: string): string {
  return `${alias}.${quoteIdentifier(name)}`;
}

/** A partitioned table's rows are in its partitions; a child that inherits from a plain table is a table of its own. */
export function relation(table: CatalogTable): string {
  return `${table.kind === 'partitioned' ? '' : 'only '}${qualifiedName(table)}`;
}
