// @ts-check
import { ask, askJson, Locked } from './api.js';
import { withTimes } from './moving.js';

/** @import { ProgressReport } from '../../core/progress.ts' */

/** The stream says nothing while the same report stands: then it is asked, to tell quiet from dead. */
const QUIET_MS = 5_000;
const BACKOFF_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];

/**
 * @typedef {object} Listener
 * @property {(report: ProgressReport) => void} report
 * @property {(message: string) => void} problem the worker answers, and can make no report
 * @property {(error: Error, retryAt: number) => void} failed `retryAt`: of `performance.now()`
 * @property {() => Promise<void>} locked resolves when there is another token to try
 */

/**
 * Keeps reports coming, whatever becomes of the connection.
 *
 * @param {Listener} listener
 * @returns {{ retry(): void }}
 */
export function listen(listener) {
  let failures = 0;
  /** @type {(() => void) | undefined} */
  let wake;

  const run = async () => {
    for (;;) {
      try {
        await follow({
          report(report) {
            failures = 0;
            listener.report(report);
          },
          problem: listener.problem,
        });
      } catch (error) {
        if (error instanceof Locked) {
          await listener.locked();
          failures = 0;
          continue;
        }
        const wait = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)] ?? 15_000;
        failures += 1;
        listener.failed(error instanceof Error ? error : new Error(String(error)), performance.now() + wait);
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, wait);
          wake = () => {
            clearTimeout(timer);
            resolve(undefined);
          };
        });
      }
    }
  };
  void run();
  return { retry: () => wake?.() };
}

/**
 * Rejects when the connection is lost; never resolves.
 *
 * @param {Pick<Listener, 'report' | 'problem'>} listener
 */
async function follow(listener) {
  const ended = new AbortController();
  let heardAt = performance.now();
  const heard = (/** @type {ProgressReport} */ report) => {
    heardAt = performance.now();
    listener.report(report);
  };
  try {
    heard(await askJson('/v1/tables', ended.signal));
    await Promise.race([readEvents({ report: heard, problem: listener.problem }, ended.signal), lookWhileQuiet()]);
  } finally {
    ended.abort();
  }

  async function lookWhileQuiet() {
    while (!ended.signal.aborted) {
      // A look at a clock: only silence makes it ask.
      await new Promise((resolve) => setTimeout(resolve, 500));
      if (performance.now() - heardAt >= QUIET_MS) heard(await askJson('/v1/tables', ended.signal));
    }
  }
}

/**
 * Server-sent events, read by fetch: EventSource can send no token.
 *
 * @param {Pick<Listener, 'report' | 'problem'>} listener
 * @param {AbortSignal} signal
 */
async function readEvents({ report, problem }, signal) {
  const { body } = await ask('/v1/events', signal);
  if (body === null) throw new Error('GET /v1/events answered without a body.');
  // Times are of what the stream has sent, not of what was asked for meanwhile.
  /** @type {ProgressReport | undefined} */
  let sent;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw new Error('The connection to the worker was lost.', { cause: error });
    });
    if (done) throw new Error('The worker ended the connection.');
    text += value.replaceAll('\r', '');
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = parseEvent(text.slice(0, end));
      text = text.slice(end + 2);
      if (event.name === 'report') report((sent = JSON.parse(event.data)));
      if (event.name === 'times' && sent !== undefined) report((sent = withTimes(sent, JSON.parse(event.data))));
      if (event.name === 'problem') problem(problemText(JSON.parse(event.data)));
    }
  }
}

/** @param {{ message?: string, remedy?: string }} problem */
export function problemText({ message, remedy }) {
  const what = message ?? 'The worker could not make a report; its log says why.';
  return remedy === undefined ? what : `${what} Remedy: ${remedy}.`;
}

/** @param {string} block */
export function parseEvent(block) {
  let name = 'message';
  const data = [];
  for (const line of block.split('\n')) {
    const [, field, value = ''] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') name = value;
    if (field === 'data') data.push(value);
  }
  return { name, data: data.join('\n') };
}
