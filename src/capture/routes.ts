import type { OriginCounters, Problem, TableStatus } from '../core/status.ts';
import type { BanyanError } from '../core/errors.ts';
import type { Relation } from '../core/change.ts';
import type { Mapper } from '../mapping/mapper.ts';

/**
 * Where the changes of one table go: the mappers of its capture entries, or, while its mapping can not go on, into `dead_letter`.
 * Made again from every new Relation message; the counters live as long as the worker.
 */
export interface Route {
  readonly relation: Relation;
  /** `schema.name` */
  readonly table: string;
  /** Empty while held. */
  readonly mappers: readonly Mapper[];
  readonly counters: RouteCounters;
}

export interface RouteCounters {
  read: number;
  insert: number;
  update: number;
  delete: number;
  truncate: number;
  settled: number;
  parked: number;
  /** Of the received ones, those that are not the legacy system's. */
  foreign: number;
  echo: number;
  correction: number;
  trigger: number;
  /** Rows that reverse sync had published without a change. */
  refusal: number;
}

/** Compiles the entries of a table for a relation; undefined: no entry captures it. Throws a BanyanError (`schema-drift`: hold). */
export type CompileRelation = (relation: Relation) => readonly Mapper[] | undefined;

/** The routes of all tables seen in the stream, by relation OID, with their counters and held tables by name. */
export class Routes {
  readonly #compile: CompileRelation;
  readonly #byOid = new Map<number, Route>();
  readonly #counters = new Map<string, RouteCounters>();
  readonly #held = new Map<string, Problem>();
  readonly #retiredMappers = new Map<string, { dropped: number; nullConditions: number }>();

  constructor(compile: CompileRelation, held: ReadonlyMap<string, Problem>) {
    this.#compile = compile;
    for (const [table, problem] of held) this.#held.set(table, problem);
  }

  get(oid: number): Route | undefined {
    return this.#byOid.get(oid);
  }

  byTable(table: string): Route | undefined {
    for (const route of this.#byOid.values()) if (route.table === table) return route;
    return undefined;
  }

  heldReason(table: string): Problem | undefined {
    return this.#held.get(table);
  }

  /** Sets a table's changes aside from now on. */
  hold(table: string, problem: Problem): void {
    this.#held.set(table, problem);
  }

  /** Lets a table's changes flow again; returns why not, where the shape that the stream showed last can still not be mapped. */
  release(table: string): BanyanError | undefined {
    const route = this.byTable(table);
    // Without mappers its changes would go nowhere, and be confirmed.
    const error = route?.mappers.length === 0 ? this.update(route.relation) : undefined;
    if (error === undefined) this.#held.delete(table);
    return error;
  }

  /** Notes a table that is captured, before its first change, so that it shows in the status. */
  announce(table: string): void {
    this.countersOf(table);
  }

  /**
   * A new shape of a table. Returns the error where the entries can not be compiled for it: the caller holds the table.
   */
  update(relation: Relation): BanyanError | undefined {
    const table = `${relation.schema}.${relation.name}`;
    const previous = this.#byOid.get(relation.oid);
    // The server describes a table again after every reconnect of its caches; the mappers stay where nothing changed.
    if (previous !== undefined && previous.mappers.length > 0 && sameShape(previous.relation, relation))
      return undefined;
    if (previous !== undefined) this.#retire(previous);
    const place = { relation, table, counters: this.countersOf(table) };
    try {
      const mappers = this.#compile(relation);
      if (mappers === undefined) this.#byOid.delete(relation.oid);
      else this.#byOid.set(relation.oid, { ...place, mappers });
      return undefined;
    } catch (error) {
      this.#byOid.set(relation.oid, { ...place, mappers: [] });
      return error as BanyanError;
    }
  }

  status(): TableStatus[] {
    const rows: TableStatus[] = [];
    for (const [table, counters] of this.#counters) {
      const mapped = this.#mapperCounters(table);
      rows.push({
        table,
        received: {
          read: counters.read,
          insert: counters.insert,
          update: counters.update,
          delete: counters.delete,
          truncate: counters.truncate,
        },
        accepted: counters.settled - counters.parked,
        dropped: mapped.dropped,
        nullConditions: mapped.nullConditions,
        parked: counters.parked,
        origins: originsOf(counters),
        held: this.#held.get(table),
      });
    }
    return rows;
  }

  /** Of all tables. */
  counters(): IterableIterator<[table: string, counters: RouteCounters]> {
    return this.#counters.entries();
  }

  countersOf(table: string): RouteCounters {
    let counters = this.#counters.get(table);
    if (counters === undefined) {
      counters = {
        read: 0,
        insert: 0,
        update: 0,
        delete: 0,
        truncate: 0,
        settled: 0,
        parked: 0,
        foreign: 0,
        echo: 0,
        correction: 0,
        trigger: 0,
        refusal: 0,
      };
      this.#counters.set(table, counters);
    }
    return counters;
  }

  /** Keeps what the mappers of an older shape counted. */
  #retire(route: Route): void {
    const kept = this.#retiredMappers.get(route.table) ?? { dropped: 0, nullConditions: 0 };
    for (const mapper of route.mappers) {
      kept.dropped += mapper.counters.dropped;
      kept.nullConditions += mapper.counters.nullConditions;
    }
    this.#retiredMappers.set(route.table, kept);
  }

  #mapperCounters(table: string): { dropped: number; nullConditions: number } {
    const sum = { ...(this.#retiredMappers.get(table) ?? { dropped: 0, nullConditions: 0 }) };
    for (const mapper of this.byTable(table)?.mappers ?? []) {
      sum.dropped += mapper.counters.dropped;
      sum.nullConditions += mapper.counters.nullConditions;
    }
    return sum;
  }
}

/** What is the legacy system's is not counted as such: nearly every change is. */
export function originsOf(counters: RouteCounters): OriginCounters {
  const { foreign, echo, correction, trigger, refusal } = counters;
  const streamed = counters.insert + counters.update + counters.delete + counters.truncate;
  return { legacy: streamed - foreign - echo - correction - trigger, foreign, echo, correction, trigger, refusal };
}

function sameShape(a: Relation, b: Relation): boolean {
  return (
    a.schema === b.schema &&
    a.name === b.name &&
    a.replicaIdentity === b.replicaIdentity &&
    a.columns.length === b.columns.length &&
    a.columns.every((column, index) => {
      const other = b.columns[index];
      return (
        other !== undefined &&
        column.name === other.name &&
        column.typeOid === other.typeOid &&
        column.typeModifier === other.typeModifier &&
        column.inIdentity === other.inIdentity
      );
    })
  );
}
