import type { Config } from '../config/schema.ts';
import { toBanyanError } from '../core/errors.ts';
import type { ProgressReport } from '../core/progress.ts';
import { sleep } from '../flow/supervise.ts';
import { createPool } from '../postgres/connection.ts';
import { progressReport } from '../progress/report.ts';
import { keepUses, type LookAtUses } from '../progress/uses.ts';
import { connectionOf } from '../worker.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { type LiveStatus, liveStatus } from './live-status.ts';
import { createLogger } from './log.ts';
import type { Output } from './output.ts';
import { shutdownOnSignal } from './signals.ts';
import { statusLines } from './status-lines.ts';
import { withState } from './with-state.ts';

export interface StatusOptions {
  /** Again and again, until a signal comes. */
  readonly watch: boolean;
  /** For tests; default: SIGINT and SIGTERM. */
  readonly signal?: AbortSignal;
  /** Default: 2 s. */
  readonly everyMs?: number;
}

const EVERY_MS = 2_000;
/** Cursor to the upper left, and what is below away: a screen that is cleared first would flicker. */
const HOME = '\u001B[H';
const CLEAR_LINE = '\u001B[K';
const CLEAR_BELOW = '\u001B[J';
const CLEAR = '\u001B[2J';

/** How far the migration is, one line a table. Needs no worker: what only it knows is missing then, and that is said. */
export async function status(options: StatusOptions, context: CommandContext): Promise<ExitCode> {
  const { config } = await loadFor(context);
  if (!options.watch) {
    show(await look(config), context.output);
    return ExitCode.ok;
  }
  using shutdown =
    options.signal === undefined ? shutdownOnSignal() : { signal: options.signal, [Symbol.dispose]() {} };
  await watch(config, { ...options, signal: shutdown.signal, output: context.output });
  return ExitCode.ok;
}

interface Seen extends LiveStatus {
  readonly report: ProgressReport;
}

async function look(config: Config, lookAtUses?: LookAtUses): Promise<Seen> {
  const worker = await liveStatus(config);
  const log = createLogger({ level: 'error', stream: process.stderr });
  const report = await withState(config, async (state) => {
    const isSame = config.state.url === undefined;
    const pool = isSame ? state.scope.pool : createPool(connectionOf(config), { max: 2, log });
    try {
      return await progressReport({ config, state, pool, ...worker, lookAtUses, now: new Date() });
    } finally {
      if (!isSame) await pool.end();
    }
  });
  return { ...worker, report };
}

function show({ report, noWorker }: Seen, output: Output): void {
  if (output.json) output.value(report);
  else for (const line of statusLines({ report, noWorker, output })) output.line(line);
}

async function watch(
  config: Config,
  { signal, output, everyMs = EVERY_MS }: StatusOptions & { readonly signal: AbortSignal; readonly output: Output },
): Promise<void> {
  const draw = output.json ? undefined : output.draw;
  draw?.(CLEAR);
  const lookAtUses = keepUses(config);
  for (;;) {
    const lines = await view(config, { lookAtUses, output });
    if (signal.aborted) return;
    if (draw !== undefined) draw(`${HOME}${lines.map((line) => `${line}${CLEAR_LINE}\n`).join('')}${CLEAR_BELOW}`);
    else for (const line of output.json ? lines : [...lines, '']) output.line(line);
    try {
      await sleep(everyMs, signal);
    } catch {
      return;
    }
  }
}

/** A database that is away for a moment does not end it. */
async function view(
  config: Config,
  { lookAtUses, output }: { readonly lookAtUses: LookAtUses; readonly output: Output },
): Promise<readonly string[]> {
  try {
    const { report, noWorker } = await look(config, lookAtUses);
    if (output.json) return [JSON.stringify(report)];
    return [`${report.at.slice(11, 19)} UTC`, ...statusLines({ report, noWorker, output })];
  } catch (error) {
    const { kind, message, remedy } = toBanyanError(error, 'looking at how far the tables are');
    if (output.json) return [JSON.stringify({ error: { kind, message, remedy } })];
    return [output.paint('red', message), `  → ${remedy}`];
  }
}
