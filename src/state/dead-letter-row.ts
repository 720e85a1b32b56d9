import type { ErrorKind } from '../core/errors.ts';

/** A parked (or once parked) event or change. */
export interface DeadLetter {
  readonly id: number;
  readonly eventId: string;
  readonly entry: number;
  readonly group: string | undefined;
  readonly previousGroup: string | undefined;
  readonly table: string;
  readonly sequence: string;
  readonly kind: ErrorKind;
  readonly code: string | undefined;
  readonly message: string;
  readonly behind: boolean;
  readonly event: string | undefined;
  readonly change: string | undefined;
  readonly status: 'parked' | 'redriven' | 'discarded';
  /** ISO 8601 */
  readonly parkedAt: string;
  /** When it was redriven or discarded, ISO 8601. */
  readonly settledAt: string | undefined;
}

/** As a redrive reads it: without the composed event, which is for people and as large as the change. */
export type ParkedLetter = Omit<DeadLetter, 'event'>;

export interface DeadLetterRow {
  id: string;
  event_id: string;
  entry: number;
  group_key: string | null;
  previous_group: string | null;
  table_name: string;
  sequence: string;
  kind: ErrorKind;
  code: string | null;
  message: string;
  behind: boolean;
  status: DeadLetter['status'];
  parked_at: Date;
  settled_at: Date | null;
  event?: string | null;
  change?: string | null;
}

/** All but the payload, which can be 1 MB a row. */
export const deadLetterColumns = `id, event_id, entry, group_key, previous_group, table_name, sequence,
  kind, code, message, behind, status, parked_at, settled_at`;

export function deadLetterOf(row: DeadLetterRow): DeadLetter {
  return {
    id: Number(row.id),
    eventId: row.event_id,
    entry: row.entry,
    group: row.group_key ?? undefined,
    previousGroup: row.previous_group ?? undefined,
    table: row.table_name,
    sequence: row.sequence,
    kind: row.kind,
    code: row.code ?? undefined,
    message: row.message,
    behind: row.behind,
    event: row.event ?? undefined,
    change: row.change ?? undefined,
    status: row.status,
    parkedAt: row.parked_at.toISOString(),
    settledAt: row.settled_at?.toISOString(),
  };
}
