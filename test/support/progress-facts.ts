import { configSchema } from '../../src/config/schema.ts';
import type { GateCode } from '../../src/core/progress.ts';
import type { Facts, LiveFacts, SlotFacts, TableFacts } from '../../src/progress/table-facts.ts';
import type { StoredWaiver } from '../../src/state/waivers.ts';

export const NOW = new Date('2026-03-31T12:00:00Z');

const MS = { s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `ago(3, 'min')`: that long before `NOW`, ISO 8601. */
export function ago(amount: number, unit: keyof typeof MS): string {
  return new Date(NOW.getTime() - amount * MS[unit]).toISOString();
}

const LIVE: LiveFacts = {
  at: ago(1, 's'),
  state: 'streaming',
  problem: undefined,
  startedAt: ago(60, 'd'),
  lagSeconds: 0.2,
  calmSince: ago(3, 'h'),
  reverse: { state: 'running', problem: undefined },
  testedAt: ago(2, 'h'),
};

/** A slot that is read, and holds little. */
export const SLOT: SlotFacts = {
  name: 'banyan_shop',
  state: 'ours',
  walStatus: 'reserved',
  invalidation: undefined,
  active: true,
  heldBytes: 48_000_000,
  lagBytes: 1_200_000,
};

const TABLE: TableFacts = {
  schema: 'public',
  name: 'orders',
  table: 'public.orders',
  display: 'public.orders',
  oid: 16_384,
  captured: true,
  reversed: true,
  backfillWanted: true,
  observed: true,
  reselected: false,
  stage: 'shadow',
  stageSince: ago(20, 'd'),
  stageBy: 'banyan',
  published: true,
  publishedSince: ago(50, 'd'),
  backfill: {
    whole: {
      status: 'completed',
      partition: undefined,
      rowsSent: 1_000,
      rowsEstimated: 990,
      startedAt: ago(49, 'd'),
      finishedAt: ago(48, 'd'),
      reason: undefined,
    },
    partitions: [],
  },
  conflictsOpen: 0,
  deadLetters: { forward: 0, reverse: 0, waiting: 0, nameless: 0 },
  held: undefined,
  writes: {
    window: { legacy: 5, reverse: 995, trigger: 40, foreign: 0 },
    quiet: { legacy: 0, reverse: 9_000, trigger: 40, foreign: 0 },
    allowed: 0,
    writers: [],
    lastLegacyAt: ago(3, 'h'),
    lastEchoAt: ago(10, 'min'),
  },
  reads: {
    source: 'pg_stat_statements',
    at: ago(1, 's'),
    watchedSince: ago(40, 'd'),
    readAt: undefined,
    unclearAt: undefined,
    blind: undefined,
    ownRole: true,
    withoutStatements: undefined,
    countsNested: true,
  },
  dependants: [],
  waivers: new Map(),
};

export interface FactChanges {
  readonly facts?: Partial<Omit<Facts, 'tables' | 'settings' | 'live'>>;
  /** null: no worker answered. */
  readonly live?: Partial<LiveFacts> | null;
  readonly table?: Partial<TableFacts>;
  readonly writes?: Partial<TableFacts['writes']>;
  readonly reads?: Partial<NonNullable<TableFacts['reads']>>;
  /** Of the section `progress`. */
  readonly settings?: object;
}

/** A table that may go anywhere, but for what a test says. */
export function factsOf({ facts, live, table, writes, reads, settings }: FactChanges = {}): Facts {
  const config = configSchema.parse({
    name: 'shop',
    legacy: { url: 'unused' },
    capture: [{ table: 'public.orders' }],
    progress: settings ?? {},
  });
  const about: TableFacts = {
    ...TABLE,
    writes: { ...TABLE.writes, ...writes },
    reads: TABLE.reads && { ...TABLE.reads, ...reads },
    ...table,
  };
  return {
    at: ago(1, 's'),
    usesAt: ago(1, 's'),
    slot: SLOT,
    noWorker: 'no worker answered at http://127.0.0.1:8080',
    countingSince: ago(45, 'd'),
    countedUntil: ago(2, 's'),
    gaps: [],
    ...facts,
    settings: config.progress,
    live: live === null ? undefined : { ...LIVE, ...live },
    tables: new Map([[about.table, about]]),
  };
}

export function waiver(gate: GateCode, until: string): StoredWaiver {
  return { id: 1, table: 'public.orders', gate, by: 'ada', reason: 'compared by hand', at: ago(1, 'h'), until };
}
