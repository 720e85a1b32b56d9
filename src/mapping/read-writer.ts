import { isAscii } from 'node:buffer';
import type { TransactionHeader } from '../core/change.ts';
import type { Event } from '../core/event.ts';
import { sortableLsn } from '../core/lsn.ts';
import { ByteConstant, ByteText, type ByteValue, textOf } from '../postgres/values/byte-text.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import { IS_NULL, type RowBytes, type WireRows } from '../postgres/wire-rows.ts';
import type { FieldPlan } from './analyse.ts';
import type { MappedColumn, MaskedAlready } from './columns.ts';
import type { EventHead } from './event-builder.ts';
import { encodePart, isPlainPart, NO_VALUE } from './ordering-key.ts';
import type { TransactionText } from './transaction-text.ts';

/** Rows of a chunk, and where their events stand. */
export interface Reads {
  /** Numbers of the rows. */
  readonly places: readonly number[];
  /** Of the first; the others follow. */
  readonly ordinal: number;
  readonly mark: TransactionHeader;
  readonly run: number;
}

export interface ReadWriterOptions {
  /** How many columns a row has. */
  readonly columns: number;
  /** Without the resource of the row. */
  readonly head: EventHead;
  readonly resourcePrefix: string;
  readonly groupPrefix: string;
  readonly isRelaxed: boolean;
  /** Whether no two rows have one key: else the id has the row's place too. */
  readonly tellsApart: boolean;
  /** Number of the event among those of its row. */
  readonly index: number;
  /** Metadata from behind the sequence's digits up to the key: `","operation":"read","table":"public.orders","key":` */
  readonly before: string;
  readonly key: readonly MappedColumn[];
  readonly fields: readonly FieldPlan[];
  readonly textOf: (mark: TransactionHeader, run: number) => TransactionText;
  readonly maskedAlready: MaskedAlready;
}

/** One after the other, all tables use the same bytes: nothing of them is needed when `write` returns. */
const TEXT = new ByteText(256 * 1_024);
/** Events are cut out of the text when it is this long. */
const CUT_BYTES = 64 * 1_024;

const NO_BYTES = Buffer.alloc(0);
const NULL = new ByteConstant('null');
const NO_VALUE_BYTES = new ByteConstant(NO_VALUE);
const COMMA = new ByteConstant(',');
const ZERO = 0x30;
/** A `null`, or quotes and a time zone's minutes. */
const VALUE_EXTRA_BYTES = 8;
/** Of a sequence: its ordinal, and that with `-00` behind it. */
const ORDINAL_DIGITS = 10;
const SEQUENCE_DIGITS = 13;
/** Length of `{"metadata":{"id":"` and of `","sequence":"`, which the texts of a transaction begin with. */
const ID_AT = '{"metadata":{"id":"'.length;
const BEFORE_SEQUENCE = '","sequence":"'.length;

interface Field {
  /** All from the value before to this one. */
  readonly before: ByteConstant;
  readonly column: MappedColumn;
}

/** What is the same for all rows of a chunk. */
interface ChunkBytes {
  readonly text: TransactionText;
  /** Up to the row's own part of the group. */
  readonly start: ByteConstant;
  /** Behind the group, where rows may share it: up to the ordinal. */
  readonly place: ByteConstant | undefined;
  /** Up to the sequence's ordinal. */
  readonly sequence: ByteConstant;
  /** From the key to the data. */
  readonly data: ByteConstant;
  /** Room that all of an event needs but its values. Where a value leaves that much, nothing but another value can lack room. */
  readonly reserve: number;
}

/** Where the parts of an event are in the text. */
interface Layout {
  readonly begin: number;
  groupEnd: number;
  idEnd: number;
  /** Where it begins, if it was not written. */
  end: number;
}

/**
 * The events of a backfill's rows, from the bytes that the server sent to the text of the detail, many rows at a time: what `Mapper.map` makes of
 * each, for entries that need neither expressions nor modules. A string for each value and each piece of text costs several times as much.
 */
export class ReadWriter {
  readonly #options: ReadWriterOptions;
  readonly #key: readonly Field[];
  readonly #fields: readonly Field[];
  /** Behind the last value. */
  readonly #end: ByteConstant;
  /** Behind the group, of an event that is not its row's first. */
  readonly #idEnd: ByteConstant;
  /** From the sequence's ordinal to the key. */
  readonly #metadata: ByteConstant;
  /** Room for all that is written of every row but its values, and for what a value needs beside its bytes. */
  readonly #reserve: number;
  readonly #row: RowBytes;
  readonly #value: ByteValue = { bytes: NO_BYTES, start: 0, end: 0 };
  #mark: TransactionHeader | undefined;
  #chunk: ChunkBytes | undefined;

  constructor(options: ReadWriterOptions) {
    const { columns, key, fields, index, before } = options;
    this.#options = options;
    this.#key = key.map((column, number) => ({
      before: new ByteConstant(`${number === 0 ? '{' : ','}${jsonString(column.name)}:`),
      column,
    }));
    const found: Field[] = [];
    let text = '';
    for (const [number, field] of fields.entries()) {
      text += `${number === 0 ? '{' : ','}${jsonString(field.name)}:`;
      if (field.kind === 'constant') text += field.json;
      if (field.kind !== 'column') continue;
      found.push({ before: new ByteConstant(text), column: field.column });
      text = '';
    }
    this.#fields = found;
    this.#end = new ByteConstant(fields.length === 0 ? '{}}' : `${text}}}`);
    this.#idEnd = new ByteConstant(index === 0 ? '' : `#${index}`);
    this.#metadata = new ByteConstant(`-${index.toString().padStart(2, '0')}${before}`);
    const values = [...this.#key, ...this.#key, ...found];
    const constants = [this.#end, this.#idEnd, this.#metadata, ...values.map(({ before }) => before)];
    this.#reserve =
      constants.reduce((sum, { length }) => sum + length, 2 * ORDINAL_DIGITS) + values.length * VALUE_EXTRA_BYTES;
    this.#row = { bytes: NO_BYTES, starts: new Int32Array(columns), ends: new Int32Array(columns) };
  }

  /** An event for each row; undefined where the mapper has to make it. */
  write(rows: WireRows, { places, ordinal, mark, run }: Reads): readonly (Event | undefined)[] {
    const chunk = this.#chunkAt(mark, run);
    this.#options.maskedAlready.columns = undefined;
    const events: (Event | undefined)[] = [];
    let layouts: Layout[] = [];
    TEXT.at = 0;
    for (let number = 0; number < places.length; number++) {
      const layout: Layout = { begin: TEXT.at, groupEnd: 0, idEnd: 0, end: 0 };
      const isFound = rows.locate(places[number] as number, this.#row);
      if (!isFound || !this.#succeeds(layout, ordinal + number, chunk)) TEXT.at = layout.begin;
      layout.end = TEXT.at;
      layouts.push(layout);
      if (TEXT.at < CUT_BYTES && number < places.length - 1) continue;
      this.#cut(layouts, chunk, events);
      layouts = [];
      TEXT.at = 0;
    }
    // The mapper lives on, and must not keep the chunk.
    this.#row.bytes = this.#value.bytes = NO_BYTES;
    return events;
  }

  #succeeds(layout: Layout, ordinal: number, chunk: ChunkBytes): boolean {
    try {
      return this.#compose(layout, ordinal, chunk);
    } catch {
      // The mapper meets the same, and whoever calls it says what becomes of the row.
      return false;
    }
  }

  /** Whether all of the row was written. */
  #compose(layout: Layout, ordinal: number, chunk: ChunkBytes): boolean {
    this.#value.bytes = this.#row.bytes;
    if (TEXT.room < chunk.reserve) return false;
    TEXT.put(chunk.start);
    if (!this.#writeParts(chunk)) return false;
    layout.groupEnd = TEXT.at;
    if (chunk.place !== undefined) {
      TEXT.put(chunk.place);
      TEXT.write(`${ordinal}`);
    }
    TEXT.put(this.#idEnd);
    layout.idEnd = TEXT.at;
    TEXT.put(chunk.sequence);
    writeOrdinal(ordinal);
    TEXT.put(this.#metadata);
    if (!this.#writeFields(this.#key, chunk)) return false;
    TEXT.put(chunk.data);
    if (!this.#writeFields(this.#fields, chunk)) return false;
    TEXT.put(this.#end);
    return true;
  }

  /** The key as the group has it. What `encodePart` would leave as it is is copied. */
  #writeParts({ reserve }: ChunkBytes): boolean {
    const value = this.#value;
    for (let number = 0; number < this.#key.length; number++) {
      const { column } = this.#key[number] as Field;
      if (number > 0) TEXT.put(COMMA);
      if (!this.#find(column)) TEXT.put(NO_VALUE_BYTES);
      else if (value.end - value.start > TEXT.room - reserve) return false;
      else if (column.mask === undefined && isPlainPart(value)) TEXT.copy(value);
      else if (!TEXT.write(encodePart(column.reveal(textOf(value)))) || TEXT.room < reserve) return false;
    }
    return true;
  }

  #writeFields(fields: readonly Field[], { reserve }: ChunkBytes): boolean {
    const value = this.#value;
    for (let number = 0; number < fields.length; number++) {
      const { before, column } = fields[number] as Field;
      TEXT.put(before);
      if (!this.#find(column)) {
        TEXT.put(NULL);
        continue;
      }
      if (value.end - value.start > TEXT.room - reserve) return false;
      const { at } = TEXT;
      if (column.writeBytes?.(value, TEXT) === true) continue;
      TEXT.at = at;
      if (!TEXT.write(column.write(textOf(value))) || TEXT.room < reserve) return false;
    }
    return true;
  }

  /** Whether the row has a value there: then it is `#value`. */
  #find({ index }: MappedColumn): boolean {
    const { starts, ends } = this.#row;
    const end = ends[index] as number;
    if (end === IS_NULL) return false;
    this.#value.start = starts[index] as number;
    this.#value.end = end;
    return true;
  }

  #cut(layouts: readonly Layout[], chunk: ChunkBytes, events: (Event | undefined)[]): void {
    const { bytes, at } = TEXT;
    const whole = isAscii(bytes.subarray(0, at)) ? bytes.latin1Slice(0, at) : undefined;
    for (const layout of layouts) {
      const { begin, end } = layout;
      if (begin === end) events.push(undefined);
      else events.push(this.#eventOf(whole?.slice(begin, end) ?? bytes.utf8Slice(begin, end), layout, chunk));
    }
  }

  /** All that is cut out of the detail stands before its first character that is not ASCII. */
  #eventOf(detail: string, { begin, groupEnd, idEnd, end }: Layout, { text }: ChunkBytes): Event {
    const { head, groupPrefix, resourcePrefix, isRelaxed } = this.#options;
    const groupAt = ID_AT + text.idPrefix.length;
    const group = detail.slice(groupAt, groupEnd - begin);
    const resource = resourcePrefix + group.slice(groupPrefix.length);
    const sequenceAt = idEnd - begin + BEFORE_SEQUENCE;
    return {
      id: detail.slice(ID_AT, idEnd - begin),
      sequence: detail.slice(sequenceAt, sequenceAt + text.sequencePrefix.length + SEQUENCE_DIGITS),
      source: head.source,
      detailType: head.detailType,
      timeSeconds: text.timeSeconds,
      resources: [resource],
      detail,
      bus: head.bus,
      group: isRelaxed ? undefined : group,
      previousGroup: undefined,
      // Percent-encoded, so that its characters are its bytes.
      sizeBytes: head.headBytes + resource.length + (end - begin),
    };
  }

  #chunkAt(mark: TransactionHeader, run: number): ChunkBytes {
    if (mark === this.#mark && this.#chunk !== undefined) return this.#chunk;
    const { textOf, groupPrefix, tellsApart } = this.#options;
    const text = textOf(mark, run);
    const start = new ByteConstant(text.idHead + groupPrefix);
    const place = tellsApart ? undefined : new ByteConstant(`@${sortableLsn(mark.commitLsn)}-`);
    const sequence = new ByteConstant(text.sequenceHead);
    const data = new ByteConstant(`},${text.plainTail}`);
    const reserve = start.length + (place?.length ?? 0) + sequence.length + data.length + this.#reserve;
    this.#mark = mark;
    this.#chunk = { text, start, place, sequence, data, reserve };
    return this.#chunk;
  }
}

function writeOrdinal(ordinal: number): void {
  const { bytes, at } = TEXT;
  TEXT.at = at + ORDINAL_DIGITS;
  let rest = ordinal;
  for (let place = TEXT.at - 1; place >= at; place--) {
    const tenth = Math.trunc(rest / 10);
    bytes[place] = ZERO + rest - tenth * 10;
    rest = tenth;
  }
}
