import { pino, type DestinationStream, type Logger } from 'pino';
import { BanyanError } from '../core/errors.ts';
import { isDatabaseError } from './failure.ts';

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Default: stdout, as an orchestrator wants it. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** Names under which somebody may once log a secret, whatever the rules say. */
const SECRETS = ['url', 'connectionString', 'password', 'token', 'maskKey', 'authorization', 'secretAccessKey'];

/**
 * One JSON object a line; where a person looks (a terminal), the same facts as a line to read. Errors are logged without what a
 * database may have quoted from a row.
 */
export function createLogger(options: LogOptions): Logger {
  const stream = options.stream ?? process.stdout;
  const destination: DestinationStream =
    stream.isTTY === true ? { write: (line) => void stream.write(humanLine(line)) } : stream;
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
      errorKey: 'error',
      serializers: { error: describeError, err: describeError },
      redact: { paths: [...SECRETS, ...SECRETS.map((name) => `*.${name}`)], censor: 'redacted' },
    },
    destination,
  );
}

function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return typeof error === 'object' && error !== null ? error : { name: typeof error };
  const ours = error instanceof BanyanError ? error : undefined;
  const code = ours?.code ?? ('code' in error && typeof error.code === 'string' ? error.code : undefined);
  const frames = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  return {
    name: error.name,
    ...(ours === undefined ? {} : { kind: ours.kind }),
    ...(code === undefined ? {} : { code }),
    ...(isDatabaseError(error) ? {} : { message: error.message }),
    // A BanyanError says what is wrong; where it was thrown helps nobody but in the unknown case.
    ...(ours === undefined || ours.kind === 'unknown'
      ? { stack: frames.map((frame) => frame.trim()).slice(0, 12) }
      : {}),
    ...(error.cause === undefined || depth >= 4 ? {} : { cause: describeError(error.cause, depth + 1) }),
  };
}

const MARKS: Readonly<Record<string, string>> = {
  debug: '\u001B[2mdebug\u001B[0m',
  info: '\u001B[36minfo \u001B[0m',
  warn: '\u001B[33mwarn \u001B[0m',
  error: '\u001B[31merror\u001B[0m',
};

/** `12:00:00.123 info  streaming  slot=banyan_shop` from a line of JSON. */
export function humanLine(line: string): string {
  const { time, level, message, ...facts } = JSON.parse(line) as Record<string, unknown>;
  const clock = String(time).slice(11, 23);
  const colour = process.env['NO_COLOR'] === undefined || process.env['NO_COLOR'] === '';
  const name = String(level);
  const mark = colour ? (MARKS[name] ?? name) : name.padEnd(5);
  const tail = Object.entries(facts)
    .map(
      ([key, value]) => `${key}=${typeof value === 'string' && !/[\s=]/.test(value) ? value : JSON.stringify(value)}`,
    )
    .join(' ');
  const said = typeof message === 'string' ? message : '';
  const dimmed = tail === '' ? '' : colour ? `  \u001B[2m${tail}\u001B[0m` : `  ${tail}`;
  return `${colour ? `\u001B[2m${clock}\u001B[0m` : clock} ${mark} ${said}${dimmed}\n`;
}
