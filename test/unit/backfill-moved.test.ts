import { expect, test } from 'vitest';
import { BeginAgain, MovedRows } from '../../src/capture/backfill/moved.ts';

test('rows are sent in batches, and each lets the stream go on once', async () => {
  const moved = new MovedRows();
  const settled: number[] = [];
  for (let row = 0; row < 250; row += 1) moved.add([`${row}`], () => void settled.push(row));
  const sent: string[] = [];
  const ended = new AbortController();
  const serving = moved.serve(async (keys) => void sent.push(...keys.flat()), ended.signal);
  serving.catch(() => undefined);
  await moved.drained(AbortSignal.timeout(5_000));
  ended.abort();
  expect(sent).toEqual(Array.from({ length: 250 }, (_, row) => `${row}`));
  expect(settled).toEqual(Array.from({ length: 250 }, (_, row) => row));
});

test('what was not sent stays for the next call', async () => {
  const moved = new MovedRows();
  let settled = 0;
  moved.add(['1'], () => void (settled += 1));
  await expect(moved.serve(() => Promise.reject(new Error('lost')), AbortSignal.timeout(5_000))).rejects.toThrow(
    'lost',
  );
  expect(settled).toBe(0);
  const ended = new AbortController();
  moved.serve(() => Promise.resolve(), ended.signal).catch(() => undefined);
  await moved.drained(AbortSignal.timeout(5_000));
  ended.abort();
  expect(settled).toBe(1);
});

test('what is given up while it is being sent lets the stream go on once', async () => {
  const moved = new MovedRows();
  let settled = 0;
  moved.add(['1'], () => void (settled += 1));
  const ended = new AbortController();
  const sending = Promise.withResolvers<void>();
  const serving = moved.serve(() => sending.promise, ended.signal);
  serving.catch(() => undefined);
  await Promise.resolve();
  moved.giveUp();
  sending.resolve();
  await moved.drained(AbortSignal.timeout(5_000));
  ended.abort();
  moved.add(['2'], () => void (settled += 1));
  expect(settled).toBe(2);
});

test('more rows than may be remembered make the run begin again, and the first of them holds the stream until then', async () => {
  const moved = new MovedRows();
  let settled = 0;
  const ROWS = 200_000;
  for (let row = 0; row < ROWS; row += 1) moved.add([`${row}`], () => void (settled += 1));
  // Those that are not remembered are behind those that are.
  expect(settled).toBeGreaterThan(0);
  expect(settled).toBeLessThan(ROWS);
  await expect(moved.serve(() => Promise.resolve(), AbortSignal.timeout(5_000))).rejects.toThrow(BeginAgain);
  expect(settled).toBeLessThan(ROWS);
  moved.forget();
  expect(settled).toBe(ROWS);
});

test('a change that can not be judged makes the run begin again', async () => {
  const moved = new MovedRows();
  let settled = 0;
  moved.lose(() => void (settled += 1));
  moved.lose(() => void (settled += 1));
  expect(settled).toBe(1);
  await expect(moved.serve(() => Promise.resolve(), AbortSignal.timeout(5_000))).rejects.toThrow(BeginAgain);
  moved.forget();
  expect(settled).toBe(2);
});
