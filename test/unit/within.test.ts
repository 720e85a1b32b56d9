import { expect, test } from 'vitest';
import { untilAborted } from '../../src/flow/within.ts';

test('what fails when nobody waits for it any more ends no process', async () => {
  const late = Promise.withResolvers<never>();
  const unhandled: unknown[] = [];
  const listeners = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (reason) => void unhandled.push(reason));
  try {
    await expect(untilAborted(late.promise, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop');
    late.reject(new Error('late'));
    // Node.js tells of it when the microtasks are done.
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.removeAllListeners('unhandledRejection');
    for (const listener of listeners) process.on('unhandledRejection', listener);
  }
  expect(unhandled).toEqual([]);
});
