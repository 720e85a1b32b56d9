import type { Tuple } from '../core/change.ts';
import type { NumbersOption } from '../postgres/values/scalars.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import type { FieldPlan } from './analyse.ts';
import { celToJson } from './cel-json.ts';
import { ABSENT_VALUE, NULL_VALUE, type Expression } from './expression.ts';

export interface DetailWriter {
  /**
   * The fields as one JSON object. A value that the server did not send is taken from `fallback`, else left out and its name
   * added to `unavailable`. Expressions are of the change that their scope has loaded.
   */
  write(row: Tuple, fallback: Tuple | undefined, unavailable: string[]): string;
}

interface Field {
  readonly name: string;
  /** `"total":` as the object's first field, and after others. */
  readonly first: string;
  readonly next: string;
  readonly column: number;
  readonly write: ((text: string) => string) | undefined;
  readonly constant: string | undefined;
  readonly expression: Expression | undefined;
}

/** The hottest loop of the mapping: fragments of keys are made beforehand, values go from PostgreSQL's text to JSON text. */
export function detailWriter(plans: readonly FieldPlan[], numbers: NumbersOption): DetailWriter {
  const fields = plans.map(fieldOf);
  const json = (expression: Expression) => {
    const value = expression.evaluate();
    if (value === ABSENT_VALUE) return undefined;
    // As in SQL: what comes out of a NULL is NULL.
    return value === NULL_VALUE ? 'null' : celToJson(value, { numbers, bigIntegers: expression.bigIntegers });
  };
  return {
    write(row, fallback, unavailable) {
      let text = '';
      let empty = true;
      for (const field of fields) {
        let value: string | undefined;
        if (field.write !== undefined) {
          let cell = row[field.column];
          if (cell === undefined && fallback !== undefined) cell = fallback[field.column];
          value = typeof cell === 'string' ? field.write(cell) : cell === null ? 'null' : undefined;
        } else {
          value = field.expression === undefined ? field.constant : json(field.expression);
        }
        if (value === undefined) {
          unavailable.push(field.name);
          continue;
        }
        text += (empty ? field.first : field.next) + value;
        empty = false;
      }
      return empty ? '{}' : `${text}}`;
    },
  };
}

function fieldOf(plan: FieldPlan): Field {
  const key = `${jsonString(plan.name)}:`;
  return {
    name: plan.name,
    first: `{${key}`,
    next: `,${key}`,
    column: plan.kind === 'column' ? plan.column.index : -1,
    write: plan.kind === 'column' ? plan.column.write : undefined,
    constant: plan.kind === 'constant' ? plan.json : undefined,
    expression: plan.kind === 'expression' ? plan.expression : undefined,
  };
}
