import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';

const PATH = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';

/** Why tests in a browser can not run here; undefined: they can. */
export const noBrowser = existsSync(PATH)
  ? undefined
  : `there is no Chromium at ${PATH}: install it, or set CHROMIUM_PATH to one`;

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A browser with a profile of its own. */
export interface Browser extends AsyncDisposable {
  open(size: { width: number; height: number }): Promise<WatchedPage>;
}

export interface WatchedPage {
  readonly page: Page;
  /** Errors of scripts, of the console, and breaches of the content security policy; without requests that failed. */
  readonly errors: readonly string[];
  /** All addresses that it asked for. */
  readonly asked: readonly string[];
}

export async function startBrowser(): Promise<Browser> {
  const parts = new AsyncDisposableStack();
  const profile = await mkdtemp(join(tmpdir(), 'banyan-browser-'));
  parts.defer(() => rm(profile, { recursive: true, force: true, maxRetries: 5 }));
  const context: BrowserContext = await chromium.launchPersistentContext(profile, {
    executablePath: PATH,
    args: ARGUMENTS,
  });
  parts.defer(() => context.close());
  await context.addInitScript(`addEventListener('securitypolicyviolation',
    (event) => console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI));`);
  return {
    async open(size) {
      const page = await context.newPage();
      await page.setViewportSize(size);
      const errors: string[] = [];
      const asked: string[] = [];
      page.on('pageerror', (error) => void errors.push(error.message));
      page.on('console', (message) => {
        // The browser notes each answer that is no success; the tests ask for some.
        if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
          errors.push(message.text());
      });
      page.on('request', (request) => void asked.push(request.url()));
      return { page, errors, asked };
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
