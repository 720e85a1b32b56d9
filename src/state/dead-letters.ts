import type { ErrorKind } from '../core/errors.ts';
import {
  type DeadLetter,
  type DeadLetterRow,
  deadLetterColumns,
  deadLetterOf,
  type ParkedLetter,
} from './dead-letter-row.ts';
import { queryState, type StateScope } from './scope.ts';

export type { DeadLetter, ParkedLetter };

/** An event, or a change that no event could be made of, to be set aside. Texts never hold row values, `event` and `change` do. */
export interface NewDeadLetter {
  /** Id of the event, or the one that the change's first event would have. */
  readonly eventId: string;
  /** Index in `capture[]`; -1 where no entry is concerned (a held table, a logical message). */
  readonly entry: number;
  /** What it holds up while it is parked; undefined: nothing. */
  readonly group: string | undefined;
  readonly previousGroup: string | undefined;
  /** `schema.name`, or `message:<prefix>` */
  readonly table: string;
  readonly sequence: string;
  readonly kind: ErrorKind;
  /** The code of the other side, such as `MalformedDetail`. */
  readonly code: string | undefined;
  readonly message: string;
  /** Nothing is wrong with it: it waits behind an earlier one of its group. */
  readonly behind: boolean;
  /** The composed event as JSON text, for people; undefined where none could be made. */
  readonly event: string | undefined;
  /** The change as JSON text, as `Mapper.serialize` writes it: what a redrive maps again. */
  readonly change: string | undefined;
}

export interface DeadLetterFilter {
  readonly ids?: readonly number[];
  readonly table?: string;
  readonly group?: string;
}

export interface DeadLetterListing extends DeadLetterFilter {
  readonly status?: DeadLetter['status'];
  /** Only letters with a lower id: the next page, since the newest come first. */
  readonly before?: number;
  /** Default 100. */
  readonly limit?: number;
}

/** What one table has parked because it is or was held. */
export interface HeldChanges {
  readonly table: string;
  readonly rows: number;
  readonly bytes: number;
}

export interface DeadLetterStore {
  /**
   * Sets letters aside, in one statement; durable when it resolves. A letter that is there already (the same event was delivered again after a
   * crash) stays as it was, whatever became of it. Returns how many were new.
   */
  park(letters: readonly NewDeadLetter[]): Promise<number>;
  /** Every group with something parked, for the start of the worker: new events of these go behind. */
  parkedGroups(): Promise<string[]>;
  /** Those of these groups that have something parked. */
  parkedAmong(groups: readonly string[]): Promise<string[]>;
  /** Held changes (group `table:<name>`) that wait, by table. */
  heldTables(): Promise<HeldChanges[]>;
  /** The groups of parked letters, those of old keys included. An empty filter means all. */
  groupsOf(filter: DeadLetterFilter): Promise<string[]>;
  /**
   * The first parked letters of these groups, in order of sequence. A key update belongs to two groups; giving all groups that are tied that way keeps the
   * order of each. `bytes` ends the page behind the change that exceeds it, `rows` where it is.
   */
  nextOfGroups(
    groups: readonly string[],
    page: { readonly rows: number; readonly bytes: number },
  ): Promise<ParkedLetter[]>;
  /** Why a letter still can not be sent, after a redrive that stopped there; it is no longer merely behind. */
  setReason(
    id: number,
    reason: { readonly kind: ErrorKind; readonly code: string | undefined; readonly message: string },
  ): Promise<void>;
  /** The bus accepted them. */
  markRedriven(ids: readonly number[]): Promise<void>;
  /** Gives parked letters up; returns how many. An empty filter means all. */
  discard(filter: DeadLetterFilter): Promise<number>;
  /** Newest first, without their payload. */
  list(listing: DeadLetterListing): Promise<Omit<DeadLetter, 'event' | 'change'>[]>;
  get(id: number): Promise<DeadLetter | undefined>;
  counts(): Promise<{ readonly parked: number; readonly groups: number }>;
}

/** The group of a held table's changes: one for all keys, since without a mapping there are none. */
export function heldGroup(table: string): string {
  return `table:${table}`;
}

const PARKED = "connector = $1 and direction = 'forward' and status = 'parked'";

/** A filter of `$2` ids, `$3` table, `$4` group, each null where it does not matter. */
const FILTER = `($2::bigint[] is null or id = any($2)) and ($3::text is null or table_name = $3)
  and ($4::text is null or group_key = $4 or previous_group = $4)`;

export function deadLetterStore(scope: StateScope): DeadLetterStore {
  return {
    async park(letters) {
      if (letters.length === 0) return 0;
      const [row] = await queryState<{ inserted: string }>(scope, PARK, [scope.connector, ...columns(scope, letters)]);
      return Number(row?.inserted);
    },

    parkedGroups() {
      return this.groupsOf({});
    },

    async parkedAmong(groups) {
      const rows = await queryState<{ name: string }>(
        scope,
        `select name from unnest($2::text[]) as name
         where exists (select from {dead_letter} where ${PARKED} and group_key = name)
            or exists (select from {dead_letter} where ${PARKED} and previous_group = name)`,
        [scope.connector, groups],
      );
      return rows.map((row) => row.name);
    },

    async heldTables() {
      const rows = await queryState<{ table_name: string; rows: string; bytes: string }>(
        scope,
        `select table_name, count(*) as rows, coalesce(sum(octet_length(change)), 0) as bytes
         from {dead_letter} where ${PARKED} and group_key = 'table:' || table_name
         group by table_name order by table_name`,
        [scope.connector],
      );
      return rows.map((row) => ({ table: row.table_name, rows: Number(row.rows), bytes: Number(row.bytes) }));
    },

    async groupsOf(filter) {
      const rows = await queryState<{ name: string }>(
        scope,
        `select group_key as name from {dead_letter} where ${PARKED} and ${FILTER} and group_key is not null
         union
         select previous_group from {dead_letter} where ${PARKED} and ${FILTER} and previous_group is not null
         order by name`,
        [scope.connector, ...filterValues(filter)],
      );
      return rows.map((row) => row.name);
    },

    async nextOfGroups(groups, page) {
      const rows = await queryState<DeadLetterRow>(scope, NEXT, [scope.connector, groups, page.rows, page.bytes]);
      return rows.map((row) => {
        const { event: _event, ...letter } = deadLetterOf(row);
        return letter;
      });
    },

    async setReason(id, reason) {
      await queryState(
        scope,
        `update {dead_letter} set kind = $3, code = $4, message = $5, behind = false where ${PARKED} and id = $2`,
        [scope.connector, id, reason.kind, reason.code ?? null, scope.storableText(reason.message)],
      );
    },

    async markRedriven(ids) {
      await queryState(
        scope,
        `update {dead_letter} set status = 'redriven', settled_at = now() where ${PARKED} and id = any($2)`,
        [scope.connector, ids],
      );
    },

    async discard(filter) {
      const [row] = await queryState<{ discarded: string }>(
        scope,
        `with discarded as (
           update {dead_letter} set status = 'discarded', settled_at = now() where ${PARKED} and ${FILTER} returning id
         )
         select count(*) as discarded from discarded`,
        [scope.connector, ...filterValues(filter)],
      );
      return Number(row?.discarded);
    },

    async list(listing) {
      const rows = await queryState<DeadLetterRow>(
        scope,
        `select ${deadLetterColumns} from {dead_letter}
         where connector = $1 and direction = 'forward' and ${FILTER}
           and ($5::text is null or status = $5) and ($6::bigint is null or id < $6)
         order by id desc limit $7`,
        [
          scope.connector,
          ...filterValues(listing),
          listing.status ?? null,
          listing.before ?? null,
          listing.limit ?? 100,
        ],
      );
      return rows.map((row) => {
        const { event: _event, change: _change, ...letter } = deadLetterOf(row);
        return letter;
      });
    },

    async get(id) {
      const [row] = await queryState<DeadLetterRow>(
        scope,
        `select ${deadLetterColumns}, event, change from {dead_letter}
         where connector = $1 and direction = 'forward' and id = $2`,
        [scope.connector, id],
      );
      return row === undefined ? undefined : deadLetterOf(row);
    },

    async counts() {
      const [row] = await queryState<{ parked: string; groups: string }>(
        scope,
        `select (select count(*) from {dead_letter} where ${PARKED}) as parked,
                (select count(*) from (
                   select group_key from {dead_letter} where ${PARKED} and group_key is not null
                   union
                   select previous_group from {dead_letter} where ${PARKED} and previous_group is not null
                 ) as parked_group) as groups`,
        [scope.connector],
      );
      return { parked: Number(row?.parked), groups: Number(row?.groups) };
    },
  };
}

const PARK = `
  with inserted as (
    insert into {dead_letter} (
      connector, direction, event_id, entry, group_key, previous_group, table_name, sequence,
      kind, code, message, behind, event, change)
    select $1, 'forward', letter.* from unnest(
      $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
      $8::text[], $9::text[], $10::text[], $11::boolean[], $12::text[], $13::text[]) as letter
    on conflict (connector, direction, event_id, entry) do nothing
    returning id
  )
  select count(*) as inserted from inserted`;

/** The length of a text is known without reading it, so only what is returned is read. */
const NEXT = `
  with first as (
    select id, event_id, sequence, entry, octet_length(change) as bytes from {dead_letter}
    where ${PARKED} and (group_key = any($2) or previous_group = any($2))
    order by sequence, entry, id limit $3
  ), placed as (
    select id, event_id, coalesce(sum(bytes) over (
      order by sequence, entry, id rows between unbounded preceding and 1 preceding), 0) as bytes_before
    from first
  ), changes as (
    select id, min(bytes_before) over (partition by event_id) as bytes_before from placed
  )
  select ${deadLetterColumns}, change from {dead_letter}
  where id in (select id from changes where bytes_before < $4)
  order by sequence, entry, id`;

/** In the order of a store's FILTER. */
export function filterValues(filter: DeadLetterFilter): unknown[] {
  return [filter.ids ?? null, filter.table ?? null, filter.group ?? null];
}

/** Arrays by column, in the order of PARK. */
function columns(scope: StateScope, letters: readonly NewDeadLetter[]): unknown[] {
  const column = <Value>(value: (letter: NewDeadLetter) => Value | undefined) =>
    letters.map((letter) => value(letter) ?? null);
  return [
    column((letter) => letter.eventId),
    column((letter) => letter.entry),
    column((letter) => letter.group),
    column((letter) => letter.previousGroup),
    column((letter) => letter.table),
    column((letter) => letter.sequence),
    column((letter) => letter.kind),
    column((letter) => letter.code),
    column((letter) => scope.storableText(letter.message)),
    column((letter) => letter.behind),
    column((letter) => (letter.event === undefined ? undefined : scope.storableJson(letter.event))),
    column((letter) => (letter.change === undefined ? undefined : scope.storableJson(letter.change))),
  ];
}
