import type { BackfillProgress } from '../core/status.ts';
import type { Envelope } from './consumer.ts';
import { progressLine } from './progress-line.ts';

export interface Numbers {
  readonly changes: number;
  readonly received: number;
  readonly missing: number;
  /** Of the last moments, milliseconds; undefined where nothing came. */
  readonly latencyMs: number | undefined;
  readonly state: string;
  /** Those that go on have a line of their own; one that has ended is said once. */
  readonly backfills: readonly BackfillProgress[];
  readonly wayBack: WayBackNumbers;
}

/** Of the events of the new service. */
export interface WayBackNumbers {
  readonly decisions: number;
  /** Changed by a trigger of the legacy tables. */
  readonly corrected: number;
  /** A clerk had changed the row meanwhile. */
  readonly refused: number;
  /** Rows that a trigger wrote. */
  readonly caused: number;
  readonly echoes: number;
}

export interface Screen {
  /** A line that stays. */
  say(line: string): void;
  /** A business event as it left the queue. */
  event(envelope: Envelope): void;
  /** The lines that are always there. Called a few times a second. */
  numbers(now: Numbers): void;
  close(): void;
}

const RESET = '\u001B[0m';
const DIM = '\u001B[2m';
const BOLD = '\u001B[1m';
const UP = '\u001B[1A';
const CLEAR_LINE = '\r\u001B[2K';

/** An event's colour says what it means for the shop. */
const COLOURS: Readonly<Record<string, string>> = {
  CustomerSignedUp: '\u001B[35m',
  OrderPlaced: '\u001B[36m',
  PaymentReceived: '\u001B[32m',
  OrderShipped: '\u001B[34m',
  OrderDelivered: '\u001B[32m',
  OrderCancelled: '\u001B[31m',
  CustomerForgotten: '\u001B[31m',
  ProductPriceChanged: '\u001B[33m',
  DeliveryRescheduled: '\u001B[33m',
};

/** Too many to look at, and told by their order. */
const QUIET: ReadonlySet<string> = new Set(['OrderLineAdded', 'OrderLineRemoved', 'OrderLogged']);

/** Events that a person can follow; the others are in the numbers. */
const SHOWN_PER_SECOND = 4;

/** On a terminal: events run by above lines that are written over. Elsewhere: plain lines every two seconds. */
export function createScreen(out: NodeJS.WriteStream): Screen {
  return out.isTTY ? liveScreen(out) : plainScreen(out);
}

function liveScreen(out: NodeJS.WriteStream): Screen {
  const coloured = (process.env['NO_COLOR'] ?? '') === '';
  const paint = (code: string, text: string) => (coloured ? `${code}${text}${RESET}` : text);
  const rate = meter();
  const names = new Map<string, string>();
  const ends = backfillEnds();
  let lines: readonly string[] = [];
  let shown = 0;
  let second = 0;
  const erased = () => CLEAR_LINE + `${UP}${CLEAR_LINE}`.repeat(Math.max(0, lines.length - 1));
  const draw = (next: readonly string[], above = '') => {
    out.write(`${erased()}${above}${next.join('\n')}`);
    lines = next;
  };
  const above = (text: string) => draw(lines, `${text}\n`);
  return {
    say: above,
    event(envelope) {
      remember(names, envelope);
      const { transaction } = envelope.detail.metadata;
      // What the backfill reads is on its own line, and would crowd out what happens now.
      if (transaction === undefined || QUIET.has(envelope['detail-type'])) return;
      const now = Math.floor(performance.now() / 1_000);
      if (now !== second) [second, shown] = [now, 0];
      if ((shown += 1) > SHOWN_PER_SECOND) return;
      const type = envelope['detail-type'];
      const time = transaction.committedAt.slice(11, 23);
      above(`  ${paint(DIM, time)}  ${paint(COLOURS[type] ?? DIM, type.padEnd(20))} ${story(envelope, names)}`);
    },
    numbers(now) {
      for (const end of ends(now.backfills)) above(end);
      const line = [
        paint(BOLD, ` ${rate(now.received).toFixed(0).padStart(4)} events/s`),
        `commit → bus ${paint(BOLD, now.latencyMs === undefined ? '–' : `${now.latencyMs.toFixed(1)} ms`)}`,
        `${now.changes} changes → ${now.received} events`,
        paint(DIM, `${now.missing} on the way`),
        paint(DIM, now.state),
      ].join(paint(DIM, '  │  '));
      draw([...goingOn(now.backfills).map((run) => ` ${progressLine(run)}`), ` ${wayBackLine(now.wayBack)}`, line]);
    },
    close() {
      draw([]);
    },
  };
}

function plainScreen(out: NodeJS.WriteStream): Screen {
  const rate = meter();
  const ends = backfillEnds();
  let lastAt = performance.now();
  return {
    say: (line) => void out.write(`${line}\n`),
    event: () => undefined,
    numbers(now) {
      for (const end of ends(now.backfills)) out.write(`${end}\n`);
      if (performance.now() - lastAt < 2_000) return;
      lastAt = performance.now();
      const latency = now.latencyMs === undefined ? '' : `, commit to bus ${now.latencyMs.toFixed(1)} ms`;
      out.write(
        `${now.changes} changes committed, ${now.received} events received (${rate(now.received).toFixed(0)}/s${latency}), ${now.missing} on the way, ${now.state}\n`,
      );
      out.write(`${wayBackLine(now.wayBack)}\n`);
      for (const run of goingOn(now.backfills)) out.write(`${progressLine(run)}\n`);
    },
    close: () => undefined,
  };
}

function wayBackLine({ decisions, corrected, refused, caused, echoes }: WayBackNumbers): string {
  return `the way back: ${decisions} decisions, ${corrected} corrected by a trigger, ${refused} refused, ${caused} rows caused, ${echoes} echoes published`;
}

function goingOn(backfills: readonly BackfillProgress[]): readonly BackfillProgress[] {
  return backfills.filter(({ status }) => status === 'waiting' || status === 'running' || status === 'paused');
}

/** The lines of runs that have ended since it was asked last. */
function backfillEnds(): (backfills: readonly BackfillProgress[]) => string[] {
  const said = new Set<number>();
  return (backfills) => {
    const open = new Set(goingOn(backfills));
    const news = backfills.filter((run) => !open.has(run) && !said.has(run.run));
    for (const { run } of news) said.add(run);
    return news.map(progressLine);
  };
}

/** Growth per second of a count, over the last two seconds or so. */
function meter(): (count: number) => number {
  const seen: { at: number; count: number }[] = [];
  return (count) => {
    const at = performance.now();
    seen.push({ at, count });
    while (seen.length > 2 && at - (seen[0]?.at ?? at) > 2_500) seen.shift();
    const first = seen[0] ?? { at, count };
    return at > first.at ? ((count - first.count) * 1_000) / (at - first.at) : 0;
  };
}

/** Customers by their names, as their own events told them: all that is shown comes from events, nothing is looked up. */
function remember(names: Map<string, string>, { detail: { data } }: Envelope): void {
  const { customerId, name } = data;
  if (typeof customerId === 'string' && typeof name === 'string') names.set(customerId, name);
}

/** What happened, in a few words. */
function story(
  { 'detail-type': type, detail: { metadata, data } }: Envelope,
  names: ReadonlyMap<string, string>,
): string {
  const field = (name: string): string => {
    const value = data[name];
    return typeof value === 'string' || typeof value === 'number' ? `${value}` : '–';
  };
  const customer = names.get(field('customerId')) ?? 'somebody';
  switch (type) {
    case 'CustomerSignedUp':
      return `${field('name')} in ${field('city')}`;
    case 'CustomerChanged':
      return `${field('name')} is ${field('tier')}`;
    case 'CustomerForgotten':
      return customer;
    case 'ProductPriceChanged':
      return `${field('name')} now ${field('price')}`;
    case 'PaymentReceived':
      return `order ${field('orderId')}: ${field('amount')} by ${field('method')}${data['card'] == null ? '' : ` ${field('card')}`}`;
    case 'DeliveryAdded':
    case 'DeliveryRescheduled': {
      const who = metadata.origin === 'correction' ? 'the legacy database corrects' : 'a clerk moves';
      return `${who} order ${field('orderId')}: ${field('promisedOn')}, ${field('slot')}`;
    }
    default:
      return `order ${field('orderId')} of ${customer}`;
  }
}
