import { formatLsn, type Lsn, parseLsn } from '../core/lsn.ts';
import { queryState, type StateScope } from './scope.ts';

/** What the connector's slot was when it was seen last. The slot itself is the only offset store; this is what it is judged by. */
export interface SlotRecord {
  readonly slotName: string;
  readonly systemId: string;
  readonly epoch: number;
  readonly timeline: number;
  /** Where the slot was made: nothing before it was ever streamed. */
  readonly createdLsn: Lsn;
  /** Our last known watermark. A slot behind it was made anew or restored. */
  readonly confirmedLsn: Lsn;
  /** ISO 8601 */
  readonly updatedAt: string;
}

export interface SlotStore {
  get(): Promise<SlotRecord | undefined>;
  /** Writes the whole record, also with positions below the last ones (a new slot, an accepted gap, another timeline). */
  save(record: Omit<SlotRecord, 'updatedAt'>): Promise<void>;
  /**
   * Raises `confirmedLsn`; lower positions change nothing. Only to be called when user data moved it, and not more often than every few seconds:
   * each write moves the WAL itself. Returns whether the record changed.
   */
  advance(confirmedLsn: Lsn): Promise<boolean>;
}

interface SlotRow {
  slot_name: string;
  system_id: string;
  epoch: number;
  timeline: string;
  created_lsn: string;
  confirmed_lsn: string;
  updated_at: Date;
}

export function slotStore(scope: StateScope): SlotStore {
  return {
    async get() {
      const [row] = await queryState<SlotRow>(
        scope,
        `select slot_name, system_id, epoch, timeline, created_lsn, confirmed_lsn, updated_at
         from {slot_record} where connector = $1`,
        [scope.connector],
      );
      if (row === undefined) return undefined;
      return {
        slotName: row.slot_name,
        systemId: row.system_id,
        epoch: row.epoch,
        timeline: Number(row.timeline),
        createdLsn: parseLsn(row.created_lsn),
        confirmedLsn: parseLsn(row.confirmed_lsn),
        updatedAt: row.updated_at.toISOString(),
      };
    },

    async save(record) {
      await queryState(
        scope,
        `insert into {slot_record}
           (connector, slot_name, system_id, epoch, timeline, created_lsn, confirmed_lsn)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (connector) do update set
           slot_name = excluded.slot_name, system_id = excluded.system_id, epoch = excluded.epoch,
           timeline = excluded.timeline, created_lsn = excluded.created_lsn,
           confirmed_lsn = excluded.confirmed_lsn, updated_at = now()`,
        [
          scope.connector,
          record.slotName,
          record.systemId,
          record.epoch,
          record.timeline,
          formatLsn(record.createdLsn),
          formatLsn(record.confirmedLsn),
        ],
      );
    },

    async advance(confirmedLsn) {
      const changed = await queryState(
        scope,
        `update {slot_record} set confirmed_lsn = $2, updated_at = now()
         where connector = $1 and confirmed_lsn < $2::pg_lsn returning connector`,
        [scope.connector, formatLsn(confirmedLsn)],
      );
      return changed.length > 0;
    },
  };
}
