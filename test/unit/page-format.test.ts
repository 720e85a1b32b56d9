import { expect, test } from 'vitest';
import { bytes } from '../../src/cli/status-words.ts';
// @ts-expect-error the page is JavaScript, checked on its own
import { size } from '../../src/http/page/format.js';

test('the page and the command line say sizes in the same units', () => {
  for (const number of [0, 999, 48_000_000, 951_000, 10_000_000_000, 999_600, 2_000_000_000_000]) {
    const [value, unit] = bytes(number).split(' ');
    const [onPage, itsUnit] = (size(number) as string).split(' ');
    expect([number, Number(onPage), itsUnit]).toEqual([number, Number(value), unit]);
  }
});
