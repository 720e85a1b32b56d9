import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Intent } from '../../src/reverse/intent.ts';
import { versionText } from '../../src/reverse/parking.ts';
import { type EventJob, type Task, Work } from '../../src/reverse/work.ts';

/** As much of an intent as its place in the order needs. */
function intent(table: string, key: string): Intent {
  return { lane: `public.${table}:${key}`, target: { table: { schema: 'public', name: table } } } as Intent;
}

const lanesOf = (batch: Task | EventJob[] | undefined): string[] =>
  Array.isArray(batch) ? batch.map((job) => job.intent.lane) : [];

describe('the version in a letter’s place', () => {
  test('sorts as text like the number that it is', () => {
    const version = fc.bigInt({ min: -(10n ** 39n), max: 10n ** 39n });
    fc.assert(
      fc.property(version, version, (one, other) => {
        const texts = versionText(one.toString()) < versionText(other.toString());
        return texts === one < other;
      }),
    );
    expect(versionText(undefined) < versionText(`${-(10n ** 39n)}`)).toBe(true);
    expect(versionText('007')).toBe(versionText('7'));
  });
});

describe('work', () => {
  test('is shared among the workers that are idle, and never holds two events of a lane at once', () => {
    const work = new Work(() => undefined);
    for (const key of ['1', '2', '3', '1', '2', '4']) work.addEvent(intent('orders', key), () => undefined);
    const first = work.take(10, 2);
    expect(lanesOf(first)).toEqual(['public.orders:1', 'public.orders:2']);
    const second = work.take(10, 1);
    expect(lanesOf(second)).toEqual(['public.orders:3', 'public.orders:4']);
    expect(work.hasReady).toBe(false);
    for (const job of first as EventJob[]) work.settle(job);
    expect(lanesOf(work.take(10, 1))).toEqual(['public.orders:1', 'public.orders:2']);
  });

  test('that failed with others is done alone', () => {
    const work = new Work(() => undefined);
    for (const key of ['1', '2', '3']) work.addEvent(intent('orders', key), () => undefined);
    const [one, two, three] = work.take(10, 1) as EventJob[];
    for (const job of [one!, two!]) job.isAlone = true;
    for (const job of [three!, one!, two!]) work.again(job);
    expect(lanesOf(work.take(10, 1))).toEqual(['public.orders:3']);
    expect(lanesOf(work.take(10, 1))).toEqual(['public.orders:1']);
    expect(lanesOf(work.take(10, 1))).toEqual(['public.orders:2']);
  });

  test('on a whole table begins when nothing else of the table is at work, and holds up later events of it only', async () => {
    const work = new Work(() => undefined);
    work.addEvent(intent('orders', '1'), () => undefined);
    const [before] = work.take(10, 1) as EventJob[];
    const done = work.alone({ table: 'public.orders' }, () => Promise.resolve('mended'));
    work.addEvent(intent('orders', '2'), () => undefined);
    work.addEvent(intent('customers', '2'), () => undefined);
    expect(lanesOf(work.take(10, 1))).toEqual(['public.customers:2']);
    expect(work.hasReady).toBe(false);
    work.settle(before!);
    const task = work.take(10, 1) as Task;
    expect(task.kind).toBe('task');
    expect(work.hasReady).toBe(false);
    await task.run();
    work.settle(task);
    await expect(done).resolves.toBe('mended');
    expect(lanesOf(work.take(10, 1))).toEqual(['public.orders:2']);
  });

  test('on a lane waits for its turn, and its failure is the caller’s alone', async () => {
    const work = new Work(() => undefined);
    work.addEvent(intent('orders', 'a%3Ab'), () => undefined);
    const failing = work.alone({ lane: 'public.orders:a%3Ab' }, () => Promise.reject(new Error('no')));
    const [event] = work.take(10, 1) as EventJob[];
    expect(work.hasReady).toBe(false);
    work.settle(event!);
    const task = work.take(10, 1) as Task;
    await task.run();
    work.settle(task);
    await expect(failing).rejects.toThrow('no');
  });
});
