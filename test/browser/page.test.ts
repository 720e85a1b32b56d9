import pg from 'pg';
import { pino } from 'pino';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { BanyanError } from '../../src/core/errors.ts';
import type { Stage } from '../../src/core/progress.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { moveStage } from '../../src/progress/move.ts';
import { startWorker, type Worker } from '../../src/worker.ts';
import { type Browser, noBrowser, startBrowser } from '../support/browser.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

const TOKEN = 'a-token-of-the-tests';
const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 360, height: 780 };
const SCROLLS = `document.scrollingElement.scrollWidth > innerWidth`;

type Started = Worker & AsyncDisposable;

/** A worker as `run` starts it, on a port that the next one can have again. */
async function start(bed: WorkerBed, http: { port: number; token?: string }): Promise<Started> {
  const config = {
    name: new URL(bed.url).pathname.slice(1),
    legacy: { url: bed.url, heartbeat: '1s' },
    bus: { type: 'local', name: 'shop-legacy', endpoint: bed.bus.url, linger: '1ms' },
    capture: [{ table: 'public.orders' }, { table: 'public.customers' }],
    http,
    shutdownTimeout: '5s',
  };
  const loaded = await parseConfig(JSON.stringify(config), { file: undefined, env: {} });
  const worker = await startWorker({ loaded, log: pino({ level: 'silent' }) });
  return Object.assign(worker, { [Symbol.asyncDispose]: () => worker.stop() });
}

const setup = `create table orders (id integer primary key, note text);
  create table customers (id integer primary key, name text)`;

const why = noBrowser === undefined ? '' : ` (not looked at: ${noBrowser})`;

describe.skipIf(noBrowser !== undefined)(`the page${why}`, () => {
  let server: EmbeddedPostgres;
  let browser: Browser;

  beforeAll(async () => {
    server = await EmbeddedPostgres.start();
    browser = await startBrowser();
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await server?.stop();
  });

  test('follows the worker: numbers, a stage, its end, and its return', async () => {
    await using bed = await makeBed(server, { name: 'page_live', setup });
    await using first = await start(bed, { port: 0 });
    const { page, errors, asked } = await browser.open(WIDE);
    await page.goto(first.url);
    await page.waitForSelector('body[data-phase=live]');
    await eventually(() => first.status().state === 'streaming');

    // Numbers: exactly what was committed.
    await bed.sql(`insert into orders select n, 'x' from generate_series(1, 40) as n`);
    await page.goto(`${first.url}/#/public.orders`);
    await legacyWrites(page, '40');
    await bed.sql(`update orders set note = 'y' where id <= 7`);
    await legacyWrites(page, '47');
    await eventually(async () => {
      const { accepted } = first.status().bus;
      const shown = await page.locator('#health .reading', { hasText: 'Bus' }).locator('.about').textContent();
      return accepted >= 47 && shown?.startsWith(`${accepted} accepted`);
    });

    // A stage: in the list, in the detail, and for those who listen.
    await move(bed, { table: 'public.orders', to: 'dual' });
    await page.locator('#detail .steps [aria-current=step]', { hasText: 'dual' }).waitFor();
    await page.locator('#announce', { hasText: 'public.orders moved from' }).waitFor({ state: 'attached' });
    expect(await page.locator('#announce').textContent()).toContain('to dual');
    await page.keyboard.press('Escape');
    await rowOf(page, 'orders').locator('.stage b', { hasText: 'dual' }).waitFor();

    // Its end.
    await first.stop();
    await page.waitForSelector('body[data-phase=stale]', { timeout: 25_000 });
    expect(await page.locator('#banner').textContent()).toMatch(
      /^Old: the last report is of \d+ s ago\. .+Trying again/,
    );
    expect(await page.locator('#announce').textContent()).toContain('No report comes any more');
    expect(await page.evaluate(`getComputedStyle(document.querySelector('main')).filter`)).toBe('grayscale(1)');

    await using second = await start(bed, { port: Number(new URL(first.url).port) });
    await page.waitForSelector('body[data-phase=live]', { timeout: 30_000 });
    expect(second.url).toBe(first.url);
    expect(await page.locator('#banner').isHidden()).toBe(true);

    expect(errors).toEqual([]);
    expect(asked.filter((url) => new URL(url).origin !== first.url)).toEqual([]);
  }, 120_000);

  test('asks for the token, says that one is wrong, and keeps it out of every address', async () => {
    await using bed = await makeBed(server, { name: 'page_token', setup });
    await using worker = await start(bed, { port: 0, token: TOKEN });
    const { page, errors, asked } = await browser.open(NARROW);
    await page.goto(worker.url);
    const field = page.getByLabel('Token', { exact: true });
    await field.fill('wrong');
    await page.getByRole('button', { name: 'Open' }).click();
    await page.getByText('That token is wrong').waitFor();
    await field.fill(TOKEN);
    await page.keyboard.press('Enter');
    await page.waitForSelector('body[data-phase=live]');
    await rowOf(page, 'customers').waitFor();
    await page.getByText('History of the connector').click();
    await page.locator('#history-body canvas').first().waitFor();
    expect(asked.filter((url) => url.includes(TOKEN) || url.includes('wrong'))).toEqual([]);
    expect(page.url()).not.toContain(TOKEN);

    await page.getByRole('button', { name: 'Forget token' }).click();
    await field.waitFor();
    expect(await page.locator('#rows tr').count()).toBe(0);
    expect(await page.evaluate(`sessionStorage.length`)).toBe(0);
    expect(errors).toEqual([]);
  });

  test('can be used by the keyboard, be listened to, and stays within 360 px', async () => {
    await using bed = await makeBed(server, { name: 'page_access', setup });
    await using worker = await start(bed, { port: 0 });
    const { page, errors } = await browser.open(NARROW);
    await page.goto(worker.url);
    await page.waitForSelector('body[data-phase=live]');
    await rowOf(page, 'orders').waitFor();
    expect(await page.evaluate(SCROLLS)).toBe(false);

    // What a screen reader finds. Rows are laid out as grids here: their roles must still be those of a table.
    const table = page.getByRole('table', { name: 'Tables' });
    expect(await table.getByRole('row').count()).toBe(3);
    expect(await table.getByRole('rowheader').count()).toBe(2);
    expect(await page.locator('#tables thead [role=columnheader]').count()).toBe(8);
    expect(await page.getByRole('heading', { level: 1 }).count()).toBe(1);
    expect(await page.getByRole('main').count()).toBe(1);
    expect(await page.getByRole('banner').count()).toBe(1);
    expect(await withoutName(page)).toEqual([]);

    // The keyboard alone: a table opens, Escape closes it, and the focus is where it was.
    const link = page.getByRole('link', { name: 'public.orders' });
    await link.focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'public.orders' });
    await dialog.waitFor();
    expect(page.url()).toContain('#/public.orders');
    expect(await page.evaluate(`document.getElementById('detail').contains(document.activeElement)`)).toBe(true);
    expect(await withoutName(page)).toEqual([]);
    expect(
      await page.evaluate(
        `(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)(document.getElementById('detail'))`,
      ),
    ).toBe(false);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    // The event of the closing comes a moment after it.
    await page.waitForURL((url) => url.hash === '');
    expect(await page.evaluate(`document.activeElement.textContent`)).toBe('public.orders');

    const background = `getComputedStyle(document.documentElement).backgroundColor`;
    const light = await page.evaluate(background);
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await page.evaluate(background)).not.toBe(light);
    expect(errors).toEqual([]);
  });
});

function rowOf(page: Page, name: string) {
  return page.locator('#rows tr', { has: page.getByText(name, { exact: true }) });
}

async function legacyWrites(page: Page, number: string): Promise<void> {
  const count = page.locator('#detail .classes li', { hasText: 'legacy' }).locator('b');
  let shown = '';
  await eventually(
    async () => (shown = (await count.textContent()) ?? '') === number,
    () => `the page shows ${shown} legacy writes, not ${number}`,
    { timeoutMs: 20_000, everyMs: 100 },
  );
}

/** As `stage --to` does. What moves by itself may be faster: then it is tried from there. */
async function move(bed: WorkerBed, { table, to }: { table: string; to: Stage }): Promise<void> {
  const state = await bed.state();
  const legacyPool = new pg.Pool({ connectionString: bed.url, max: 1 });
  try {
    await eventually(async () => {
      const from = await state.stages.get(table);
      try {
        return await moveStage({ state, legacyPool, table, from, to, actor: 'the tests', verdict: undefined });
      } catch (error) {
        if (error instanceof BanyanError && error.kind === 'usage') return undefined;
        throw error;
      }
    });
  } finally {
    await legacyPool.end();
  }
}

function withoutName(page: Page): Promise<unknown> {
  return page.evaluate(`[...document.querySelectorAll('a, button, input, select, summary, img, canvas, dialog[open]')]
    .filter((node) => node.checkVisibility() && node.closest('[aria-hidden=true]') === null)
    .filter((node) => !(node.ariaLabel || node.labels?.length || node.textContent.trim() || node.hasAttribute('alt') ||
      document.getElementById(node.getAttribute('aria-labelledby'))))
    .map((node) => node.outerHTML.slice(0, 120))`);
}
