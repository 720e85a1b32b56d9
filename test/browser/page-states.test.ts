import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProgressReport } from '../../src/core/progress.ts';
import { type Browser, noBrowser, startBrowser } from '../support/browser.ts';
import { startPageBed } from '../support/page-bed.ts';
import { progressReport, tableReport } from '../support/progress-report.ts';

const WIDE = { width: 1440, height: 900 };
const why = noBrowser === undefined ? '' : ` (not looked at: ${noBrowser})`;

describe.skipIf(noBrowser !== undefined)(`what the page says${why}`, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
  });

  async function open(report: Partial<ProgressReport>, path = '') {
    const bed = await startPageBed(report);
    const { page, errors } = await browser.open(WIDE);
    await page.goto(`${bed.url}/${path}`);
    await page.waitForSelector('body[data-phase=live]');
    return {
      ...bed,
      page,
      errors,
      [Symbol.asyncDispose]: async () => {
        await page.close();
        await bed[Symbol.asyncDispose]();
      },
    };
  }

  test('every command takes a table’s name as SQL and the shell do', async () => {
    const table = tableReport('sales.Order Items', {
      display: 'sales."Order Items"',
      next: `verdict 'sales."Order Items"' --to new-primary`,
      gates: [],
      open: { deadLetters: 1, waiting: 0, conflicts: 1, held: undefined },
    });
    await using bed = await open({ tables: [table] }, `#/${encodeURIComponent(table.table)}`);
    const dialog = bed.page.getByRole('dialog', { name: 'sales.Order Items' });
    await dialog.waitFor();
    expect(await dialog.locator('.command code').allTextContents()).toEqual([
      `banyan verdict 'sales."Order Items"' --to new-primary`,
      `banyan dead-letters list --table 'sales."Order Items"'`,
      `banyan conflicts list --open --table 'sales."Order Items"'`,
      `banyan readers 'sales."Order Items"'`,
      `banyan writers 'sales."Order Items"'`,
    ]);
    await bed.page.keyboard.press('Escape');
    // What has a space in it is still a command, with a button that copies it.
    expect(await bed.page.locator('#rows .next .command code').textContent()).toBe(`banyan ${table.next}`);
    expect(bed.errors).toEqual([]);
  });

  test('a worker that stands by is no problem: it says for whom', async () => {
    const { worker, bus } = progressReport();
    const problem = {
      kind: 'slot-in-use',
      message: 'slot banyan_shop is read by banyan shop (pid 4711)',
      remedy: 'none: this worker takes over when the other one stops',
      since: '2026-03-01T11:00:00.000Z',
    } as const;
    await using bed = await open({
      worker: worker && { ...worker, state: 'standby', problem },
      bus: bus && { ...bus, state: undefined },
      reverse: { state: 'off', problem: undefined, inHand: 0, lagSeconds: undefined },
    });
    const note = bed.page.locator('#problems .problem');
    expect(await note.count()).toBe(1);
    expect(await note.textContent()).toContain('slot banyan_shop is read by banyan shop (pid 4711)');
    expect(await note.textContent()).not.toContain('Remedy');
    expect(await classesOf(bed.page, '#problems .problem')).toContain('mild');
    expect(await levels(bed.page)).toMatchObject({ Worker: 'plain', Bus: 'unknown', 'Way back': 'unknown' });
    expect(bed.errors).toEqual([]);
  });
});

function classesOf(page: Page, selector: string): Promise<string[]> {
  return page.evaluate(`[...document.querySelector('${selector}').classList]`);
}

/** How each card of the health strip is shown. */
function levels(page: Page): Promise<Record<string, string>> {
  return page.evaluate(`Object.fromEntries([...document.querySelectorAll('#health .reading')]
    .map((card) => [card.querySelector('h2').textContent, [...card.classList].at(-1)]))`);
}
