import type { ProgressReport, TableReport } from '../../core/progress.ts';

export type Moving = string | number | undefined;

/** Every value that moves, in the order in which `mapMoving` comes by them: `order` holds places in `values`; null: not known. */
export interface Times {
  readonly values: readonly (string | number | null)[];
  readonly order: readonly number[];
}

export function mapMoving(report: ProgressReport, change: (value: Moving) => unknown): ProgressReport;
export function mapMovingOfTable(table: TableReport, change: (value: Moving) => unknown): TableReport;
export function splitMoving(report: ProgressReport): { readonly lasting: ProgressReport; readonly times: Times };
export function withTimes(report: ProgressReport, times: Times): ProgressReport;
