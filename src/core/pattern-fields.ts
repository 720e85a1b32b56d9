import type { Scalar } from './pattern-json.ts';

/** The element of an array that a value was found in, and the elements around it. The array itself is its identity. */
export interface Membership {
  readonly array: readonly unknown[];
  readonly index: number;
  readonly outer: Membership | undefined;
}

export interface Field {
  readonly value: Scalar;
  /** undefined: the value is in no array, or directly in one that is in no other. */
  readonly membership: Membership | undefined;
}

/** A dotted path, prepared so that the keys `a.b` and `a: { b }` are the same field, as AWS's rule engine has it. */
export interface FieldPath {
  readonly name: string;
  readonly length: number;
  /** By the number of segments consumed: the keys that may come next, and the number of segments consumed behind each. */
  readonly steps: readonly (readonly FieldStep[])[];
}

interface FieldStep {
  readonly key: string;
  readonly next: number;
}

export function fieldPath(name: string): FieldPath {
  const segments = name.split('.');
  const steps = segments.map((_, from) =>
    segments.slice(from).map((_segment, more) => ({
      key: segments.slice(from, from + more + 1).join('.'),
      next: from + more + 1,
    })),
  );
  return { name, length: segments.length, steps };
}

/** Every scalar at `path`. Arrays count as their elements, however deeply nested; `{}` and `[]` hold nothing. */
export function collectFields(event: object, path: FieldPath): readonly Field[] {
  const fields: Field[] = [];
  // A stack of our own: arrays nest as deep as the sender likes.
  const rest: Place[] = [];
  let place: Place | undefined = { value: event, at: 0, membership: undefined };
  while (place !== undefined) {
    const { value, at, membership }: Place = place;
    place = undefined;
    if (typeof value !== 'object' || value === null) {
      if (at === path.length) fields.push({ value: value as Scalar, membership });
    } else if (Array.isArray(value)) {
      const array = value as readonly unknown[];
      for (let index = 0; index < array.length; index++) {
        const element = array[index];
        if (typeof element === 'object' && element !== null) {
          rest.push({ value: element, at, membership: { array, index, outer: membership } });
        } else if (at === path.length) {
          fields.push({ value: element as Scalar, membership });
        }
      }
    } else if (at < path.length) {
      const steps: readonly FieldStep[] = path.steps[at] ?? [];
      for (let index = 0; index < steps.length; index++) {
        const step: FieldStep | undefined = steps[index];
        if (step === undefined || !Object.hasOwn(value, step.key)) continue;
        if (place !== undefined) rest.push(place);
        place = { value: (value as Readonly<Record<string, unknown>>)[step.key], at: step.next, membership };
      }
    }
    place ??= rest.pop();
  }
  return fields;
}

/** A value on the way to a path's end: `at` segments are behind it. */
interface Place {
  readonly value: unknown;
  readonly at: number;
  readonly membership: Membership | undefined;
}

/** Whether two values may belong to one match: where both are in the same array, they are in the same element of it. */
export function areConsistent(a: Membership, b: Membership): boolean {
  for (let left: Membership | undefined = a; left !== undefined; left = left.outer) {
    for (let right: Membership | undefined = b; right !== undefined; right = right.outer) {
      if (left.array === right.array && left.index !== right.index) return false;
    }
  }
  return true;
}
