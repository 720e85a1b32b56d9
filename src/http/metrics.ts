import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { WorkerStatus } from '../core/status.ts';
import type { ProgressReport } from '../core/progress.ts';
import { metricDefinitions } from './metric-definitions.ts';
import type { MetricDefinition } from './metric.ts';

export interface Metrics {
  readonly contentType: string;
  /** The exposition text of one moment, with the process's own metrics (`process_…`, `nodejs_…`). */
  expose(status: WorkerStatus, report: ProgressReport | undefined): Promise<string>;
}

/** Gauges of prom-client that are called as counters are. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

type Update = (status: WorkerStatus, report: ProgressReport | undefined) => void;

/** Metrics in a registry of their own; `connector` is on every one. */
export function createMetrics(connector: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ connector });
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  const updates = metricDefinitions.map((definition) => updateOf(definition, registry));
  return {
    contentType: registry.contentType,
    expose(status, report) {
      for (const update of updates) update(status, report);
      return registry.metrics();
    },
  };
}

/** The worker counts; here its numbers are only copied, so a counter is set by starting it again from 0. */
function updateOf(definition: MetricDefinition, registry: Registry): Update {
  const { name, help, labels = [], read } = definition;
  const options = { name, help, labelNames: [...labels], registers: [registry] };
  if (definition.type === 'counter') {
    const metric = new Counter(options);
    return (status, report) => {
      metric.reset();
      for (const sample of read(status, report)) metric.inc({ ...sample.labels }, sample.value);
    };
  }
  const metric = new Gauge(options);
  return (status, report) => {
    metric.reset();
    // Without labels, reset leaves a 0 behind, which would be a claim; without a sample it says nothing.
    if (labels.length === 0) metric.remove();
    for (const sample of read(status, report)) metric.set({ ...sample.labels }, sample.value);
  };
}
