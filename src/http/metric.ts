import type { ProgressReport } from '../core/progress.ts';
import type { TableStatus, WorkerStatus } from '../core/status.ts';

export interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** One metric, read from the status and the report when Prometheus asks. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels?: readonly string[];
  /**
   * No sample: not known (yet).
   *
   * @param report undefined: none could be made in time
   */
  readonly read: (status: WorkerStatus, report: ProgressReport | undefined) => readonly Sample[];
}

/** Tables with a label of their own; a pattern such as `tenant_*.orders` can match thousands. The rest is summed up. */
export const MAX_TABLES = 500;
export const OTHERS = '(other)';

export function sampleOf(value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ value }];
}

export function byTable(status: WorkerStatus, read: (table: TableStatus) => number) {
  return summedUp(status.tables, read);
}

/** A sample for each of the first tables, and one for all others. */
export function summedUp<T extends { readonly table: string }>(
  tables: readonly T[],
  read: (table: T) => number,
): { value: number; labels: { table: string } }[] {
  const samples = tables.slice(0, MAX_TABLES).map((table) => ({ value: read(table), labels: { table: table.table } }));
  const others = tables.slice(MAX_TABLES);
  if (others.length > 0) {
    samples.push({ value: others.reduce((sum, table) => sum + read(table), 0), labels: { table: OTHERS } });
  }
  return samples;
}
