import { expect, test } from 'vitest';
import type { TrafficPoint } from '../../src/core/progress.ts';
// @ts-expect-error the page is JavaScript, checked on its own
import { seriesOf, shareOver } from '../../src/http/page/series.js';

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 2, 8, 12, 30);
const iso = (ms: number) => new Date(ms).toISOString();

function point(at: number, legacy: number, reverse = 0): TrafficPoint {
  return { at: iso(at), legacy, reverse, trigger: 0, foreign: 0, events: 0 };
}

/** The last days by hours, as the page draws them. */
function legacyOf(counted: { countedSince?: string; countedUntil?: string }, points: readonly TrafficPoint[] = []) {
  const series = seriesOf(points, { from: NOW - 6 * HOUR, to: NOW, stepMs: HOUR, counted });
  return series.counts.legacy;
}

test('what was not counted is a gap, and no zero: before counting began, and after it ended', () => {
  const since = iso(NOW - 3.5 * HOUR);
  expect(legacyOf({ countedSince: since, countedUntil: iso(NOW - 5_000) })).toEqual([null, null, null, 0, 0, 0, 0]);
  // A step that was counted in part is not known to be nothing.
  const within = iso(NOW - 3.4 * HOUR);
  expect(legacyOf({ countedSince: within, countedUntil: iso(NOW - 5_000) })).toEqual([null, null, null, null, 0, 0, 0]);
  expect(legacyOf({ countedSince: since, countedUntil: iso(NOW - 2 * HOUR) })).toEqual([
    null,
    null,
    null,
    0,
    null,
    null,
    null,
  ]);
  expect(legacyOf({})).toEqual([null, null, null, null, null, null, null]);
  expect(legacyOf({ countedUntil: iso(NOW) })).toEqual([null, null, null, null, null, null, null]);
});

test('what was counted is shown also where not all of its step was, and the share has no value where nothing is known', () => {
  const points = [point(NOW - 4.5 * HOUR, 3, 1), point(NOW - 1.5 * HOUR, 8, 2)];
  const counted = { countedSince: iso(NOW - 2.5 * HOUR), countedUntil: iso(NOW) };
  expect(legacyOf(counted, points)).toEqual([null, null, 3, null, 0, 8, 0]);
  const series = seriesOf(points, { from: NOW - 6 * HOUR, to: NOW, stepMs: HOUR, counted });
  expect(shareOver(series, 1)).toEqual([null, null, 25, null, null, 20, null]);
});
