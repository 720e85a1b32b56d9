import type { ProgressReport } from '../core/progress.ts';
import type { WorkerStatus } from '../core/status.ts';
import { metricDefinitions } from './metric-definitions.ts';
import type { MetricDefinition } from './metric.ts';

/** Of CloudWatch: no more of a directive are read. */
const MAX_METRICS = 100;
/** CloudWatch is paid by the metric and its dimensions: so many tables at most, by their names. */
const MAX_TABLES = 50;
const NAMESPACE = 'Banyan';

type Unit = 'Seconds' | 'Bytes' | 'Bytes/Second' | 'Count' | 'Count/Second' | 'None';

/** One line in CloudWatch's embedded metric format: names beside the values that they name. */
export interface EmbeddedMetrics {
  readonly _aws: {
    readonly Timestamp: number;
    readonly CloudWatchMetrics: readonly {
      readonly Namespace: string;
      readonly Dimensions: readonly (readonly string[])[];
      readonly Metrics: readonly { readonly Name: string; readonly Unit: Unit }[];
    }[];
  };
  readonly [name: string]: unknown;
}

/**
 * The metrics of Prometheus as lines of a log, since a task on ECS is seldom scraped. Counters are what has been added since the last line: CloudWatch adds them up.
 * Metrics with other labels than the table are left out, since as dimensions they would cost more than they say, and so are moments, which are no amounts.
 */
export class EmbeddedMetricFormat {
  readonly #connector: string;
  #before = new Map<string, number>();

  constructor(connector: string) {
    this.#connector = connector;
  }

  linesOf(status: WorkerStatus, report: ProgressReport | undefined, now: Date): EmbeddedMetrics[] {
    const groups = new Map<
      string,
      { labels: Readonly<Record<string, string>>; values: Map<MetricDefinition, number> }
    >();
    for (const definition of metricDefinitions.filter(isSent)) {
      for (const { value, labels = {} } of definition.read(status, report).slice(0, MAX_TABLES)) {
        const key = JSON.stringify(labels);
        const group = groups.get(key) ?? { labels, values: new Map<MetricDefinition, number>() };
        groups.set(key, group);
        group.values.set(
          definition,
          definition.type === 'counter' ? this.#added(`${definition.name} ${key}`, value) : value,
        );
      }
    }
    return [...groups.values()].flatMap(({ labels, values }) =>
      chunks([...values], MAX_METRICS).map((chunk) => this.#line(labels, chunk, now)),
    );
  }

  #added(series: string, value: number): number {
    const before = this.#before.get(series) ?? 0;
    this.#before.set(series, value);
    return Math.max(0, value - before);
  }

  #line(
    labels: Readonly<Record<string, string>>,
    values: readonly (readonly [MetricDefinition, number])[],
    now: Date,
  ): EmbeddedMetrics {
    const dimensions = { connector: this.#connector, ...labels };
    return {
      _aws: {
        Timestamp: now.getTime(),
        CloudWatchMetrics: [
          {
            Namespace: NAMESPACE,
            Dimensions: [Object.keys(dimensions)],
            Metrics: values.map(([{ name }]) => ({ Name: name, Unit: unitOf(name) })),
          },
        ],
      },
      ...dimensions,
      ...Object.fromEntries(values.map(([{ name }, value]) => [name, value])),
    };
  }
}

function isSent({ labels = [], name }: MetricDefinition): boolean {
  return labels.every((label) => label === 'table') && !/_(timestamp|time)_seconds$/.test(name);
}

function unitOf(name: string): Unit {
  if (name.endsWith('_bytes_per_second')) return 'Bytes/Second';
  if (name.endsWith('_per_second')) return 'Count/Second';
  if (name.endsWith('_bytes')) return 'Bytes';
  if (name.endsWith('_seconds')) return 'Seconds';
  return name.endsWith('_ratio') ? 'None' : 'Count';
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}
