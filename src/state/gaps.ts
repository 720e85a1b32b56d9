import { queryState, type StateScope } from './scope.ts';

export interface NewGap {
  /** What happened: `slot-missing`, `table-unpublished`, … */
  readonly kind: string;
  /** What it happened to: the slot's name, a table. */
  readonly subject: string;
  /** Facts for a person: since when, what may be missing. Never row values. */
  readonly report: Readonly<Record<string, unknown>>;
}

export interface Gap extends NewGap {
  readonly id: number;
  /** ISO 8601 */
  readonly detectedAt: string;
  readonly acceptedAt: string | undefined;
  readonly acceptedBy: string | undefined;
}

export interface GapStore {
  /** Records a gap and returns its id. One that is open already (same kind and subject) is not recorded twice. */
  record(gap: NewGap): Promise<number>;
  /** The gaps that nobody accepted yet, oldest first. */
  open(): Promise<Gap[]>;
  /** Accepts one gap, or all open ones; returns the ids. */
  accept(acceptedBy: string, id?: number): Promise<number[]>;
}

interface GapRow {
  id: string;
  kind: string;
  subject: string;
  report: Record<string, unknown>;
  detected_at: Date;
  accepted_at: Date | null;
  accepted_by: string | null;
}

export function gapStore(scope: StateScope): GapStore {
  return {
    async record(gap) {
      const place = [scope.connector, gap.kind, gap.subject];
      const [inserted] = await queryState<{ id: string }>(
        scope,
        `insert into {gap} (connector, kind, subject, report) values ($1, $2, $3, $4)
         on conflict (connector, kind, subject) where accepted_at is null do update
           -- A slot that was to be dropped and was not may be dropped later, with another gap.
           set report = excluded.report, detected_at = now() where excluded.kind = 'slot-dropped'
         returning id`,
        [...place, scope.storableJson(JSON.stringify(gap.report))],
      );
      if (inserted !== undefined) return Number(inserted.id);
      const [known] = await queryState<{ id: string }>(
        scope,
        'select id from {gap} where connector = $1 and kind = $2 and subject = $3 and accepted_at is null',
        place,
      );
      // Accepted between the two statements: then the gap is a new one.
      return known === undefined ? this.record(gap) : Number(known.id);
    },

    async open() {
      const rows = await queryState<GapRow>(
        scope,
        `select id, kind, subject, report, detected_at, accepted_at, accepted_by
         from {gap} where connector = $1 and accepted_at is null order by id`,
        [scope.connector],
      );
      return rows.map((row) => ({
        id: Number(row.id),
        kind: row.kind,
        subject: row.subject,
        report: row.report,
        detectedAt: row.detected_at.toISOString(),
        acceptedAt: row.accepted_at?.toISOString(),
        acceptedBy: row.accepted_by ?? undefined,
      }));
    },

    async accept(acceptedBy, id) {
      const rows = await queryState<{ id: string }>(
        scope,
        `update {gap} set accepted_at = now(), accepted_by = $2
         where connector = $1 and accepted_at is null and ($3::bigint is null or id = $3) returning id`,
        [scope.connector, acceptedBy, id ?? null],
      );
      return rows.map((row) => Number(row.id)).toSorted((a, b) => a - b);
    },
  };
}
