import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { WorkerStatus } from '../core/status.ts';
import { type MetricDefinition, metricDefinitions } from './metric-definitions.ts';

export interface Metrics {
  readonly contentType: string;
  /** The exposition text of one moment, with the process's own metrics (`process_…`, `nodejs_…`). */
  expose(status: WorkerStatus): Promise<string>;
}

/** Metrics in a registry of their own; `connector` is on every one. */
export function createMetrics(connector: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ connector });
  collectDefaultMetrics({ register: registry });
  const updates = metricDefinitions.map((definition) => updateOf(definition, registry));
  return {
    contentType: registry.contentType,
    expose(status) {
      for (const update of updates) update(status);
      return registry.metrics();
    },
  };
}

/** The worker counts; here its numbers are only copied, so a counter is set by starting it again from 0. */
function updateOf(definition: MetricDefinition, registry: Registry): (status: WorkerStatus) => void {
  const { name, help, labels = [], read } = definition;
  const options = { name, help, labelNames: [...labels], registers: [registry] };
  if (definition.type === 'counter') {
    const metric = new Counter(options);
    return (status) => {
      metric.reset();
      for (const sample of read(status)) metric.inc({ ...sample.labels }, sample.value);
    };
  }
  const metric = new Gauge(options);
  return (status) => {
    metric.reset();
    // Without labels, reset leaves a 0 behind, which would be a claim; without a sample it says nothing.
    if (labels.length === 0) metric.remove();
    for (const sample of read(status)) metric.set({ ...sample.labels }, sample.value);
  };
}
