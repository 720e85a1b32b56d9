import { Writable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { createLogger, humanLine } from '../../src/cli/log.ts';
import { BanyanError } from '../../src/core/errors.ts';

function capture(isTTY = false) {
  const lines: string[] = [];
  const stream = Object.assign(
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(chunk.toString());
        done();
      },
    }),
    { isTTY },
  );
  return { lines, log: createLogger({ level: 'info', stream }) };
}

function only(lines: readonly string[]): Record<string, unknown> {
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0] ?? '') as Record<string, unknown>;
}

/** As pg throws it: the message and `detail` quote the row. */
function databaseError(): Error {
  return Object.assign(new Error('duplicate key value violates unique constraint, ada@example.org'), {
    code: '23505',
    severity: 'ERROR',
    detail: 'Key (email)=(ada@example.org) already exists.',
  });
}

describe('a log line', () => {
  test('is one JSON object with time, level, message and facts', () => {
    const { lines, log } = capture();
    log.info({ slot: 'banyan_shop' }, 'streaming');
    log.debug('not at this level');
    expect(only(lines)).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
      level: 'info',
      message: 'streaming',
      slot: 'banyan_shop',
    });
  });

  test('never holds a secret by its usual names', () => {
    const { lines, log } = capture();
    log.info({ url: 'postgresql://u:hunter2@h/db', http: { token: 'hunter2' }, maskKey: 'hunter2' }, 'x');
    expect(lines.join('')).not.toContain('hunter2');
  });

  test('never holds what a database quotes of a row, not as a cause either', () => {
    const { lines, log } = capture();
    log.error({ error: databaseError() }, 'x');
    log.error({ err: new BanyanError('unknown', 'storing', { cause: databaseError() }) }, 'x');
    expect(lines).toHaveLength(2);
    expect(lines.join('')).not.toContain('ada@');
    expect(lines.join('')).toContain('23505');
  });

  test('keeps kind and code of our own errors, and no stack but of the unknown', () => {
    const { lines, log } = capture();
    log.error({ error: new BanyanError('bus-missing', 'no such bus', { code: 'ResourceNotFoundException' }) }, 'x');
    expect(only(lines)).toMatchObject({
      error: { kind: 'bus-missing', code: 'ResourceNotFoundException', message: 'no such bus' },
    });
    expect(lines[0]).not.toContain('stack');
  });

  test('is a line to read on a terminal', () => {
    const { lines, log } = capture(true);
    log.warn({ slot: 'banyan_shop', why: 'two words' }, 'behind');
    expect(lines[0]).toContain('\u001B[');
    const plain = stripVTControlCharacters(lines[0] ?? '');
    expect(plain).toMatch(/^\d\d:\d\d:\d\d\.\d{3} warn {2}behind {2}slot=banyan_shop why="two words"\n$/);
  });

  test('without a message is still a line', () => {
    expect(humanLine('{"time":"2026-03-01T12:00:00.000Z","level":"info","a":1}')).toContain('a=1');
  });
});
