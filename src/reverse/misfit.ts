import { type Json, kindOfJson } from './json.ts';

/** A JSON value that a column's type has no place for. Caught where the path in the event is known; holds no value. */
export class Misfit extends Error {
  /** What it is: `a text`, `a number out of range`. */
  readonly found: string;
  /** What the type takes. */
  readonly wanted: string;
  /** From the column's value on to the place within it; filled from the inside out. */
  readonly path: (string | number)[] = [];

  constructor(found: string, wanted: string) {
    super(`${found}, where ${wanted} belongs`);
    this.name = 'Misfit';
    this.found = found;
    this.wanted = wanted;
  }
}

export function misfit(value: Json, wanted: string): Misfit {
  return new Misfit(kindOfJson(value), wanted);
}

/** Runs `read`; a misfit within it is one of the element or field `step`. */
export function within<T>(step: string | number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof Misfit) error.path.unshift(step);
    throw error;
  }
}
