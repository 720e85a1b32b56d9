import { EvaluationError } from '@marcbachmann/cel-js';
import { formatPath, type Path } from '../config/problem.ts';
import { parseReference } from '../config/reference.ts';
import type { Derived, EventField } from '../config/reverse-schema.ts';
import { BanyanError } from '../core/errors.ts';
import { celEnvironment, usesOf } from '../mapping/cel-environment.ts';
import { celToJson } from '../mapping/cel-json.ts';
import { type Decimal, parseDecimal } from '../mapping/decimal.ts';
import type { Envelope } from './envelope.ts';
import { type ExactNumber, isJsonObject, isNumber, type Json, type JsonObject, numberText } from './json.ts';
import { parseExact } from './json-parse.ts';

/** Where a value of an intent comes from. */
export interface FieldReader {
  /** How messages call it: the path in the event, or the place of the expression or constant in the configuration. */
  readonly place: Path;
  /** undefined: the event does not have it. Throws `row-refused` where an expression fails. */
  read(view: EventView): Json | undefined;
}

/** One event, with what expressions see of it made once, when the first asks. */
export class EventView {
  readonly envelope: Envelope;
  #variables: Readonly<Record<string, unknown>> | undefined;

  constructor(envelope: Envelope) {
    this.envelope = envelope;
  }

  get variables(): Readonly<Record<string, unknown>> {
    if (this.#variables === undefined) {
      const event = toCel(this.envelope.event) as ReadonlyMap<string, unknown>;
      this.#variables = { event, detail: event.get('detail'), time: this.envelope.time ?? null };
    }
    return this.#variables;
  }
}

/** `path`: of the option in the configuration. Returns the reason where an expression or reference is none. */
export function fieldReader(field: EventField | Derived, path: Path): FieldReader | { readonly invalid: string } {
  if (typeof field === 'string') {
    const parsed = parseReference(field);
    if (!parsed.ok) return { invalid: parsed.message };
    return { place: parsed.path, read: (view) => valueAt(view.envelope.event, parsed.path) };
  }
  if ('cel' in field) return expressionReader(field.cel, path);
  // As JSON, so that it is a value of the event's kind.
  const { value } = parseExact(JSON.stringify(field.value));
  return { place: path, read: () => value };
}

/** What stands at a path; only what is the event's own, whatever its names are. */
export function valueAt(event: JsonObject, path: Path): Json | undefined {
  let value: Json | undefined = event;
  for (const step of path) {
    if (Array.isArray(value)) value = typeof step === 'number' ? (value as readonly Json[])[step] : undefined;
    else if (isJsonObject(value)) value = Object.hasOwn(value, step) ? value[step] : undefined;
    else return undefined;
  }
  return value;
}

function expressionReader(source: string, path: Path): FieldReader | { readonly invalid: string } {
  const environment = celEnvironment()
    .registerVariable('detail', 'map')
    .registerVariable('event', 'map')
    .registerVariable('time', 'dyn');
  const checked = environment.check(source);
  if (!checked.valid) return { invalid: summaryOf(checked.error) };
  const run = environment.parse(source);
  const [refused] = usesOf(run.ast).refusals;
  if (refused !== undefined) return { invalid: refused.message };
  return {
    place: path,
    read(view) {
      try {
        return parseExact(celToJson(run(view.variables), { numbers: 'json', bigIntegers: false })).value;
      } catch (error) {
        throw new BanyanError('row-refused', `${formatPath(path)}: the expression ${reasonOf(error)}`, {
          context: { path: formatPath(path) },
          remedy: MEND,
        });
      }
    },
  };
}

/** What to do about an event that does not say what its row needs. */
export const MEND =
  'mend the producer or the entry of reverse.apply, restart, then `banyan dead-letters redrive`, or discard the event';

/** The library's own message may hold a value of the event, so only its code is kept; ours hold none. */
function reasonOf(error: unknown): string {
  if (error instanceof EvaluationError) {
    const isAbsence = error.code === 'no_such_key' || error.code === 'index_out_of_bounds';
    return isAbsence ? 'needs what the event does not have' : `fails with ${error.code}`;
  }
  if (error instanceof RangeError || error instanceof BanyanError) return `fails: ${error.message}`;
  return `fails with ${error instanceof Error ? error.name : typeof error}`;
}

function summaryOf(error: unknown): string {
  const { summary } = error as { readonly summary?: string };
  return summary ?? 'the expression does not parse';
}

const INT64 = { lowest: -(2n ** 63n), highest: 2n ** 63n - 1n };

/**
 * JSON as expressions see it: whole numbers are int, others exact decimals, as numeric columns are. Objects are Maps, whose names can collide with nothing.
 */
function toCel(value: Json): unknown {
  if (isNumber(value)) return numberToCel(value);
  if (Array.isArray(value)) return (value as readonly Json[]).map(toCel);
  if (!isJsonObject(value)) return value;
  return new Map(Object.entries(value).map(([name, member]) => [name, toCel(member)]));
}

function numberToCel(value: number | ExactNumber): bigint | Decimal | number {
  const text = numberText(value);
  if (/^-?\d{1,19}$/.test(text)) {
    const whole = BigInt(text);
    if (whole >= INT64.lowest && whole <= INT64.highest) return whole;
  }
  // Ten thousand digits are no number that anyone computes with, and would cost whoever tries.
  const isHuge = text.length > 1_000 || /[eE][+-]?\d{4}/.test(text);
  return (isHuge ? undefined : parseDecimal(text)) ?? Number(text);
}
