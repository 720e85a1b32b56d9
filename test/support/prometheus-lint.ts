/** One metric of an exposition text. */
interface Family {
  readonly name: string;
  help: string | undefined;
  type: string | undefined;
  /** How often each of HELP and TYPE stands there. */
  heads: { help: number; type: number };
  readonly samples: { readonly name: string; readonly labels: ReadonlyMap<string, string>; readonly value: number }[];
}

/** Of promlint, which `promtool check metrics` runs: units that are not the base one, with the base. */
const OTHER_UNITS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    seconds: ['milliseconds', 'microseconds', 'nanoseconds', 'minutes', 'hours', 'days', 'weeks'],
    bytes: ['kilobytes', 'megabytes', 'gigabytes', 'terabytes', 'kibibytes', 'mebibytes', 'gibibytes', 'bits'],
    meters: ['kilometers', 'millimeters', 'miles', 'inches'],
    grams: ['kilograms', 'milligrams', 'pounds'],
    celsius: ['kelvins', 'fahrenheit'],
    ratio: ['percent', 'percents'],
    volts: ['millivolts'],
    joules: ['calories'],
  }).flatMap(([base, others]) => others.map((other) => [other, base] as const)),
);
const ABBREVIATED = ['s', 'ms', 'us', 'ns', 'sec', 'b', 'kb', 'mb', 'gb', 'tb', 'pb', 'm', 'h', 'd'];
const TYPE_NAMES = ['counter', 'gauge', 'histogram', 'summary', 'untyped'];
const MAX_VALUES_OF_A_LABEL = 501;

/** Everything that Prometheus' conventions find wrong with an exposition text; empty: nothing. */
export function lintMetrics(text: string): string[] {
  const families = parse(text);
  return [...families.values()].flatMap((family) => [
    ...headProblems(family),
    ...nameProblems(family),
    ...sampleProblems(family),
  ]);
}

/** What a counter must never do between two scrapes of one process: fall, or go away. */
export function lintCounters(before: string, after: string): string[] {
  const later = parse(after);
  return [...parse(before).values()]
    .filter(({ type }) => type === 'counter')
    .flatMap((family) => {
      const now = new Map(later.get(family.name)?.samples.map((sample) => [seriesOf(sample), sample.value]));
      return family.samples.flatMap((sample) => {
        const series = seriesOf(sample);
        const value = now.get(series);
        if (value === undefined) return [`${series}: counter has gone away`];
        return value < sample.value ? [`${series}: counter fell from ${sample.value} to ${value}`] : [];
      });
    });
}

function headProblems({ name, help, type, heads, samples }: Family): string[] {
  return [
    ...(help === undefined || help === '' ? [`${name}: no help text`] : []),
    ...(type === undefined || !TYPE_NAMES.includes(type) ? [`${name}: no known type`] : []),
    ...(heads.help > 1 || heads.type > 1 ? [`${name}: metric not unique`] : []),
    ...(new Set(samples.map(seriesOf)).size < samples.length ? [`${name}: a series stands there twice`] : []),
  ];
}

function nameProblems({ name, type }: Family): string[] {
  const words = name.split('_');
  const other = words.find((word) => OTHER_UNITS.has(word));
  const isCounter = type === 'counter';
  return [
    ...(/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name) ? [] : [`${name}: not a metric name`]),
    ...(other === undefined ? [] : [`${name}: use base unit "${OTHER_UNITS.get(other)}" instead of "${other}"`]),
    ...(isCounter && !name.endsWith('_total') ? [`${name}: counter metrics should have "_total" suffix`] : []),
    ...(!isCounter && name.endsWith('_total') ? [`${name}: non-counter metrics should not have "_total" suffix`] : []),
    ...(type !== 'histogram' && type !== 'summary' && /_(bucket|count|sum)$/.test(name)
      ? [`${name}: only histograms and summaries have the suffix of ${name.split('_').at(-1)}`]
      : []),
    ...(words.some((word) => TYPE_NAMES.includes(word)) ? [`${name}: metric name should not include type`] : []),
    ...(name.includes(':') ? [`${name}: metric names should not contain ':'`] : []),
    ...(/[a-z][A-Z]/.test(name) ? [`${name}: metric names should be written in 'snake_case'`] : []),
    ...(ABBREVIATED.some((unit) => name.endsWith(`_${unit}`) || name.includes(`_${unit}_`))
      ? [`${name}: metric names should not contain abbreviated units`]
      : []),
  ];
}

function sampleProblems({ name, type, samples }: Family): string[] {
  const labels = new Map<string, Set<string>>();
  for (const sample of samples)
    for (const [label, value] of sample.labels) labels.set(label, (labels.get(label) ?? new Set()).add(value));
  return [...labels].flatMap(([label, values]) => [
    ...(/^[a-z_][a-z0-9_]*$/.test(label) ? [] : [`${name}: label names should be written in 'snake_case' (${label})`]),
    ...(label.startsWith('__') ? [`${name}: label ${label} is reserved`] : []),
    ...(label === 'le' && type !== 'histogram' ? [`${name}: non-histogram metrics should not have "le" label`] : []),
    ...(label === 'quantile' && type !== 'summary' ? [`${name}: only summaries have a "quantile" label`] : []),
    ...(values.size > MAX_VALUES_OF_A_LABEL ? [`${name}: label ${label} is not bounded (${values.size} values)`] : []),
  ]);
}

function seriesOf(sample: { readonly name: string; readonly labels: ReadonlyMap<string, string> }): string {
  return `${sample.name}${JSON.stringify([...sample.labels].toSorted(([a], [b]) => (a < b ? -1 : 1)))}`;
}

function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  const familyOf = (name: string): Family => {
    const known = families.get(name) ?? {
      name,
      help: undefined,
      type: undefined,
      heads: { help: 0, type: 0 },
      samples: [],
    };
    families.set(name, known);
    return known;
  };
  for (const line of text.split('\n')) {
    const head = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line);
    if (head !== null) {
      const [, what, name = '', rest = ''] = head;
      const family = familyOf(name);
      if (what === 'HELP') [family.help, family.heads.help] = [rest, family.heads.help + 1];
      else [family.type, family.heads.type] = [rest, family.heads.type + 1];
      continue;
    }
    if (line === '' || line.startsWith('#')) continue;
    const sample = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null) throw new Error(`not a line of an exposition text: ${line}`);
    const [, name = '', inner = '', value = ''] = sample;
    const labels = new Map<string, string>();
    for (const [, label = '', quoted = ''] of inner.matchAll(/([^,={}"]+)="((?:[^"\\]|\\.)*)"/g))
      labels.set(label, quoted);
    const base = name.replace(/_(bucket|count|sum)$/, '');
    const family = families.has(name) || !families.has(base) ? familyOf(name) : familyOf(base);
    family.samples.push({ name, labels, value: Number(value) });
  }
  return families;
}
