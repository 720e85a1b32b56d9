import { BanyanError, type ErrorKind } from '../core/errors.ts';
import { ExitCode } from './context.ts';
import type { Output } from './output.ts';

const exitCodes: Readonly<Partial<Record<ErrorKind, ExitCode>>> = {
  config: ExitCode.usage,
  usage: ExitCode.usage,
  preflight: ExitCode.preflight,
  // Nothing is wrong, only not now: another worker holds the slot, or none answers; the server is away.
  'slot-in-use': ExitCode.notReady,
  'database-unavailable': ExitCode.notReady,
};

export function exitCodeOf(error: unknown): ExitCode {
  return (error instanceof BanyanError ? exitCodes[error.kind] : undefined) ?? ExitCode.unexpected;
}

/**
 * What failed and what to do; the stack only for whoever debugs Banyan itself. Other errors than ours keep their message, since nobody else will
 * say it, but for those of a database, whose messages quote values.
 */
export function printFailure(
  error: unknown,
  options: { output: Output; stderr: NodeJS.WritableStream; verbose: boolean },
): void {
  const { output, stderr, verbose } = options;
  const message = messageOf(error);
  const remedy = error instanceof BanyanError ? error.remedy : undefined;
  if (output.json) {
    const kind = error instanceof BanyanError ? error.kind : 'unknown';
    const code = error instanceof BanyanError ? error.code : undefined;
    output.value({ error: { kind, message, remedy, code } });
  } else {
    stderr.write(`banyan: ${message}\n`);
    if (remedy !== undefined && !remedy.startsWith('none')) stderr.write(`  → ${remedy}\n`);
  }
  if (verbose) stderr.write(`${stackOf(error)}\n`);
}

function messageOf(error: unknown): string {
  if (error instanceof BanyanError) return error.message;
  if (isDatabaseError(error)) return `the database refused a statement (SQLSTATE ${error.code})`;
  if (error instanceof Error && error.name === 'AbortError') return 'stopped';
  return error instanceof Error ? `unexpected: ${error.message}` : 'unexpected: something that is no error was thrown';
}

function stackOf(error: unknown, depth = 0): string {
  if (!(error instanceof Error) || depth > 5) return '';
  const frames = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  const cause = stackOf(error.cause, depth + 1);
  return [`${error.name}: ${messageOf(error)}`, ...frames, ...(cause === '' ? [] : [`caused by ${cause}`])].join('\n');
}

/** By shape: importing pg would cost every command its start-up. */
export function isDatabaseError(error: unknown): error is Error & { readonly code: string } {
  return (
    error instanceof Error &&
    'severity' in error &&
    'code' in error &&
    typeof error.code === 'string' &&
    /^[0-9A-Z]{5}$/.test(error.code)
  );
}
