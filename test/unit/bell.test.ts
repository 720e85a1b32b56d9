import { expect, test } from 'vitest';
import { Bell } from '../../src/flow/bell.ts';

const never = new AbortController().signal;

test('what rings while a listener is busy is heard when it waits, once', async () => {
  const bell = new Bell();
  const listener = bell.listener();
  bell.ring();
  bell.ring();
  expect(await listener.waits(60_000, never)).toBe(true);
  expect(await listener.waits(1, never)).toBe(false);
});

test('all who wait are woken, and none is kept when its time or its signal ends', async () => {
  const bell = new Bell();
  const [one, other] = [bell.listener(), bell.listener()];
  const both = Promise.all([one.waits(60_000, never), other.waits(60_000, never)]);
  bell.ring();
  expect(await both).toEqual([true, true]);
  expect([one.hears(), other.hears()]).toEqual([false, false]);
  const stop = new AbortController();
  const waiting = one.waits(60_000, stop.signal);
  stop.abort(new Error('stopped'));
  await expect(waiting).rejects.toThrow('stopped');
  bell.ring();
  expect(one.hears()).toBe(true);
});
