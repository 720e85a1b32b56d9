import { formatPath } from '../config/problem.ts';
import { BanyanError } from '../core/errors.ts';
import { encodePart } from '../mapping/ordering-key.ts';
import { wholeNumber } from './cast-number.ts';
import { MAX_KEY_BYTES } from '../state/legacy-changes.ts';
import type { CompiledEntry } from './compile.ts';
import type { Envelope } from './envelope.ts';
import { EventView, type FieldReader, MEND, valueAt } from './event-field.ts';
import type { Intent } from './intent.ts';
import { isNumber, type Json, kindOfJson, numberText } from './json.ts';
import { Misfit } from './misfit.ts';
import { microsOf } from './moment.ts';
import type { ColumnPlan, TargetPlan } from './target.ts';

/** An entry that takes the event and can make nothing of it. */
export interface EntryFailure {
  /** Index in `reverse.apply`. */
  readonly entry: number;
  /** `schema.name` */
  readonly table: string;
  /** `row-refused` where the event does not say what the row needs, `schema-drift` where the entry does not fit its table. */
  readonly error: BanyanError;
  /** `Target.id`, where the entry fits its table. */
  readonly target: string | undefined;
  /** Of the row, where the event tells its key. */
  readonly lane: string | undefined;
  readonly version: string | undefined;
}

/** What an event asks for, entry by entry: each has an intent or a failure, since none is to wait for another. */
export interface EventReading {
  readonly intents: readonly Intent[];
  readonly failures: readonly EntryFailure[];
}

/** What events ask of rows, by all entries of `reverse.apply`. Pure and synchronous. */
export interface ReverseMapper {
  /** Both are empty where no entry takes the event. Throws `mapping-failed` where two entries would be one in the inbox. */
  read(envelope: Envelope): EventReading;
  /** The intents. Throws the error of the first failure. */
  map(envelope: Envelope): readonly Intent[];
}

/** Part of a key of ours, as `MAX_KEY_BYTES` is. */
const MAX_ID_BYTES = 500;
const MAX_HOPS = 100;
const SEQUENCE = /^\d{4}-\d{8}-[\dA-F]{16}-\d{10}-\d{2}$/;

export function reverseMapper(entries: readonly CompiledEntry[]): ReverseMapper {
  const read = (envelope: Envelope): EventReading => {
    const matching = entries.filter(({ pattern }) => pattern.matches(envelope.plain));
    refuseTwins(matching);
    const view = new EventView(envelope);
    const intents: Intent[] = [];
    const failures: EntryFailure[] = [];
    for (const entry of matching) {
      try {
        intents.push(intentOf(planOf(entry), view));
      } catch (error) {
        if (!(error instanceof BanyanError)) throw error;
        failures.push({ entry: entry.index, table: entry.table, error, ...placeOf(entry, view) });
      }
    }
    return { intents, failures };
  };
  return {
    read,
    map(envelope) {
      const { intents, failures } = read(envelope);
      const [first] = failures;
      if (first !== undefined) throw first.error;
      return intents;
    },
  };
}

function refuseTwins(entries: readonly CompiledEntry[]): void {
  const seen = new Map<string, number>();
  for (const { index, plan } of entries) {
    if (plan === undefined) continue;
    const twin = seen.get(plan.target.id);
    if (twin !== undefined) {
      throw new BanyanError(
        'mapping-failed',
        `reverse.apply[${twin}] and reverse.apply[${index}] both take the event for the same columns of the same row`,
        { remedy: `narrow \`match\` of one of them, restart, then \`banyan dead-letters redrive\`` },
      );
    }
    seen.set(plan.target.id, index);
  }
}

/** Where an event stands that is otherwise not understood: later ones of its row are not to overtake it. */
function placeOf({ plan }: CompiledEntry, view: EventView): Pick<EntryFailure, 'target' | 'lane' | 'version'> {
  if (plan === undefined) return { target: undefined, lane: undefined, version: undefined };
  const { version: reader } = plan;
  return {
    target: plan.target.id,
    lane: readable(() => laneOf(plan, keyOf(plan, view))),
    version: reader === undefined ? undefined : readable(() => version(reader, view)),
  };
}

function readable<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof BanyanError)) throw error;
    return undefined;
  }
}

function planOf({ index, table, plan, findings }: CompiledEntry): TargetPlan {
  if (plan !== undefined) return plan;
  const [first] = findings;
  throw new BanyanError(
    'schema-drift',
    `${first?.path ?? `reverse.apply[${index}]`}: ${first?.message ?? 'not compiled'}`,
    {
      context: { table, code: first?.code },
      remedy: `${first?.remedy ?? 'run `banyan check`'}; restart, then \`banyan dead-letters redrive --table ${table}\``,
    },
  );
}

function intentOf(plan: TargetPlan, view: EventView): Intent {
  const { target } = plan;
  const { envelope } = view;
  const key = keyOf(plan, view);
  const columnText = (column: ColumnPlan) => cast(column, { plan, view });
  return {
    target,
    producer: envelope.source,
    eventId: eventId(plan, view),
    hops: hops(plan, view),
    eventTime: envelope.time,
    isReplay: envelope.replayName !== undefined,
    key,
    values: plan.set.map(columnText),
    version: plan.version === undefined ? undefined : version(plan.version, view),
    basedOn: plan.basedOn === undefined ? undefined : basedOn(plan.basedOn, view),
    expected: plan.expect.length === 0 ? undefined : plan.expect.map(columnText),
    lane: laneOf(plan, key),
    body: envelope.body,
  };
}

function keyOf(plan: TargetPlan, view: EventView): readonly string[] {
  const key = plan.key.map((column) => keyPart(column, { plan, view }));
  const bytes = key.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
  if (bytes <= MAX_KEY_BYTES) return key;
  throw refusal(`the key of ${tableName(plan)} is longer than ${MAX_KEY_BYTES} bytes`, plan.key[0]?.reader);
}

function laneOf(plan: TargetPlan, key: readonly string[]): string {
  return `${tableName(plan)}:${key.map(encodePart).join(',')}`;
}

function tableName({ target: { table } }: TargetPlan): string {
  return `${table.schema}.${table.name}`;
}

interface Source {
  readonly plan: TargetPlan;
  readonly view: EventView;
}

function keyPart(column: ColumnPlan, source: Source): string {
  const text = cast(column, source);
  if (text !== null) return text;
  throw refusal(`null, and ${column.column.name} is part of the key of ${tableName(source.plan)}`, column.reader);
}

/** The text that a parameter of the column takes. What the event does not have is no NULL: the row would lose what nobody meant. */
function cast({ column, reader, typeName, cast: toText }: ColumnPlan, { plan, view }: Source): string | null {
  const value = required(reader, view, `and ${column.name} of ${tableName(plan)} is set from it`);
  if (value === null) return null;
  try {
    return toText(value);
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    const place = formatPath([...reader.place, ...error.path]);
    throw new BanyanError(
      'row-refused',
      `${place}: ${error.found}, and ${column.name} of ${tableName(plan)} (${typeName}) takes ${error.wanted}`,
      { context: { path: place, column: column.name }, remedy: MEND },
    );
  }
}

function required(reader: FieldReader, view: EventView, purpose: string): Json {
  const value = reader.read(view);
  if (value === undefined) throw refusal(`missing, ${purpose}`, reader);
  return value;
}

/** By default the producer's own id, since the envelope's is a new one for every attempt to send the event. */
function eventId({ id }: TargetPlan, view: EventView): string {
  const { event } = view.envelope;
  const own = id === undefined ? (valueAt(event, ['detail', 'metadata', 'id']) ?? undefined) : undefined;
  if (id === undefined && own === undefined) return view.envelope.id;
  const place: Pick<FieldReader, 'place'> = id ?? { place: ['detail', 'metadata', 'id'] };
  const value = id === undefined ? own : required(id, view, 'and it tells the event from others');
  const text = typeof value === 'string' ? value : value !== undefined && isNumber(value) ? numberText(value) : '';
  if (text === '') throw refusal(`${kindOfJson(value)}, and the id of an event is a text or a number`, place);
  if (Buffer.byteLength(text) > MAX_ID_BYTES) throw refusal(`an id longer than ${MAX_ID_BYTES} bytes`, place);
  if (text.includes('\0') || !text.isWellFormed()) {
    throw refusal('an id with characters that PostgreSQL has no place for', place);
  }
  return text;
}

function hops({ hops: reader }: TargetPlan, view: EventView): number {
  const place = reader ?? { place: ['detail', 'metadata', 'hops'] };
  const value = (reader === undefined ? valueAt(view.envelope.event, place.place) : reader.read(view)) ?? null;
  if (value === null) return 0;
  const count = wholeNumber(value);
  if (count === undefined || count < 0n || count > BigInt(MAX_HOPS)) {
    throw refusal(`${kindOfJson(value)}, and hops are a whole number from 0 to ${MAX_HOPS}`, place);
  }
  return Number(count);
}

/** Whole numbers as they are, times as their microseconds. */
function version(reader: FieldReader, view: EventView): string {
  const value = required(reader, view, 'and it is the version of the row');
  const number = wholeNumber(value) ?? (typeof value === 'string' ? microsOf(value) : undefined);
  if (number !== undefined) return number.toString();
  throw refusal(
    `${kindOfJson(value)}, and a version is a whole number, or a time with its offset and at most six digits of second`,
    reader,
  );
}

/** Where the event names none, the new system had seen nothing of ours. */
function basedOn(reader: FieldReader, view: EventView): string | undefined {
  const value = reader.read(view) ?? null;
  if (value === null) return undefined;
  if (typeof value === 'string' && SEQUENCE.test(value)) return value;
  throw refusal(`${kindOfJson(value)}, and \`basedOn\` is a metadata.sequence of our events`, reader);
}

function refusal(reason: string, reader: Pick<FieldReader, 'place'> | undefined): BanyanError {
  const path = formatPath(reader?.place ?? []);
  return new BanyanError('row-refused', `${path}: ${reason}`, { context: { path }, remedy: MEND });
}
