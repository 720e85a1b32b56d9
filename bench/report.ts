/** The last line of a run. More facts may follow the common ones, always with their unit in the name. */
export interface BenchReport {
  readonly scenario: string;
  readonly value: number;
  readonly unit: string;
  /** The same unit, measured in turns with `value`; what it is stands in `referenceIs`. */
  readonly reference: number;
  readonly referenceIs: string;
  /** value / reference. */
  readonly ratio: number;
  /** Of the worker's process, the largest of all runs. */
  readonly peakRssMb: number;
  readonly [fact: string]: number | string;
}

export interface BenchOptions {
  /** How much to do; each scenario has a default. */
  readonly rows: number | undefined;
  /** Measured runs of each side, after one that is thrown away. */
  readonly runs: number | undefined;
  /** For people, while it runs. */
  readonly progress: (line: string) => void;
}

export type Scenario = (options: BenchOptions) => Promise<BenchReport>;
