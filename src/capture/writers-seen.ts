import { z } from 'zod';
import { isTableCapture } from '../config/schema.ts';
import type { MessageChange } from '../core/change.ts';
import { writerPrefix } from '../postgres/writer-trigger.ts';
import type { WriterCount } from '../state/traffic.ts';
import type { MapperFactory } from './mappers.ts';
import { originsOf, type RouteCounters, type Routes } from './routes.ts';

export interface WritersSeenOptions {
  /** Name of the connector. */
  readonly connector: string;
  /** Of a table in the stream, by its OID; undefined: nobody captures it. */
  readonly route: (oid: number) => { readonly table: string; readonly counters: RouteCounters } | undefined;
}

/** What the trigger says: table, role and application. Short names, since every statement writes them. */
const note = z.object({ t: z.int(), r: z.string().nullish(), a: z.string().nullish() });

/** For the tables whose entry wants to know. */
export function openWriters(
  connector: string,
  { routes, captured }: { readonly routes: Routes; readonly captured: MapperFactory['captured'] },
): WritersSeen {
  const writers = new WritersSeen({ connector, route: (oid) => routes.get(oid) });
  for (const { table, entries } of captured) {
    const isAsked = entries.some(({ entry }) => isTableCapture(entry) && entry.observe === 'writers');
    const name = `${table.schema}.${table.name}`;
    if (isAsked) writers.watch(name, routes.countersOf(name));
  }
  return writers;
}

/** Of one table in one minute: applications may put anything into their name, a process id included. */
const MAX_WRITERS = 50;
/** Letters of a name: as many as PostgreSQL gives one in bytes. */
const MAX_LETTERS = 63;
const OTHERS = '(others)';
const UNNAMED = '(none)';

interface Writer {
  readonly role: string;
  readonly application: string;
}

/**
 * Who wrote, as the statement trigger of `observe: writers` says: its message comes behind the rows of the statement, so they are those of its table that came
 * since the one before it. Only what is the legacy system's counts. Any role may send such a message, as any may call itself what it likes: it is a hint,
 * and never what a count rests on.
 */
export class WritersSeen {
  readonly #options: WritersSeenOptions;
  readonly prefix: string;
  /** Legacy changes that have a writer, or were there before the transaction, by table; undefined: no transaction has begun that counts. */
  readonly #attributed = new Map<string, { readonly counters: RouteCounters; legacy: number | undefined }>();
  /** Of the minute that goes on: table, then writer. */
  #current = new Map<string, Map<string, Writer & { changes: number }>>();
  /** By table, minute and writer: however long it waits, no more than the writers of its minutes. */
  #taken = new Map<string, WriterCount>();
  /** Which writers have a row of their own, in the minute of `#namedMs`. */
  #named = new Map<string, Set<string>>();
  #namedMs: number | undefined;

  constructor(options: WritersSeenOptions) {
    this.#options = options;
    this.prefix = writerPrefix(options.connector);
  }

  /** Rows that wait to be stored. */
  get size(): number {
    return this.#taken.size;
  }

  /** A transaction begins that is not counted yet: what nobody claimed before stays without a writer. */
  begin(): void {
    for (const entry of this.#attributed.values()) entry.legacy = originsOf(entry.counters).legacy;
  }

  /** Watched from the next transaction on. */
  watch(table: string, counters: RouteCounters): void {
    if (!this.#attributed.has(table)) this.#attributed.set(table, { counters, legacy: undefined });
  }

  /** A message of our prefix: the changes of its table that have no writer yet are this one's. */
  note({ content }: MessageChange): void {
    const said = parse(content);
    if (said === undefined) return;
    const route = this.#options.route(said.t);
    const entry = route && this.#attributed.get(route.table);
    if (route === undefined || entry?.legacy === undefined) return;
    const { legacy } = originsOf(entry.counters);
    const changes = legacy - entry.legacy;
    entry.legacy = legacy;
    if (changes > 0) this.#add(route.table, { role: nameOf(said.r), application: nameOf(said.a) }, changes);
  }

  /** What came until now belongs to this minute. */
  take(minuteMs: number): void {
    if (this.#current.size === 0) return;
    if (this.#namedMs !== minuteMs) {
      this.#namedMs = minuteMs;
      this.#named = new Map();
    }
    const startsAt = new Date(minuteMs);
    for (const [table, writers] of this.#current) {
      const others = { table, startsAt, role: OTHERS, application: OTHERS, changes: 0 };
      let named = this.#named.get(table);
      if (named === undefined) this.#named.set(table, (named = new Set()));
      for (const [key, { role, application, changes }] of writers) {
        if (key !== OTHERS && (named.has(key) || named.size < MAX_WRITERS)) {
          named.add(key);
          this.#keep({ table, startsAt, role, application, changes });
        } else others.changes += changes;
      }
      if (others.changes > 0) this.#keep(others);
    }
    this.#current = new Map();
  }

  /** What was taken, to be stored; each row once. */
  drain(): WriterCount[] {
    const taken = [...this.#taken.values()];
    this.#taken = new Map();
    return taken;
  }

  #keep(count: WriterCount): void {
    const key = JSON.stringify([count.table, count.startsAt.getTime(), count.role, count.application]);
    const known = this.#taken.get(key);
    this.#taken.set(key, known === undefined ? count : { ...known, changes: known.changes + count.changes });
  }

  #add(table: string, writer: Writer, changes: number): void {
    let writers = this.#current.get(table);
    if (writers === undefined) this.#current.set(table, (writers = new Map()));
    const name = JSON.stringify([writer.role, writer.application]);
    const key = writers.has(name) || writers.size < MAX_WRITERS ? name : OTHERS;
    const known = writers.get(key);
    if (known === undefined) writers.set(key, { ...writer, changes });
    else known.changes += changes;
  }
}

/** What a forger says may be no name at all, but the state's table must take it, or nothing is counted any more. */
function nameOf(said: string | null | undefined): string {
  if (said == null || said === '') return UNNAMED;
  // A letter has two units at most.
  const letters = Array.from(said.slice(0, 2 * MAX_LETTERS)).slice(0, MAX_LETTERS);
  return letters.join('').toWellFormed().replaceAll('\0', '\uFFFD');
}

/** undefined: not what our trigger writes. */
function parse(content: string): z.infer<typeof note> | undefined {
  try {
    return note.safeParse(JSON.parse(content)).data;
  } catch {
    return undefined;
  }
}
