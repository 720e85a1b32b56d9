import type pg from 'pg';
import type { ErrorKind } from '../core/errors.ts';
import type { Stage } from '../core/progress.ts';
import { type DeadLetterFilter, type DeadLetterListing, filterValues } from './dead-letters.ts';
import {
  type ExpiredLetter,
  letterOf,
  type NewReverseLetter,
  type ReverseLetter,
  reverseLetterColumns as COLUMNS,
  type ReverseLetterRow as Row,
} from './reverse-letter-row.ts';
import { letterParameters, PARK, PARK_ONE, storable } from './reverse-letter-parking.ts';
import { queryState, queryStateIn, type StateScope } from './scope.ts';

export type { ExpiredLetter, NewReverseLetter, ReverseLetter };

export interface ReverseLetterStore {
  /**
   * Sets one aside in the caller's transaction. One that is parked already gets the new reason, and keeps its deadline. One that was redriven or discarded is opened
   * again, as new: its event has come once more, and is not done; but not by a retry of the letter itself, which a person may just have discarded. Returns whether it
   * is parked now.
   */
  parkIn(client: pg.ClientBase, letter: NewReverseLetter, options?: { readonly isRetry?: boolean }): Promise<boolean>;
  /** Sets letters aside in one statement. What is parked already stays as it was; what was redriven or discarded is opened again, as new. */
  park(letters: readonly NewReverseLetter[]): Promise<void>;
  /** Groups with letters that wait for a person, and groups with letters that wait for something to come. */
  groups(): Promise<{ readonly dead: string[]; readonly waiting: string[] }>;
  /** The same of one group. */
  lookAt(group: string): Promise<{ readonly dead: boolean; readonly waiting: boolean }>;
  /** The groups that a filter means; an empty one means all. */
  groupsOf(filter: DeadLetterFilter): Promise<string[]>;
  /** Letters without a group that a filter means. */
  looseOf(filter: DeadLetterFilter): Promise<number[]>;
  /** The first parked letters of a group, in order: all, those that wait for something to come, or those that hold something up. At least one, then no more than so many bytes. */
  next(
    group: string,
    page: { readonly rows: number; readonly bytes: number; readonly only?: 'waiting' | 'holding' },
  ): Promise<ReverseLetter[]>;
  /** Ends the waiting of up to `limit` letters whose deadline has passed: from now on they wait for a person. */
  expire(limit: number): Promise<ExpiredLetter[]>;
  /** Why it still can not be applied. mayWait: if it waits for something to come, it goes on waiting. group: where it stands from now on; absent: where it stood. */
  setReason(
    id: number,
    reason: {
      readonly kind: ErrorKind;
      readonly code: string | undefined;
      readonly message: string;
      readonly mayWait: boolean;
      readonly group?: string;
    },
  ): Promise<void>;
  /** It stands in this group from now on, or in none. */
  move(id: number, group: string | undefined): Promise<void>;
  /** Lanes of tables in one of these stages whose first letter of those that hold something up waits for nothing: what stood before it is settled. */
  lanesBehind(limit: number, stages: readonly Stage[]): Promise<string[]>;
  /** They were applied. */
  markRedriven(ids: readonly number[]): Promise<void>;
  /** The same in the transaction that applies it. */
  markRedrivenIn(client: pg.ClientBase, id: number): Promise<void>;
  /** Gives parked letters up; returns how many. An empty filter means all. */
  discard(filter: DeadLetterFilter): Promise<number>;
  /** Newest first, without their payload. */
  list(listing: DeadLetterListing): Promise<Omit<ReverseLetter, 'event' | 'change'>[]>;
  get(id: number): Promise<ReverseLetter | undefined>;
  /** The parked letter of an event for a target. */
  ofEvent(eventId: string): Promise<ReverseLetter | undefined>;
  /** parked: for a person. waiting: tried again by itself. */
  counts(): Promise<{ readonly parked: number; readonly waiting: number; readonly groups: number }>;
}

const OURS = "connector = $1 and direction = 'reverse'";
const PARKED = `${OURS} and status = 'parked'`;
/** A filter of `$2` ids, `$3` table, `$4` group, each null where it does not matter. */
const FILTER = `($2::bigint[] is null or id = any($2)) and ($3::text is null or table_name = $3)
  and ($4::text is null or group_key = $4)`;

export function reverseLetterStore(scope: StateScope): ReverseLetterStore {
  const { connector } = scope;
  return {
    async parkIn(client, letter, { isRetry = false } = {}) {
      const values = [connector, ...letterParameters(scope, [letter]), isRetry];
      return (await queryStateIn(client, scope, { sql: PARK_ONE, values })).length > 0;
    },

    async park(letters) {
      if (letters.length > 0) await queryState(scope, PARK, [connector, ...letterParameters(scope, letters)]);
    },

    async groups() {
      const rows = await queryState<{ name: string; dead: boolean; waiting: boolean }>(
        scope,
        `select group_key as name, bool_or(waits_until is null) as dead, bool_or(waits_until is not null) as waiting
         from {dead_letter} where ${PARKED} and group_key is not null group by group_key`,
        [connector],
      );
      return {
        dead: rows.filter(({ dead }) => dead).map(({ name }) => name),
        waiting: rows.filter(({ waiting }) => waiting).map(({ name }) => name),
      };
    },

    async lookAt(group) {
      const [row] = await queryState<{ dead: boolean; waiting: boolean }>(
        scope,
        `select exists (select from {dead_letter} where ${PARKED} and group_key = $2 and waits_until is null) as dead,
                exists (select from {dead_letter} where ${PARKED} and group_key = $2 and waits_until is not null) as waiting`,
        [connector, group],
      );
      return { dead: row?.dead === true, waiting: row?.waiting === true };
    },

    async groupsOf(filter) {
      const rows = await queryState<{ name: string }>(
        scope,
        `select distinct group_key as name from {dead_letter}
         where ${PARKED} and ${FILTER} and group_key is not null order by name`,
        [connector, ...filterValues(filter)],
      );
      return rows.map(({ name }) => name);
    },

    async looseOf(filter) {
      const rows = await queryState<{ id: string }>(
        scope,
        `select id from {dead_letter} where ${PARKED} and ${FILTER} and group_key is null order by id`,
        [connector, ...filterValues(filter)],
      );
      return rows.map(({ id }) => Number(id));
    },

    async next(group, { rows: limit, bytes, only }) {
      const rows = await queryState<Row>(scope, NEXT, [connector, group, only ?? null, limit, bytes]);
      return rows.map(letterOf);
    },

    async expire(limit) {
      const rows = await queryState<Row>(
        scope,
        `update {dead_letter} set waits_until = null where id in (
           select id from {dead_letter} where ${PARKED} and waits_until <= now() order by waits_until limit $2
         ) returning ${COLUMNS}, event`,
        [connector, limit],
      );
      return rows.map(letterOf);
    },

    async setReason(id, { kind, code, message, mayWait, group }) {
      await queryState(
        scope,
        `update {dead_letter} set kind = $3, code = $4, message = $5, behind = false,
           waits_until = case when $6 then waits_until end, group_key = coalesce($7, group_key)
         where ${PARKED} and id = $2`,
        [connector, id, kind, code ?? null, scope.storableText(message), mayWait, group ?? null],
      );
    },

    async move(id, group) {
      await queryState(scope, `update {dead_letter} set group_key = $3 where ${PARKED} and id = $2`, [
        connector,
        id,
        group ?? null,
      ]);
    },

    async lanesBehind(limit, stages) {
      const rows = await queryState<{ lane: string }>(scope, LANES_BEHIND, [connector, limit, stages]);
      return rows.map(({ lane }) => lane);
    },

    async markRedriven(ids) {
      await queryState(scope, REDRIVEN, [connector, ids]);
    },

    async markRedrivenIn(client, id) {
      await queryStateIn(client, scope, { sql: REDRIVEN, values: [connector, [id]] });
    },

    async discard(filter) {
      const [row] = await queryState<{ discarded: string }>(
        scope,
        `with discarded as (
           update {dead_letter} set status = 'discarded', settled_at = now() where ${PARKED} and ${FILTER} returning id
         )
         select count(*) as discarded from discarded`,
        [connector, ...filterValues(filter)],
      );
      return Number(row?.discarded);
    },

    async list(listing) {
      const rows = await queryState<Row>(
        scope,
        `select ${COLUMNS} from {dead_letter} where ${OURS} and ${FILTER}
           and ($5::text is null or status = $5) and ($6::bigint is null or id < $6)
         order by id desc limit $7`,
        [connector, ...filterValues(listing), listing.status ?? null, listing.before ?? null, listing.limit ?? 100],
      );
      return rows.map((row) => {
        const { event: _event, change: _change, ...letter } = letterOf(row);
        return letter;
      });
    },

    async get(id) {
      const [row] = await queryState<Row>(
        scope,
        `select ${COLUMNS}, event from {dead_letter} where ${OURS} and id = $2`,
        [connector, id],
      );
      return row && letterOf(row);
    },

    async ofEvent(eventId) {
      const [row] = await queryState<Row>(
        scope,
        `select ${COLUMNS}, event from {dead_letter} where ${PARKED} and event_id = $2 order by id limit 1`,
        [connector, scope.storableJson(storable(eventId))],
      );
      return row && letterOf(row);
    },

    async counts() {
      const [row] = await queryState<{ parked: string; waiting: string; groups: string }>(
        scope,
        `select count(*) filter (where waits_until is null) as parked, count(*) filter (where waits_until is not null) as waiting,
                count(distinct group_key) filter (where waits_until is null) as groups
         from {dead_letter} where ${PARKED}`,
        [connector],
      );
      return { parked: Number(row?.parked), waiting: Number(row?.waiting), groups: Number(row?.groups) };
    },
  };
}

const REDRIVEN = `
  update {dead_letter} set status = 'redriven', settled_at = now() where ${PARKED} and id = any($2)`;

const LANES_BEHIND = `
  select group_key as lane from (
    select distinct on (group_key) group_key, table_name, behind from {dead_letter}
    where ${PARKED} and waits_until is null and not starts_with(group_key, 'table:')
    order by group_key, sequence, id
  ) as first where behind and exists (
    select from {table_stage} as moved
    where moved.connector = $1 and moved.table_name = first.table_name and moved.stage = any($3)
  ) order by lane limit $2`;

/** The length of a text is known without reading it, so only what is returned is read. */
const NEXT = `
  with first as (
    select id, sequence, octet_length(event) as bytes from {dead_letter}
    where ${PARKED} and group_key = $2 and ($3::text is null or (waits_until is not null) = ($3 = 'waiting'))
    order by sequence, id limit $4
  ), placed as (
    select id, coalesce(sum(bytes) over (
      order by sequence, id rows between unbounded preceding and 1 preceding), 0) as bytes_before
    from first
  )
  select ${COLUMNS}, event from {dead_letter}
  where id in (select id from placed where bytes_before < $5)
  order by sequence, id`;
