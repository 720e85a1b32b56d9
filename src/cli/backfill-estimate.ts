import type pg from 'pg';
import type { LoadedConfig } from '../config/load.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { leavesOf } from '../postgres/backfill-facts.ts';
import { displayName } from '../postgres/identifier.ts';
import { sqlStateOf } from '../postgres/sqlstate.ts';
import type { BackfillRun } from '../state/backfills.ts';
import { countRows } from './backfill-condition.ts';
import { paceOf, roughly } from './backfill-pace.ts';
import type { OpenedTable } from './captured-table.ts';
import { type CommandContext, ExitCode } from './context.ts';
import { count, type Output, table as columns } from './output.ts';
import { changesOf, readRows } from './preview-rows.ts';
import { withState } from './with-state.ts';

const SAMPLE_ROWS = 200;
/** Rows that the chosen pages should hold: the rows of one page are alike, so more pages than needed. */
const SAMPLED_FROM = 4_000;
/** EventBridge charges an event for every 64 kB that it begins. */
const BILLED_BYTES = 65_536;
/** Custom events; the price of most regions. */
const USD_PER_MILLION = 1;
/** Entries that a sample is repeated to, so that its last, half-full request does not count for much. */
const BATCHED_ENTRIES = 1_000;

/** What a backfill would send, and cost. */
export interface Estimate {
  readonly table: string;
  readonly rows: number;
  /** Counted, not estimated. */
  readonly exact: boolean;
  readonly sampledRows: number;
  readonly events: number;
  /** As EventBridge counts them; undefined: the sample made no event. */
  readonly averageBytes: number | undefined;
  readonly requests: number;
  readonly billedUnits: number;
  readonly usd: number;
  readonly usdPerMillionUnits: number;
  /** Of the sample: what would be parked, and why the first one. */
  readonly parked: { readonly sampled: number; readonly reason: string | undefined };
  readonly seconds: number | undefined;
  /** Of an earlier run, which `seconds` stands on. */
  readonly rowsPerSecond: number | undefined;
  readonly run: number | undefined;
}

interface EstimateOptions {
  readonly where: string | undefined;
  readonly loaded: LoadedConfig;
  readonly context: CommandContext;
}

/** Looks, and says. Writes nothing, and needs no worker. */
export async function printEstimate(
  client: pg.ClientBase,
  opened: OpenedTable,
  { where, loaded, context }: EstimateOptions,
): Promise<ExitCode> {
  const { output } = context;
  const estimate = await estimateOf(client, opened, { where, loaded });
  if (output.json) output.value(estimate);
  else print(estimate, { output, loaded });
  return estimate.parked.sampled === 0 ? ExitCode.ok : ExitCode.unexpected;
}

async function estimateOf(
  client: pg.ClientBase,
  opened: OpenedTable,
  { where, loaded }: Pick<EstimateOptions, 'where' | 'loaded'>,
): Promise<Estimate> {
  const { table } = opened;
  const { bus } = loaded.config;
  const leaves = await leavesOf(client, table.oid);
  const estimated = leaves.reduce((sum, { estimatedRows }) => sum + estimatedRows, 0);
  const { rows, exact } =
    where === undefined ? { rows: estimated, exact: false } : await countRows(client, where, { table, leaves });
  const sample = await sampleOf(client, opened, { where, estimated, maxRequest: bus.maxRequest });
  const scale = (of: number) => (sample.rows === 0 ? 0 : Math.round((of / sample.rows) * rows));
  const events = scale(sample.sizes.length);
  const billedUnits = scale(sample.sizes.reduce((sum, size) => sum + Math.ceil(size / BILLED_BYTES), 0));
  const last = await lastRun(loaded, `${table.schema}.${table.name}`);
  const rowsPerSecond = last && paceOf(last, Date.now()).rowsPerSecond;
  return {
    table: displayName(table),
    rows,
    exact,
    sampledRows: sample.rows,
    events,
    averageBytes:
      sample.sizes.length === 0
        ? undefined
        : Math.round(sample.sizes.reduce((sum, size) => sum + size, 0) / sample.sizes.length),
    requests: Math.ceil(events * requestsPerEvent(sample.sizes, bus)),
    billedUnits,
    usd: (billedUnits / 1_000_000) * USD_PER_MILLION,
    usdPerMillionUnits: USD_PER_MILLION,
    parked: { sampled: sample.parked, reason: sample.reason },
    seconds: rowsPerSecond === undefined ? undefined : rows / rowsPerSecond,
    rowsPerSecond,
    run: rowsPerSecond === undefined ? undefined : last?.id,
  };
}

interface Sample {
  readonly rows: number;
  /** Bytes of each event that the rows became. */
  readonly sizes: readonly number[];
  readonly parked: number;
  readonly reason: string | undefined;
}

/** Rows from pages all over a large table, else its first ones; mapped as the worker would. */
async function sampleOf(
  client: pg.ClientBase,
  { table, mappers, versionNumber }: OpenedTable,
  about: { readonly where: string | undefined; readonly estimated: number; readonly maxRequest: number },
): Promise<Sample> {
  const { where, estimated, maxRequest } = about;
  const read = (samplePercent: number | undefined) =>
    readRows(client, table, { limit: SAMPLE_ROWS, where, set: new Map(), versionNumber, samplePercent });
  const percent = estimated > SAMPLED_FROM ? (SAMPLED_FROM / estimated) * 100 : undefined;
  let found = await read(percent);
  if (percent !== undefined && found.rows.length < SAMPLE_ROWS) {
    // A condition may take few rows of those pages; that many have to do where it takes long to find more.
    found = await read(undefined).catch(async (error: unknown) => {
      if (found.rows.length === 0 || !isTimeout(error)) throw error;
      await client.query('rollback');
      return found;
    });
  }
  const sizes: number[] = [];
  const reasons: string[] = [];
  for (const change of changesOf(found, table, { operation: 'read', versionNumber })) {
    for (const mapper of mappers.filter(({ takesReads }) => takesReads)) {
      try {
        sizes.push(...sizesOf(mapper.map(change), maxRequest));
      } catch (error) {
        reasons.push(toBanyanError(error, 'mapping the row').message);
      }
    }
  }
  return { rows: found.rows.length, sizes, parked: reasons.length, reason: reasons[0] };
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && sqlStateOf(error.cause) === '57014';
}

function sizesOf(events: readonly Event[], maxRequest: number): number[] {
  return events.map(({ sizeBytes }) => {
    if (sizeBytes <= maxRequest) return sizeBytes;
    throw new BanyanError('event-too-large', `the event has ${sizeBytes} bytes, a request at most ${maxRequest}`);
  });
}

/** By filling requests with the sample's events, over and over. */
function requestsPerEvent(
  sizes: readonly number[],
  limits: { readonly maxEntries: number; readonly maxRequest: number },
): number {
  if (sizes.length === 0) return 0;
  const rounds = Math.ceil(BATCHED_ENTRIES / sizes.length);
  let requests = 0;
  let entries = limits.maxEntries;
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    for (const size of sizes) {
      if (entries >= limits.maxEntries || bytes + size > limits.maxRequest) {
        requests += 1;
        entries = 0;
        bytes = 0;
      }
      entries += 1;
      bytes += size;
    }
  }
  return requests / (rounds * sizes.length);
}

/** Its pace is the only measure of this bus and this server that there is. Nothing where no worker ever ran. */
async function lastRun({ config }: LoadedConfig, name: string): Promise<BackfillRun | undefined> {
  try {
    return await withState(config, async ({ backfills }) => (await backfills.latest(name))[0]);
  } catch (error) {
    if (error instanceof BanyanError && (error.kind === 'preflight' || error.kind === 'database-privilege'))
      return undefined;
    throw error;
  }
}

function print(
  estimate: Estimate,
  { output, loaded }: { readonly output: Output; readonly loaded: LoadedConfig },
): void {
  const { bus } = loaded.config;
  const { averageBytes, seconds, rowsPerSecond, parked } = estimate;
  const lines = [
    [
      'rows',
      estimate.exact
        ? `${estimate.rows.toLocaleString('en-US')}, counted`
        : `${approximate(estimate.rows)}, by the planner’s statistics`,
    ],
    [
      'events',
      averageBytes === undefined
        ? `none of ${count(estimate.sampledRows, 'sampled row')}`
        : `${approximate(estimate.events)}, of ${count(averageBytes, 'byte')} on average (${count(estimate.sampledRows, 'row')} sampled)`,
    ],
    [
      'requests',
      `${approximate(estimate.requests)} PutEvents, each of up to ${count(bus.maxEntries, 'entry', 'entries')} and ${count(bus.maxRequest, 'byte')}`,
    ],
    [
      'cost',
      `~${dollars(estimate.usd)} USD on EventBridge: ${approximate(estimate.billedUnits)} units of 64 kB, assumed at ${USD_PER_MILLION.toFixed(2)} USD per million custom events`,
    ],
    [
      'time',
      seconds === undefined || rowsPerSecond === undefined
        ? 'unknown until it runs'
        : `~${roughly(seconds)}, assuming the ${count(Math.round(rowsPerSecond), 'row')} a second of run ${estimate.run}`,
    ],
  ];
  for (const line of columns(lines)) output.line(line);
  if (parked.sampled > 0) {
    const mark = output.paint('red', '✗');
    output.line(
      `${mark} ${count(parked.sampled, 'change')} of ${count(estimate.sampledRows, 'sampled row')} would be parked: ${parked.reason}`,
    );
  }
  output.note('nothing was sent or written');
}

function approximate(number: number): string {
  return `~${number.toLocaleString('en-US')}`;
}

function dollars(usd: number): string {
  return usd >= 0.01 || usd === 0 ? usd.toFixed(2) : usd.toPrecision(1);
}
