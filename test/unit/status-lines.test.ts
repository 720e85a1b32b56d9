import { describe, expect, test } from 'vitest';
import { cutEnd, cutMiddle, widthOf } from '../../src/cli/fit-columns.ts';
import { statusLines } from '../../src/cli/status-lines.ts';
import { bytes, short } from '../../src/cli/status-words.ts';
import type { ProgressReport, TableReport } from '../../src/core/progress.ts';
import { displayName } from '../../src/postgres/identifier.ts';
import { databaseOf } from '../../src/progress/report.ts';
import { shellWord } from '../../src/progress/words.ts';
import { progressReport, tableReport } from '../support/progress-report.ts';

const lines = (report: ProgressReport, noWorker?: string) =>
  statusLines({ report, noWorker, output: { paint: (_style, text) => text } });

const NOTHING_BACKFILLED = { backfill: undefined };

function partsOf(table: string): { schema: string; name: string } {
  const [schema = '', name = ''] = table.split('.');
  return { schema, name };
}

/** The line of a table whose backfill runs. */
function running(more: object): string {
  return (
    lines(
      progressReport({
        tables: [
          tableReport('public.orders', {
            next: 'run',
            backfill: {
              status: 'running',
              rowsSent: 8_100_000,
              rowsEstimated: 8_100_500,
              share: 0.99,
              ratePerSecond: 1_000,
              etaSeconds: 1_320,
              reason: undefined,
              finishedAt: undefined,
              ...more,
            },
          }),
        ],
      }),
    ).at(-1) ?? ''
  );
}

/** How the lines of a status name these tables. */
function namesOf(tables: readonly { readonly schema: string; readonly name: string }[]): string[] {
  const reports = tables.map(({ schema, name }) =>
    tableReport(`${schema}.${name}`, { display: displayName({ schema, name }), next: 'run' }),
  );
  return lines(progressReport({ tables: reports }))
    .slice(2)
    .map((line) => line.slice(0, line.indexOf(' dual')).trim());
}

describe('the lines of a status', () => {
  test('say it all of each table on one line', () => {
    const [head, ...table] = lines(
      progressReport({
        tables: [
          tableReport('public.orders', { next: 'verdict orders' }),
          tableReport('public.customers', {
            stage: 'shadow',
            verdict: 'ready',
            open: { deadLetters: 2, waiting: 1, conflicts: 0, held: undefined },
            next: 'run',
            ...NOTHING_BACKFILLED,
          }),
        ],
      }),
    );
    expect(head).toBe(
      'shop  shop_app@db1:5432/shop  slot banyan_shop active · lag 0.8 s / 1.2 MB · WAL held 48 MB of 10 GB',
    );
    expect(table).toEqual([
      'TABLE      STAGE   GATES  BACKFILL  PARITY  OLD/NEW 1 d    OPEN  NEXT',
      'orders     dual    1/3    done      -       12.4 / 87.6 %  0     verdict orders',
      'customers  shadow  1/3    -         -       12.4 / 87.6 %  3     run',
    ]);
  });

  test('never say that a backfill is done before it is, and mark what is estimated', () => {
    expect(running({})).toContain('~99 % 8.1M eta ~22 min');
    expect(running({ share: undefined, etaSeconds: undefined })).toMatch(/ {2}8\.1M {2}/);
    expect(running({ status: 'paused' })).toContain('paused ~99 % 8.1M');
  });

  test('say that no worker answers, and how old the counts are', () => {
    const report = progressReport({ worker: undefined, bus: undefined, reverse: undefined });
    expect(lines(report, 'no worker answered at http://127.0.0.1:8080').slice(1, 3)).toEqual([
      'no worker answered at http://127.0.0.1:8080',
      '  its lag in time and its pace are not known; writes are counted up to 2026-03-01 12:00 UTC',
    ]);
  });

  test('tell of an open gap also where no worker does', () => {
    const gaps = [{ kind: 'slot-missing', subject: 'banyan_shop', detectedAt: '2026-03-01T11:00:00.000Z' }];
    const report = progressReport({ worker: undefined, bus: undefined, reverse: undefined, gaps });
    expect(lines(report, 'no worker answered').slice(3, 5)).toEqual([
      'a gap since 2026-03-01 11:00 UTC (slot-missing, banyan_shop): changes may be missing',
      '  → `banyan recover` shows it',
    ]);
  });

  test('show what is wrong, with its remedy, and when the WAL budget is used up', () => {
    const problem = { kind: 'bus-missing', message: 'no such bus', remedy: 'create it', since: '' } as const;
    const report = progressReport();
    const wal = {
      ...report.slot.wal,
      growthPerSecond: 3_000_000,
      exhaustedInSeconds: 21_600,
      action: 'drop-slot',
    } as const;
    const shown = lines({
      ...report,
      worker: { state: 'waiting', problem, version: '', startedAt: '' },
      slot: { ...report.slot, wal },
    });
    expect(shown).toEqual(
      expect.arrayContaining([
        'worker: no such bus',
        '  → create it',
        'the WAL budget is used up in ~6.0 h at 3 MB/s; then a slot that does not drain is dropped',
      ]),
    );
  });

  test('never cut a remedy, whose end says what to do', () => {
    const remedy = `read the gap report, ${'and read it again, '.repeat(8)}then \`banyan recover --accept-gap\``;
    const problem = { kind: 'gap', message: 'the slot is gone', remedy, since: '' } as const;
    const shown = lines({ ...progressReport(), worker: { state: 'halted', problem, version: '', startedAt: '' } });
    const from = shown.findIndex((line) => line.startsWith('  → '));
    const told = shown.slice(
      from,
      shown.findIndex((line) => line.startsWith('TABLE')),
    );
    expect(told.length).toBeGreaterThan(1);
    expect(told.map((line) => line.trim()).join(' ')).toBe(`→ ${remedy}`);
    expect(told.filter((line) => widthOf(line) > 100)).toEqual([]);
  });

  test('show calmly that the worker stands by, and for whom', () => {
    const problem = {
      kind: 'slot-in-use',
      message: 'slot banyan_shop is read by banyan shop (pid 4711)',
      remedy: 'none: this worker takes over when the other one stops',
      since: '',
    } as const;
    const shown = statusLines({
      report: progressReport({ worker: { state: 'standby', problem, version: '', startedAt: '' } }),
      noWorker: undefined,
      output: { paint: (style, text) => `${[style].flat().join(' ')}: ${text}` },
    });
    expect(shown).toContain('worker stands by: slot banyan_shop is read by banyan shop (pid 4711)');
    expect(shown.filter((line) => line.startsWith('red'))).toEqual([]);
  });

  test('show a waiver, and that not all of the time was counted', () => {
    const table = tableReport('public.orders');
    const waiver = { by: 'ada', reason: 'no parity yet', until: '2026-04-01T00:00:00.000Z' };
    const gates = table.gates.map((gate) => (gate.code === 'PARITY' ? { ...gate, waiver } : gate));
    const writes = { ...table.writes, covered: 'part' } as const;
    const shown = lines(progressReport({ tables: [{ ...table, gates, writes }] }));
    expect(shown.join('\n')).toMatch(/ 2\/3\* .*~12\.4 \/ 87\.6 %/);
    expect(shown.slice(-2)).toEqual([expect.stringMatching(/^\* with waivers/), expect.stringMatching(/^~ writes/)]);
  });

  test('say that nothing was counted of a time, and not that nobody wrote in it', () => {
    const { writes } = tableReport('public.orders');
    const rows = ([covered, legacyShare]: readonly ['none' | 'part', number | undefined]) =>
      lines(
        progressReport({ tables: [tableReport('public.orders', { writes: { ...writes, covered, legacyShare } })] }),
      );
    expect(rows(['none', 0.124])[2]).toMatch(/ not counted {2}/);
    expect(rows(['part', undefined])[2]).toMatch(/ ~none {2}/);
    expect(rows(['part', undefined]).at(-1)).toMatch(/^~ writes: not all/);
  });

  test('name tables as commands take them, without the schema that is the same everywhere', () => {
    const [schema, name] = ['My.Schema', 'Order.Items'];
    expect(
      namesOf([
        { schema, name },
        { schema, name: 'orders' },
      ]),
    ).toEqual(['"Order.Items"', 'orders']);
    expect(
      namesOf([
        { schema, name: 'a' },
        { schema: 'My', name: 'b' },
      ]),
    ).toEqual(['"My.Schema".a', '"My".b']);
  });

  test('shorten the name of the table in a command before anything else of it', () => {
    const writes = { ...tableReport('public.orders').writes, legacyShare: undefined };
    const more = { stage: 'backfilling', writes, open: { deadLetters: 0, waiting: 0, conflicts: 0, held: undefined } };
    const next = 'verdict shop.customers --to new-primary';
    for (let width = 20; width < 40; width += 1) {
      const other = tableReport(`shop.${'o'.repeat(width)}`, { ...more, next: 'run' } as Partial<TableReport>);
      const shown = lines(
        progressReport({ tables: [tableReport('shop.customers', { ...more, next } as Partial<TableReport>), other] }),
      );
      expect(shown.filter((line) => widthOf(line) > 100)).toEqual([]);
      expect(shown[2]).toMatch(/ verdict (shop\.customers|…) --to new-primary$/);
    }
  });

  test.each([
    [
      'long',
      (n: number) => `${'accounting_department_'.repeat(2)}x.${'quarterly_statement_of_everything_'.repeat(2)}${n}`,
    ],
    ['wide', (n: number) => `${'会計部'.repeat(7)}.${'四半期報告書'.repeat(4)}${n}`],
    ['hostile', (n: number) => `public.\u001B[2J\u202E${'a'.repeat(50)}${n}`],
  ])('fit into 100 columns with %s names, and tell them apart', (_, nameOf) => {
    const names = Array.from({ length: 200 }, (_value, index) => nameOf(index));
    const problem = { kind: 'gap', message: 'm'.repeat(300), remedy: 'r'.repeat(300), since: '' } as const;
    const shown = lines({
      ...progressReport({
        database: `${'user'.repeat(20)}@${'host'.repeat(30)}:5432/shop`,
        stale: problem,
        worker: { state: 'halted', problem, version: '', startedAt: '' },
      }),
      tables: names.map((name) =>
        tableReport(name, {
          next: `verdict ${shellWord(displayName(partsOf(name)))} --to retired`,
          stage: 'new-primary',
          backfill: {
            status: 'running',
            rowsSent: 123_456_789,
            rowsEstimated: 200_000_000,
            share: 0.617,
            ratePerSecond: 1,
            etaSeconds: 86_400 * 400,
            reason: undefined,
            finishedAt: undefined,
          },
          open: { deadLetters: 123_456, waiting: 0, conflicts: 0, held: problem },
        }),
      ),
    });
    expect(shown.filter((line) => widthOf(line) > 100)).toEqual([]);
    expect(shown.join('')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(new Set(shown.filter((line) => line.includes('new-primary'))).size).toBe(200);
    // The row says of which table the command is.
    expect(shown.at(-1)).toContain('verdict … -');
  });
});

describe('text', () => {
  test('that is too long loses its middle, or its end, never more than it must', () => {
    expect(cutMiddle('abcdefghij', 10)).toBe('abcdefghij');
    expect(cutMiddle('abcdefghij', 5)).toBe('ab…ij');
    expect(cutMiddle('四半期報告書', 7)).toBe('四半…書');
    expect(widthOf(cutMiddle('四半期報告書', 7))).toBeLessThanOrEqual(7);
    expect(cutEnd('abcdefghij', 5)).toBe('abcd…');
    expect(cutEnd('abc', 0)).toBe('');
  });

  test('of amounts is short', () => {
    expect([0, 999, 1_000, 48_000_000, 1_200_000, 999_600, 10_000_000_000].map(bytes)).toEqual([
      '0 B',
      '999 B',
      '1 kB',
      '48 MB',
      '1.2 MB',
      '1 MB',
      '10 GB',
    ]);
    expect([0, 950, 8_100_000, 61_400].map(short)).toEqual(['0', '950', '8.1M', '61k']);
  });

  test('of a database URL never holds its password', () => {
    expect(databaseOf('postgresql://app:secret@db1:5432/shop?sslmode=require')).toBe('app@db1:5432/shop');
    expect(databaseOf('postgres://app:se@cr/et@db1/shop')).toBe('app@db1/shop');
    expect(databaseOf('postgresql://db1/shop')).toBe('db1/shop');
    expect(databaseOf('postgresql:///shop?password=secret')).toBe('/shop');
  });
});
