import type { GateCode, Waiver } from '../core/progress.ts';
import { queryState, type StateScope } from './scope.ts';

export interface StoredWaiver extends Waiver {
  readonly id: number;
  /** `schema.name` */
  readonly table: string;
  readonly gate: GateCode;
  /** ISO 8601 */
  readonly at: string;
}

export interface NewWaiver extends Waiver {
  readonly table: string;
  readonly gate: GateCode;
}

/** What people put instead of evidence. Nothing of it is ever forgotten: those that have ended stay as a record. */
export interface WaiverStore {
  /** Those in force: the last one of each gate, unless it was revoked or has ended. */
  list(table?: string): Promise<StoredWaiver[]>;
  add(waiver: NewWaiver): Promise<StoredWaiver>;
  /** Ends what is in force of a gate; whether there was anything. */
  revoke(table: string, gate: GateCode, by: string): Promise<boolean>;
}

interface WaiverRow {
  id: string;
  table_name: string;
  gate: GateCode;
  reason: string;
  waived_by: string;
  waived_at: Date;
  until: Date;
}

const COLUMNS = 'id, table_name, gate, reason, waived_by, waived_at, until';

export function waiverStore(scope: StateScope): WaiverStore {
  const { connector } = scope;
  return {
    async list(table) {
      const rows = await queryState<WaiverRow>(
        scope,
        `select ${COLUMNS} from (
           select distinct on (table_name, gate) ${COLUMNS} from {gate_waiver}
           where connector = $1 and ($2::text is null or table_name = $2) and revoked_at is null
           order by table_name, gate, id desc
         ) as last
         where until > now() order by table_name, gate`,
        [connector, table ?? null],
      );
      return rows.map(waiverOf);
    },

    async add({ table, gate, reason, by, until }) {
      const [row] = await queryState<WaiverRow>(
        scope,
        `insert into {gate_waiver} (connector, table_name, gate, reason, waived_by, until)
         values ($1, $2, $3, $4, $5, $6) returning ${COLUMNS}`,
        [connector, table, gate, scope.storableText(reason), scope.storableText(by), until],
      );
      return waiverOf(row as WaiverRow);
    },

    async revoke(table, gate, by) {
      const rows = await queryState<{ until: Date }>(
        scope,
        // All of them: one that a newer one had replaced must not come back.
        `update {gate_waiver} set revoked_at = now(), revoked_by = $4
         where connector = $1 and table_name = $2 and gate = $3 and revoked_at is null and until > now() returning until`,
        [connector, table, gate, scope.storableText(by)],
      );
      return rows.length > 0;
    },
  };
}

function waiverOf(row: WaiverRow): StoredWaiver {
  return {
    id: Number(row.id),
    table: row.table_name,
    gate: row.gate,
    reason: row.reason,
    by: row.waived_by,
    at: row.waived_at.toISOString(),
    until: row.until.toISOString(),
  };
}
