import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProgressReport, TableReport } from '../../src/core/progress.ts';
import { type Browser, noBrowser, startBrowser } from '../support/browser.ts';
import { type PageBed, startPageBed } from '../support/page-bed.ts';
import { tableReport } from '../support/progress-report.ts';

const WIDE = { width: 1440, height: 900 };
const MANY = 200;
/** Rows that the window has room for, and those a little beyond it. */
const IN_SIGHT = 24;
/** A block of the main thread that a person would take for a page that hangs. */
const HANGS_MS = 3_000;
let reports = 0;
const why = noBrowser === undefined ? '' : ` (not looked at: ${noBrowser})`;

/** Changes of the document since it was begun, by where they were. */
const WATCH = `(() => {
  const changes = window.changes = { rows: new Set(), nodes: 0, longestMs: 0 };
  new MutationObserver((records) => {
    for (const { target } of records) {
      const element = target instanceof Element ? target : target.parentElement;
      const row = element?.closest('#rows > tr');
      if (row) changes.rows.add(row.querySelector('.name').textContent);
      if (element?.closest('#rows')) changes.nodes += 1;
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) changes.longestMs = Math.max(changes.longestMs, duration);
  }).observe({ type: 'longtask', buffered: true });
})()`;

const BEGUN = new Date().toISOString();

function tables(change: (table: TableReport, index: number) => TableReport = (table) => table): TableReport[] {
  return Array.from({ length: MANY }, (_, index) =>
    change(
      tableReport(`public.table_${String(index).padStart(3, '0')}`, { stage: 'shadow', stageSince: undefined }),
      index,
    ),
  );
}

/** As a worker has it that looks again: with newer times on every gate. What was counted grows older meanwhile. */
function lookedAtAgain(
  change: (table: TableReport, index: number) => TableReport = (table) => table,
): Partial<ProgressReport> {
  const at = new Date().toISOString();
  const again = (table: TableReport): TableReport => ({
    ...table,
    gates: table.gates.map((gate) => ({ ...gate, observedAt: gate.observedAt && at })),
    writes: { ...table.writes, countedUntil: BEGUN },
  });
  return { tables: tables((table, index) => change(again(table), index)) };
}

describe.skipIf(noBrowser !== undefined)(`the page with ${MANY} tables${why}`, () => {
  let browser: Browser;
  let bed: PageBed;
  let page: Page;
  let errors: readonly string[];

  beforeAll(async () => {
    browser = await startBrowser();
    bed = await startPageBed(lookedAtAgain());
    ({ page, errors } = await browser.open(WIDE));
    await page.goto(bed.url);
    await page.waitForSelector('body[data-phase=live]');
    await page.waitForFunction(`document.querySelectorAll('#rows canvas').length > 0`);
    await page.evaluate(WATCH);
  });
  afterAll(async () => {
    await bed?.[Symbol.asyncDispose]();
    await browser?.[Symbol.asyncDispose]();
  });

  test('draws what is in sight, and no more', async () => {
    expect(await page.locator('#rows tr').count()).toBe(MANY);
    const canvases = await page.locator('#rows canvas').count();
    expect(canvases).toBeGreaterThan(0);
    expect(canvases).toBeLessThanOrEqual(2 * IN_SIGHT);
  });

  test('touches no row when every gate was looked at again', async () => {
    await nextReport(page, bed, lookedAtAgain());
    await nextReport(page, bed, lookedAtAgain());
    expect(await changes(page)).toMatchObject({ rows: [], nodes: 0 });
  });

  test('touches the row of the table that has changed, and no other', async () => {
    const next = 'backfill public.table_007 --resume';
    await nextReport(
      page,
      bed,
      lookedAtAgain((table, index) =>
        index === 7 ? { ...table, next, writes: { ...table.writes, legacyShare: 0.5 } } : table,
      ),
    );
    await page.locator('#rows tr', { hasText: 'table_007' }).getByText('--resume').waitFor();
    const { rows, nodes, longestMs } = await changes(page);
    expect(rows).toEqual(['public.table_007']);
    expect(nodes).toBeLessThan(20);
    expect(longestMs).toBeLessThan(HANGS_MS);
  });

  test('says how old a number is when the pointer comes to it', async () => {
    const row = page.locator('#rows tr', { hasText: 'table_003' });
    expect(await row.locator('[title*="Source: the WAL"], .gates[title]').count()).toBe(0);
    await row.locator('.with-spark').first().hover();
    expect(await row.locator('.with-spark').first().getAttribute('title')).toMatch(
      /Source: the WAL, counted .* ago\.$/,
    );
    await row.locator('.gates').hover();
    expect(await row.locator('.gates').getAttribute('title')).toContain('LEGACY_WRITES');
    await row.locator('.stage').hover();
    // And opens the table all the same.
    await row.locator('.gates').click();
    await page.getByRole('dialog', { name: 'public.table_003' }).waitFor();
    await page.keyboard.press('Escape');
  });

  test('can be scrolled, and draws there what it drew here', async () => {
    await page.keyboard.press('End');
    const last = page.locator('#rows tr').last();
    await last.locator('canvas').first().waitFor();
    expect(await page.locator('#rows canvas').count()).toBeLessThanOrEqual(2 * IN_SIGHT);
    expect(await page.evaluate(`scrollY > innerHeight`)).toBe(true);
    expect(await changes(page)).toMatchObject({ longestMs: expect.toSatisfy((ms: number) => ms < HANGS_MS) as number });
  });

  test('keeps the focus and its place while reports come', async () => {
    const link = page.getByRole('link', { name: 'public.table_150' });
    await link.focus();
    const place = () =>
      page.evaluate<string>(`JSON.stringify([Math.round(scrollY), document.activeElement.textContent])`);
    const before = await place();
    await nextReport(page, bed, lookedAtAgain());
    await nextReport(
      page,
      bed,
      lookedAtAgain((table, index) => (index === 150 ? { ...table, next: undefined } : table)),
    );
    expect(await place()).toBe(before);
    // On from there by the keyboard alone.
    await page.keyboard.press('Tab');
    expect(await page.evaluate(`document.activeElement.textContent`)).toBe('public.table_151');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'public.table_151' }).waitFor();
    await page.keyboard.press('Escape');
    await page.waitForFunction(`document.activeElement.textContent === 'public.table_151'`);
  });

  test('finds one by a part of its name, and gives all back', async () => {
    await page.getByLabel('Find').fill('_19');
    expect(await page.locator('#rows tr').count()).toBe(10);
    await page.getByLabel('Find').fill('');
    expect(await page.locator('#rows tr').count()).toBe(MANY);
    expect(errors).toEqual([]);
  });

  test('keeps a table’s gates as they stand in its detail, with the focus in them', async () => {
    await page.goto(`${bed.url}/#/public.table_007`);
    const dialog = page.getByRole('dialog', { name: 'public.table_007' });
    const copy = dialog.locator('.gate-list .copy').first();
    await copy.focus();
    await page.evaluate(`(() => {
      window.rebuilt = 0;
      new MutationObserver((records) => window.rebuilt += records.filter(({ type, target }) =>
        type === 'childList' && target.matches('ul, li, ol, div')).length).observe(document.getElementById('detail'),
        { subtree: true, childList: true });
    })()`);
    await nextReport(page, bed, lookedAtAgain());
    await nextReport(page, bed, lookedAtAgain());
    expect(await page.evaluate(`document.activeElement.closest('.gate-list') !== null`)).toBe(true);
    expect(await page.evaluate(`window.rebuilt`)).toBe(0);
    // The age goes on all the same.
    expect(await dialog.locator('.gate .source').first().textContent()).toMatch(/measured (just now|[\d.]+ s ago)/);
  });
});

async function changes(page: Page): Promise<{ rows: string[]; nodes: number; longestMs: number }> {
  return page.evaluate(`({ ...window.changes, rows: [...window.changes.rows].toSorted() })`);
}

/** Waits until the page has drawn the report: its header says which one that is. */
async function nextReport(page: Page, bed: PageBed, report: Partial<ProgressReport>): Promise<void> {
  reports += 1;
  const database = `legacy@db1:5432/report_${reports}`;
  bed.show({ ...report, database });
  await page.locator('#database', { hasText: database }).waitFor();
}
