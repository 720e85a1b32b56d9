import type pg from 'pg';
import type { InboxKey } from './inbox.ts';
import { queryState, queryStateIn, type StateScope } from './scope.ts';

/** PostgreSQL's names where it has them. */
export const CONFLICT_KINDS = [
  'insert_exists',
  'update_missing',
  'update_origin_differs',
  'update_deleted',
  'delete_missing',
  'delete_origin_differs',
  'constraint_violation',
  'fk_missing',
  'schema_mismatch',
  'echo_diverged',
] as const;
export type ConflictKind = (typeof CONFLICT_KINDS)[number];

export type ConflictResolution = 'new-wins' | 'legacy-wins' | 'parked';

/** Column to PostgreSQL's text, NULL as null. Masked and without excluded columns, as the table's events are. */
export type ConflictRow = Readonly<Record<string, string | null>>;

export interface NewConflict {
  /** `schema.name` */
  readonly table: string;
  readonly key: ConflictRow;
  readonly kind: ConflictKind;
  /** After the stage was looked at. */
  readonly policy: 'new-wins' | 'legacy-wins' | 'park';
  readonly resolution: ConflictResolution;
  readonly producer: string;
  readonly eventId: string;
  readonly target: string;
  /** The before-image that the event named; undefined: none. */
  readonly expected: ConflictRow | undefined;
  /** What the event wanted to write; undefined: to delete. */
  readonly proposed: ConflictRow | undefined;
  /** The legacy row as it stood; undefined: there was none. */
  readonly current: ConflictRow | undefined;
}

export interface Conflict extends NewConflict {
  readonly id: number;
  /** ISO 8601 */
  readonly detectedAt: string;
  /** undefined: a person has to decide. */
  readonly resolvedAt: string | undefined;
  /** undefined: the policy, where it is resolved. */
  readonly resolvedBy: string | undefined;
  readonly note: string | undefined;
}

export interface ConflictListing {
  readonly table?: string;
  readonly kind?: ConflictKind;
  /** Only those that a person has to decide. */
  readonly open?: boolean;
  /** Only conflicts with a lower id: the next page, since the newest come first. */
  readonly before?: number;
  /** Default 100. */
  readonly limit?: number;
}

export interface ConflictStore {
  /** In the transaction of the event that met it; the same event meets it once, however often it is tried. Returns its id. */
  record(client: pg.ClientBase, conflict: NewConflict): Promise<number>;
  /** Newest first. */
  list(listing: ConflictListing): Promise<Conflict[]>;
  get(id: number): Promise<Conflict | undefined>;
  /** Only one that no person has decided; whether it was. */
  resolve(
    id: number,
    decision: {
      readonly resolution: 'new-wins' | 'legacy-wins';
      readonly by: string;
      readonly note: string | undefined;
    },
  ): Promise<boolean>;
  /**
   * In the transaction that ends a parked event: an open conflict of it is decided as well. Without a resolution its line in the inbox says which: written or not.
   * That line is another target's where the entry has changed since.
   */
  settleIn(
    client: pg.ClientBase,
    event: InboxKey,
    decision: {
      readonly resolution: 'new-wins' | 'legacy-wins' | undefined;
      readonly appliedTo: string;
      readonly by: string | undefined;
      readonly note: string | undefined;
    },
  ): Promise<void>;
  /** The conflict of the event that a person has to decide; its id. */
  openOf(event: InboxKey): Promise<number | undefined>;
  /** How many a person has to decide. */
  countOpen(): Promise<number>;
}

interface ConflictTableRow {
  id: string;
  table_name: string;
  key: ConflictRow;
  kind: ConflictKind;
  policy: NewConflict['policy'];
  resolution: ConflictResolution;
  producer: string;
  event_id: string;
  target: string;
  expected: ConflictRow | null;
  proposed: ConflictRow | null;
  current: ConflictRow | null;
  detected_at: Date;
  resolved_at: Date | null;
  resolved_by: string | null;
  note: string | null;
}

export function conflictStore(scope: StateScope): ConflictStore {
  const { connector } = scope;
  const json = (row: ConflictRow | undefined) => (row === undefined ? null : scope.storableJson(JSON.stringify(row)));
  return {
    async record(client, conflict) {
      const [row] = await queryStateIn<{ id: string }>(client, scope, {
        sql: RECORD,
        values: [
          connector,
          conflict.table,
          json(conflict.key),
          conflict.kind,
          conflict.policy,
          conflict.resolution,
          conflict.producer,
          conflict.eventId,
          conflict.target,
          json(conflict.expected),
          json(conflict.proposed),
          json(conflict.current),
        ],
      });
      return Number(row?.id);
    },

    async list({ table, kind, open = false, before, limit = 100 }) {
      const rows = await queryState<ConflictTableRow>(
        scope,
        `select * from {conflict} where connector = $1 and ($2::text is null or table_name = $2)
           and ($3::text is null or kind = $3)
           and (not $4::boolean or resolved_at is null) and ($5::bigint is null or id < $5)
         order by id desc limit $6`,
        [connector, table ?? null, kind ?? null, open, before ?? null, limit],
      );
      return rows.map(conflictOf);
    },

    async get(id) {
      const [row] = await queryState<ConflictTableRow>(
        scope,
        'select * from {conflict} where connector = $1 and id = $2',
        [connector, id],
      );
      return row && conflictOf(row);
    },

    async resolve(id, { resolution, by, note }) {
      const rows = await queryState(
        scope,
        `update {conflict} set resolution = $3, resolved_at = now(), resolved_by = $4, note = $5
         where connector = $1 and id = $2 and (resolved_at is null or resolved_by is null) returning id`,
        [connector, id, resolution, scope.storableText(by), note === undefined ? null : scope.storableText(note)],
      );
      return rows.length > 0;
    },

    async settleIn(client, { producer, eventId, target }, { resolution, appliedTo, by, note }) {
      await queryStateIn(client, scope, {
        sql: SETTLE,
        values: [
          connector,
          producer,
          eventId,
          target,
          resolution ?? null,
          by === undefined ? null : scope.storableText(by),
          note === undefined ? null : scope.storableText(note),
          appliedTo,
        ],
      });
    },

    async openOf({ producer, eventId, target }) {
      const [row] = await queryState<{ id: string }>(
        scope,
        `select id from {conflict} where connector = $1 and producer = $2 and event_id = $3 and target = $4
           and resolved_at is null`,
        [connector, producer, eventId, target],
      );
      return row && Number(row.id);
    },

    async countOpen() {
      const [row] = await queryState<{ open: string }>(
        scope,
        'select count(*) as open from {conflict} where connector = $1 and resolved_at is null',
        [connector],
      );
      return Number(row?.open);
    },
  };
}

/** A parked event that is applied after all keeps who decided; the rows are those that the last try met. */
const RECORD = `
  insert into {conflict} as known (connector, table_name, key, kind, policy, resolution, producer, event_id, target,
    expected, proposed, current, resolved_at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, case when $6 <> 'parked' then now() end)
  on conflict (connector, producer, event_id, target) do update set
    kind = excluded.kind, policy = excluded.policy, resolution = excluded.resolution,
    expected = excluded.expected, proposed = excluded.proposed, current = excluded.current,
    resolved_at = case when excluded.resolution <> 'parked' then coalesce(known.resolved_at, now()) end
  returning id`;

/** What the policy has recorded in this very transaction was open before it. */
const SETTLE = `
  update {conflict} as known set
    resolution = coalesce($5, case inbox.outcome when 'applied' then 'new-wins' else 'legacy-wins' end),
    resolved_at = now(), resolved_by = $6, note = $7
  from {inbox} as inbox
  where known.connector = $1 and known.producer = $2 and known.event_id = $3 and known.target = $4
    and (known.resolved_at is null or (known.resolved_at = now() and known.resolved_by is null))
    and inbox.connector = known.connector and inbox.producer = known.producer
    and inbox.event_id = known.event_id and inbox.target = $8`;

function conflictOf(row: ConflictTableRow): Conflict {
  return {
    id: Number(row.id),
    table: row.table_name,
    key: row.key,
    kind: row.kind,
    policy: row.policy,
    resolution: row.resolution,
    producer: row.producer,
    eventId: row.event_id,
    target: row.target,
    expected: row.expected ?? undefined,
    proposed: row.proposed ?? undefined,
    current: row.current ?? undefined,
    detectedAt: row.detected_at.toISOString(),
    resolvedAt: row.resolved_at?.toISOString(),
    resolvedBy: row.resolved_by ?? undefined,
    note: row.note ?? undefined,
  };
}
