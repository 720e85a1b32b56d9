import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Conflict } from '../../src/state/conflicts.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const setup = `create table orders (id int primary key, status text)`;
const config = {
  capture: [{ table: 'public.orders' }],
  reverse: {
    apply: [
      {
        match: { source: ['shop.orders'] },
        table: 'public.orders',
        operation: 'upsert',
        key: { id: 'detail.id' },
        set: { status: 'detail.status' },
        version: 'detail.version',
        conflict: 'park',
      },
    ],
  },
};

const event = (version: number, replayName?: string): string =>
  bodyOf({
    id: `e-${version}`,
    type: 'OrderChanged',
    detail: { id: 1, status: `new ${version}`, version },
    ...(replayName === undefined ? {} : { replayName }),
  });

async function send(bed: ReverseWorkerBed, ...bodies: readonly string[]): Promise<void> {
  for (const body of bodies) {
    await bed.queue.send(body);
    await bed.queue.empty();
  }
}

/** The conflict of an event. */
async function conflictOf(bed: ReverseWorkerBed, version: number): Promise<Conflict> {
  const { conflicts } = await bed.state();
  return await eventually(
    async () => (await conflicts.list({})).find(({ eventId }) => eventId === `e-${version}`),
    () => `event ${version} has no conflict`,
  );
}

const isDecided = async (bed: ReverseWorkerBed, version: number) => {
  const { resolution, resolvedBy, resolvedAt } = await conflictOf(bed, version);
  return { resolution, resolvedBy, isOpen: resolvedAt === undefined };
};

const status = async (bed: ReverseWorkerBed) =>
  (await bed.sql<{ status: string }>('select status from orders where id = 1'))[0]?.status;
const parked = (bed: ReverseWorkerBed) =>
  bed.sql<{ id: number; event_id: string }>(
    `select id::int, split_part(event_id, ' ', 2) as event_id from banyan.dead_letter where status = 'parked' order by sequence`,
  );

/** A row of legacy's, and an event for it that a person has to decide. */
async function withConflict(name: string, version: number): Promise<ReverseWorkerBed> {
  const bed = await makeReverseWorkerBed(server, { name, setup: `${setup}; insert into orders values (1, 'legacy')` });
  await bed.startRunning(config);
  await send(bed, event(version));
  return bed;
}

describe('an older event that came later and stands before the conflict', () => {
  test('is stale: it ends so, and the decision is done', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'resolve_stale', setup });
    await bed.startRunning(config);
    await send(bed, event(4));
    await bed.sql(`update orders set status = 'legacy'`);
    await send(bed, event(5), event(3));
    expect((await parked(bed)).map((letter) => letter.event_id)).toEqual(['e-3', 'e-5']);
    const { id } = await conflictOf(bed, 5);
    expect(await bed.ask('resolve-conflict', { conflict: id, keep: 'proposed', by: 'jo' })).toEqual({
      outcome: 'applied',
    });
    expect(await status(bed)).toBe('new 5');
    expect(await bed.sql(`select outcome from banyan.inbox where event_id = 'e-3'`)).toEqual([{ outcome: 'stale' }]);
    expect(await parked(bed)).toEqual([]);
  });

  test('is a conflict of its own: says which, and the later one is decided behind it', async () => {
    await using bed = await withConflict('resolve_own', 5);
    await send(bed, event(3));
    const [older] = await parked(bed);
    const { id } = await conflictOf(bed, 5);
    const refused = bed.ask('resolve-conflict', { conflict: id, keep: 'proposed', by: 'jo' });
    await expect(refused).rejects.toThrow(`dead letter ${older?.id} stands before it`);
    const own = await conflictOf(bed, 3);
    await expect(refused).rejects.toThrow(`conflict ${own.id}`);
    const { requests } = await bed.state();
    const request = await requests.insert({
      command: 'resolve-conflict',
      arguments: { conflict: id, keep: 'proposed', by: 'jo' },
      requestedBy: 'jo',
    });
    expect(await requests.await(request, { timeoutMs: 20_000, signal: AbortSignal.timeout(20_000) })).toMatchObject({
      status: 'failed',
      remedy: expect.stringContaining(`banyan conflicts resolve ${own.id}`) as string,
    });
    expect(await status(bed)).toBe('legacy');
    await bed.ask('resolve-conflict', { conflict: own.id, keep: 'current', by: 'jo' });
    // That has told the producer of the row, so the other one is no conflict any more.
    expect(await status(bed)).toBe('new 5');
    expect(await isDecided(bed, 3)).toEqual({ resolution: 'legacy-wins', resolvedBy: 'jo', isOpen: false });
    expect(await isDecided(bed, 5)).toEqual({ resolution: 'new-wins', resolvedBy: 'jo', isOpen: false });
  });

  test('can not be applied without a person: says its letter, and what to do with that', async () => {
    await using bed = await withConflict('resolve_replay', 5);
    await send(bed, event(3, 'again'));
    const [older] = await parked(bed);
    const { id } = await conflictOf(bed, 5);
    const { requests } = await bed.state();
    const request = await requests.insert({
      command: 'resolve-conflict',
      arguments: { conflict: id, keep: 'current', by: 'jo' },
      requestedBy: 'jo',
    });
    expect(await requests.await(request, { timeoutMs: 20_000, signal: AbortSignal.timeout(20_000) })).toMatchObject({
      status: 'failed',
      error: expect.stringContaining(`dead letter ${older?.id} stands before it`) as string,
      remedy: expect.stringContaining(`banyan dead-letters show ${older?.id}`) as string,
    });
    expect(await isDecided(bed, 5)).toMatchObject({ isOpen: true });
  });
});

describe('a conflict whose event is done already', () => {
  test('is decided by the redrive that applied it', async () => {
    await using bed = await withConflict('resolve_redriven', 1);
    await bed.sql('delete from orders');
    const [letter] = await parked(bed);
    expect(await bed.ask('redrive', { direction: 'reverse', ids: [letter?.id] })).toMatchObject({ sent: 1 });
    expect(await status(bed)).toBe('new 1');
    expect(await isDecided(bed, 1)).toEqual({ resolution: 'new-wins', resolvedBy: 'test', isOpen: false });
  });

  test.for([
    ['proposed', 'current', 'new-wins', 'applied-before'],
    ['proposed', 'proposed', 'new-wins', 'applied'],
    ['current', 'proposed', 'legacy-wins', 'refused-before'],
    ['current', 'current', 'legacy-wins', 'refused-before'],
  ] as const)('done with %s, then asked for %s: %s is recorded', async ([done, asked, resolution, outcome]) => {
    const name = `resolve_done_${done}_${asked}`;
    for (const isParked of [false, true]) {
      await using bed = await withConflict(`${name}_${isParked ? 'parked' : 'gone'}`, 1);
      const { id } = await conflictOf(bed, 1);
      await bed.ask('resolve-conflict', { conflict: id, keep: done, by: 'jo' });
      // As a worker of before left it that was killed between the event and its record, or even its letter.
      await bed.sql(`update banyan.conflict set resolution = 'parked', resolved_at = null, resolved_by = null`);
      if (isParked) await bed.sql(`update banyan.dead_letter set status = 'parked', settled_at = null`);
      expect(await bed.ask('resolve-conflict', { conflict: id, keep: asked, by: 'ada' })).toEqual({ outcome });
      expect(await isDecided(bed, 1)).toEqual({ resolution, resolvedBy: 'ada', isOpen: false });
      expect(await parked(bed)).toEqual([]);
    }
  });

  test('was discarded: says how to close it', async () => {
    await using bed = await withConflict('resolve_discarded', 1);
    const { id } = await conflictOf(bed, 1);
    const [letter] = await parked(bed);
    await bed.ask('discard', { direction: 'reverse', ids: [letter?.id] });
    const proposed = bed.ask('resolve-conflict', { conflict: id, keep: 'proposed', by: 'jo' });
    await expect(proposed).rejects.toThrow('is not parked any more');
    expect(await bed.ask('resolve-conflict', { conflict: id, keep: 'current', by: 'jo' })).toEqual({
      outcome: 'recorded',
    });
  });
});

test('what waits behind nothing any more is applied by itself when the worker starts', async () => {
  await using bed = await makeReverseWorkerBed(server, {
    name: 'resolve_behind',
    setup: `${setup}; insert into orders values (1, 'legacy'), (2, 'legacy')`,
  });
  const first = await bed.startRunning(config);
  await send(bed, event(1), event(2), event(3));
  const other = bodyOf({ id: 'other', type: 'OrderChanged', detail: { id: 2, status: 'new', version: 1 } });
  const behindOther = bodyOf({ id: 'behind', type: 'OrderChanged', detail: { id: 2, status: 'newer', version: 2 } });
  await send(bed, other, behindOther);
  const { id } = await conflictOf(bed, 1);
  await first.stop();
  // As a worker leaves it that is killed when it has done as a person decided, and before what waits behind that.
  await bed.sql(`update banyan.dead_letter set status = 'redriven', settled_at = now() where event_id like '% e-1 %'`);
  const { conflicts } = await bed.state();
  await conflicts.resolve(id, { resolution: 'legacy-wins', by: 'jo', note: undefined });
  await bed.sql(`delete from orders where id = 1`);
  await bed.startRunning(config);
  await eventually(
    async () => (await status(bed)) === 'new 3',
    () => 'what waits behind nothing is not tried',
    { timeoutMs: 20_000 },
  );
  // A person still has to decide of the other row.
  expect((await parked(bed)).map((letter) => letter.event_id)).toEqual(['other', 'behind']);
  await send(bed, event(4));
  expect(await status(bed)).toBe('new 4');
});
