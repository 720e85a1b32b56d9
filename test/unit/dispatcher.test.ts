import fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { type Delivery, Dispatcher, type DispatcherOptions } from '../../src/bus/dispatcher.ts';
import { BanyanError } from '../../src/core/errors.ts';
import type { Event } from '../../src/core/event.ts';
import { Condition } from '../../src/flow/condition.ts';
import { laneLinks } from '../../src/flow/lanes.ts';
import { type Decide, ScriptedPublisher } from '../support/scripted-publisher.ts';

const fast = { baseMs: 1, maxMs: 5 };

interface Rig {
  readonly bus: ScriptedPublisher;
  readonly dispatcher: Dispatcher<Delivery>;
  readonly settled: string[];
  readonly parked: { readonly id: string; readonly kind: string | undefined }[];
  readonly halts: BanyanError[];
  /** Waits until something holds; looked at after everything that is settled, parked or halted. */
  readonly until: (holds: () => boolean) => Promise<void>;
  readonly drain: () => Promise<void>;
}

const running: Dispatcher<Delivery>[] = [];
afterEach(async () => {
  for (const dispatcher of running.splice(0)) await dispatcher.stop();
});

function rig(decide?: Decide, options: Partial<DispatcherOptions<Delivery>> = {}): Rig {
  const bus = new ScriptedPublisher(decide);
  const settled: string[] = [];
  const parked: { id: string; kind: string | undefined }[] = [];
  const halts: BanyanError[] = [];
  const parkedGroups = new Set<string>();
  const changed = new Condition();
  const dispatcher = new Dispatcher<Delivery>({
    publisher: bus,
    concurrency: 4,
    lingerMs: 1,
    maxEntries: 10,
    maxRequestBytes: 10_000,
    isParked: (group) => parkedGroups.has(group),
    park: async (items) => {
      for (const { delivery, error } of items) {
        parked.push({ id: delivery.event.id, kind: error?.kind });
        for (const group of [delivery.lane, delivery.previousLane]) if (group !== undefined) parkedGroups.add(group);
      }
    },
    onSettled: (deliveries) => {
      settled.push(...deliveries.map(({ event }) => event.id));
      queueMicrotask(() => changed.changed());
    },
    onHalt: (error) => {
      halts.push(error);
      queueMicrotask(() => changed.changed());
    },
    highWater: { items: 1_000, bytes: 1_000_000 },
    maxParkedPerMinute: 100,
    backoff: { retry: fast, probe: fast },
    log: pino({ enabled: false }),
    ...options,
  });
  running.push(dispatcher);
  return {
    bus,
    dispatcher,
    settled,
    parked,
    halts,
    until: (holds) => changed.wait(holds, AbortSignal.timeout(20_000)),
    drain: () => dispatcher.drain(AbortSignal.timeout(20_000)),
  };
}

interface Place {
  readonly previous?: string;
  readonly exclusive?: boolean;
  readonly bytes?: number;
  readonly bus?: string;
}

function event(id: string, group: string | undefined, place: Place = {}): Event {
  return {
    id,
    sequence: id,
    source: 'legacy.shop',
    detailType: 'OrderChanged',
    timeSeconds: 1_772_000_000,
    resources: [],
    detail: '{}',
    bus: place.bus,
    group,
    previousGroup: place.previous,
    sizeBytes: place.bytes ?? 100,
  };
}

function delivery(id: string, group: string | undefined, place: Place = {}): Delivery {
  const { exclusive = false } = place;
  const own = event(id, group, place);
  return { event: own, lane: own.group, previousLane: own.previousGroup, fence: 'orders', exclusive, ...laneLinks };
}

/** `a1` is event 1 of key a. */
function submitAll(dispatcher: Dispatcher<Delivery>, ids: readonly string[]): void {
  for (const id of ids) dispatcher.submit(delivery(id, id.replace(/\d+$/, '')));
}

function idsOf(events: readonly Event[]): string[] {
  return events.map(({ id }) => id);
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);

const numbers = (ids: readonly string[]): number[] => ids.map(Number);
const ascending = (list: readonly number[]): number[] => list.toSorted((a, b) => a - b);

describe('Dispatcher', () => {
  test('sends full batches under load and never two events of a key in one request', async () => {
    const { bus, dispatcher, settled, drain } = rig();
    const keys = Array.from({ length: 100 }, (_, index) => `key-${index}:`);
    submitAll(dispatcher, [...keys.map((key) => `${key}1`), ...keys.map((key) => `${key}2`)]);
    await drain();
    expect(settled).toHaveLength(200);
    expect(bus.requests.map((request) => request.length)).toEqual(Array.from({ length: 20 }, () => 10));
    for (const request of bus.requests) expect(new Set(request.map(({ group }) => group)).size).toBe(request.length);
    expect(dispatcher.status).toMatchObject({ state: 'sending', accepted: 200, requests: 20, inFlight: 0, queued: 0 });
  });

  test('keeps as many calls in flight as it may, and no more', async () => {
    const { bus, dispatcher, drain } = rig(() => ({ do: 'hold' }), { concurrency: 3 });
    for (const id of numbered('x', 100)) dispatcher.submit(delivery(id, id));
    await bus.until(() => bus.inFlight.size === 30);
    bus.decide = () => ({ do: 'accept' });
    while (bus.inFlight.size > 0) {
      bus.release();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await drain();
    expect(bus.peak).toBe(3);
    expect(bus.accepted).toHaveLength(100);
  });

  test('does not let a lone event wait for its linger while nothing else is on the way', async () => {
    const { bus, dispatcher, drain } = rig(undefined, { lingerMs: 60_000 });
    submitAll(dispatcher, ['a1']);
    await drain();
    submitAll(dispatcher, ['a2', 'a3', 'a4']);
    await drain();
    expect(idsOf(bus.accepted)).toEqual(['a1', 'a2', 'a3', 'a4']);
  });

  test('never mixes two buses in one request', async () => {
    const { bus, dispatcher, drain } = rig();
    for (const id of numbered('e', 20))
      dispatcher.submit(delivery(id, id, Number(id.slice(1)) % 2 ? { bus: 'tenant' } : {}));
    await drain();
    for (const request of bus.requests) expect(new Set(request.map((each) => each.bus)).size).toBe(1);
    expect(bus.accepted).toHaveLength(20);
  });

  test('sends a failed entry again while its key waits and other keys go on', async () => {
    const { bus, dispatcher, settled, drain } = rig(({ id }, attempt) =>
      id === 'a1' && attempt < 4 ? { do: 'reject', kind: 'bus-transient' } : { do: 'accept' },
    );
    submitAll(dispatcher, ['a1', 'b1', 'a2', 'b2', 'b3']);
    await drain();
    expect(idsOf(bus.accepted).filter((id) => id.startsWith('a'))).toEqual(['a1', 'a2']);
    expect(settled.toSorted()).toEqual(['a1', 'a2', 'b1', 'b2', 'b3']);
    expect(dispatcher.status).toMatchObject({ retried: 4, accepted: 5 });
  });

  test('sends an event whose answer was lost again under the same id', async () => {
    const { bus, dispatcher, settled, drain } = rig((_event, attempt) =>
      attempt === 0 ? { do: 'failAfterAccept' } : { do: 'accept' },
    );
    submitAll(dispatcher, ['a1', 'a2']);
    await drain();
    expect(idsOf(bus.accepted)).toEqual(['a1', 'a1', 'a2', 'a2']);
    expect(settled).toEqual(['a1', 'a2']);
  });

  test('slows down when the bus throttles', async () => {
    const { dispatcher, drain } = rig((_event, attempt) =>
      attempt === 0 ? { do: 'reject', kind: 'bus-throttled' } : { do: 'accept' },
    );
    expect(dispatcher.status.rateLimit).toBeUndefined();
    submitAll(dispatcher, ['a1', 'b1']);
    await drain();
    expect(dispatcher.status.throttled).toBe(2);
    expect(dispatcher.status.rateLimit).toBeGreaterThan(0);
  });

  test('parks an event for its own fault and later ones of its key behind it, in order', async () => {
    const { bus, dispatcher, settled, parked, drain } = rig(({ id }) =>
      id === 'a2' ? { do: 'reject', kind: 'event-rejected' } : { do: 'accept' },
    );
    submitAll(dispatcher, ['a1', 'a2', 'b1', 'a3', 'b2', 'a4']);
    dispatcher.submit(delivery('moved', 'c', { previous: 'a' }));
    submitAll(dispatcher, ['c1', 'd1']);
    await drain();
    expect(parked).toEqual([
      { id: 'a2', kind: 'event-rejected' },
      ...['a3', 'a4', 'moved', 'c1'].map((id) => ({ id, kind: undefined })),
    ]);
    expect(idsOf(bus.accepted).toSorted()).toEqual(['a1', 'b1', 'b2', 'd1']);
    expect(settled).toHaveLength(9);
  });

  test('parks what waits behind a poisoned hot key in few calls, in order, and stops at a job of the key', async () => {
    const calls: string[][] = [];
    const groups = new Set<string>();
    const { dispatcher, settled, drain } = rig(() => ({ do: 'reject', kind: 'event-rejected' }), {
      isParked: (group) => groups.has(group),
      park: async (items) => {
        calls.push(items.map(({ delivery: { event } }) => event.id));
        for (const { delivery: parked } of items) groups.add(parked.lane ?? '');
        if (calls.length === 1) throw new BanyanError('database-unavailable', 'down');
      },
    });
    submitAll(dispatcher, numbered('hot', 700));
    let settledBeforeJob = 0;
    dispatcher.submitJob({
      lane: 'hot',
      fence: 'orders',
      run: async () => {
        settledBeforeJob = settled.length;
      },
    });
    submitAll(dispatcher, numbered('hot', 703).slice(700));
    await drain();
    expect(settledBeforeJob).toBe(700);
    expect(calls[0]).toEqual(calls[1]);
    expect(calls.slice(1).flat()).toEqual(numbered('hot', 703));
    expect(settled).toEqual(numbered('hot', 703));
    expect(calls.length).toBeLessThanOrEqual(5);
  });

  test('sends what was to be parked behind a key that was let go before its turn to be parked came', async () => {
    const groups = new Set(['a', 'b']);
    const calls: string[][] = [];
    const begun = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const { bus, dispatcher, drain } = rig(undefined, {
      isParked: (group) => groups.has(group),
      park: async (items) => {
        calls.push(items.map(({ delivery: { event } }) => event.id));
        begun.resolve();
        await answer.promise;
      },
    });
    submitAll(dispatcher, ['b1']);
    await begun.promise;
    submitAll(dispatcher, ['a1', 'a2']);
    groups.delete('a');
    answer.resolve();
    await drain();
    expect(calls).toEqual([['b1']]);
    expect(idsOf(bus.accepted)).toEqual(['a1', 'a2']);
  });

  test('parks an event that no request can hold without asking the bus', async () => {
    const { bus, dispatcher, parked, drain } = rig();
    dispatcher.submit(delivery('large', 'a', { bytes: 10_001 }));
    dispatcher.submit(delivery('fits', 'b', { bytes: 10_000 }));
    await drain();
    expect(parked).toEqual([{ id: 'large', kind: 'event-too-large' }]);
    expect(idsOf(bus.accepted)).toEqual(['fits']);
  });

  test('settles nothing before parking is durable, however long the database is down', async () => {
    let attempts = 0;
    const order: string[] = [];
    const { dispatcher, drain } = rig(() => ({ do: 'reject', kind: 'event-rejected' }), {
      park: async () => {
        attempts += 1;
        if (attempts < 5) throw new BanyanError('database-unavailable', 'down');
        order.push('durable');
      },
      onSettled: (_deliveries, how) => order.push(`settled: ${how}`),
    });
    submitAll(dispatcher, ['a1']);
    await drain();
    expect(attempts).toBe(5);
    expect(order).toEqual(['durable', 'settled: parked']);
  });

  test.each([
    ['hold-limit', new BanyanError('hold-limit', 'enough')],
    ['database-privilege', new BanyanError('database-privilege', 'permission denied for table dead_letter')],
    ['unknown', new BanyanError('unknown', 'relation dead_letter does not exist')],
    ['unknown', new TypeError('a mistake')],
  ])('halts when parking fails for good: %s', async (kind, error) => {
    const { dispatcher, settled, halts, until } = rig(() => ({ do: 'reject', kind: 'event-rejected' }), {
      park: async () => {
        throw error;
      },
    });
    submitAll(dispatcher, ['a1']);
    await until(() => halts.length > 0);
    expect(halts.map((halt) => halt.kind)).toEqual([kind]);
    expect(settled).toEqual([]);
  });

  test('waits for a set-up fault to be mended, parks nothing, and goes on by itself with the same events', async () => {
    const { bus, dispatcher, settled, parked, drain } = rig(() => ({ do: 'reject', kind: 'bus-unauthorized' }));
    submitAll(dispatcher, ['a1', 'b1', 'a2']);
    await bus.until(() => bus.probes >= 3);
    expect(dispatcher.status).toMatchObject({ state: 'waiting', problem: { kind: 'bus-unauthorized' } });
    const before = bus.requests.length;
    submitAll(
      dispatcher,
      numbered('c', 30).map((id) => `${id}:1`),
    );
    await bus.until(() => bus.requests.length >= before + 2);
    // Only what was blocked is tried: nothing of the rest was sent.
    expect(
      bus.requests
        .slice(before)
        .flat()
        .every(({ id }) => id === 'a1' || id === 'b1'),
    ).toBe(true);
    expect(settled).toEqual([]);
    bus.decide = () => ({ do: 'accept' });
    await drain();
    expect(settled).toHaveLength(33);
    expect(parked).toEqual([]);
    expect(dispatcher.status).toMatchObject({ state: 'sending', problem: undefined });
  });

  test('sends nothing while the probe fails', async () => {
    const { bus, dispatcher, drain } = rig((_event, attempt) =>
      attempt === 0 ? { do: 'reject', kind: 'bus-missing' } : { do: 'accept' },
    );
    bus.probeError = new BanyanError('bus-missing', 'no such bus');
    submitAll(dispatcher, ['a1']);
    await bus.until(() => bus.probes >= 4);
    expect(bus.requests).toHaveLength(1);
    bus.probeError = undefined;
    await drain();
    expect(idsOf(bus.accepted)).toEqual(['a1']);
  });

  test('waits again when the fault comes back', async () => {
    let broken = true;
    const { bus, dispatcher, drain } = rig(() =>
      broken ? { do: 'reject', kind: 'bus-credentials' } : { do: 'accept' },
    );
    for (const round of ['a', 'b', 'c']) {
      broken = true;
      const { probes } = bus;
      submitAll(
        dispatcher,
        numbered(round, 20).map((id) => `${id}:1`),
      );
      await bus.until(() => bus.probes > probes);
      expect(dispatcher.status.state).toBe('waiting');
      broken = false;
      await drain();
    }
    expect(bus.accepted).toHaveLength(60);
  });

  test('halts on what it does not know, settles what was accepted, and never the rest', async () => {
    const { bus, dispatcher, settled, halts, drain, until } = rig(({ id }) =>
      id === 'b1' ? { do: 'reject', kind: 'unknown' } : { do: 'accept' },
    );
    submitAll(dispatcher, ['a1', 'b1']);
    await until(() => halts.length > 0 && settled.length > 0);
    submitAll(dispatcher, ['c1']);
    expect(settled).toEqual(['a1']);
    expect(dispatcher.status).toMatchObject({ state: 'halted', problem: { kind: 'unknown' }, queued: 2 });
    await expect(drain()).rejects.toThrow('scripted unknown');
    expect(bus.requests).toHaveLength(1);
  });

  test('ends a drain that a halt makes impossible', async () => {
    const { bus, dispatcher, drain } = rig(() => ({ do: 'hold' }));
    submitAll(dispatcher, ['a1', 'a2']);
    const drained = drain();
    await bus.until(() => bus.inFlight.size === 1);
    bus.decide = () => ({ do: 'reject', kind: 'unknown' });
    bus.release();
    await expect(drained).rejects.toThrow('scripted unknown');
  });

  test('halts when a publisher breaks its promise of one outcome per event', async () => {
    const { dispatcher, bus, settled, halts, until } = rig();
    bus.publish = async () => [];
    submitAll(dispatcher, ['a1']);
    await until(() => halts.length > 0);
    expect(halts[0]?.message).toContain('0 outcomes for 1 events');
    expect(settled).toEqual([]);
  });

  test('halts when one mistake parks everything, and parks no more than the limit', async () => {
    const { dispatcher, parked, settled, halts, until } = rig(() => ({ do: 'reject', kind: 'event-rejected' }), {
      maxParkedPerMinute: 25,
    });
    for (const id of numbered('x', 100)) dispatcher.submit(delivery(id, id));
    await until(() => halts.length > 0);
    expect(halts.map(({ kind }) => kind)).toEqual(['parking-flood']);
    expect(parked.length).toBeLessThanOrEqual(25);
    expect(settled.length).toBeLessThanOrEqual(25);
  });

  test('does not count what waits behind a parked event as a flood', async () => {
    const { dispatcher, parked, halts, drain } = rig(
      ({ id }) => (id === 'a0' ? { do: 'reject', kind: 'event-rejected' } : { do: 'accept' }),
      { maxParkedPerMinute: 1 },
    );
    submitAll(dispatcher, numbered('a', 20));
    await drain();
    expect(parked.map(({ id }) => id)).toEqual(numbered('a', 20));
    expect(halts).toEqual([]);
  });

  test('a truncate waits for its table, and is alone in it', async () => {
    const { bus, dispatcher, drain } = rig(({ id }) => ({ do: 'slow', ms: id.length % 3 }));
    submitAll(dispatcher, ['a1', 'b1', 'a2']);
    dispatcher.submit(delivery('truncate', undefined, { exclusive: true }));
    submitAll(dispatcher, ['a3', 'b3']);
    await drain();
    const order = idsOf(bus.accepted);
    expect(order.slice(0, 3).toSorted()).toEqual(['a1', 'a2', 'b1']);
    expect(order[3]).toBe('truncate');
    expect(order.slice(4).toSorted()).toEqual(['a3', 'b3']);
  });

  test('says when it is full, and has room again only at half', async () => {
    const { bus, dispatcher, drain } = rig(() => ({ do: 'hold' }), {
      highWater: { items: 20, bytes: 1_000_000 },
      concurrency: 1,
    });
    for (const id of numbered('x', 19)) dispatcher.submit(delivery(id, id));
    expect(dispatcher.hasRoom).toBe(true);
    dispatcher.submit(delivery('x19', 'x19'));
    expect(dispatcher.hasRoom).toBe(false);
    let roomy = false;
    const room = dispatcher.room(AbortSignal.timeout(20_000)).then(() => (roomy = true));
    await bus.until(() => bus.inFlight.size === 10);
    expect(roomy).toBe(false);
    bus.decide = () => ({ do: 'accept' });
    while (bus.inFlight.size > 0) {
      bus.release();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await room;
    await drain();
    const abort = new AbortController();
    abort.abort(new Error('stopping'));
    await expect(dispatcher.room(abort.signal)).rejects.toThrow('stopping');
  });

  test('is full by bytes as well', () => {
    const { dispatcher } = rig(() => ({ do: 'hold' }), { highWater: { items: 1_000, bytes: 1_000 } });
    dispatcher.submit(delivery('a', 'a', { bytes: 999 }));
    expect(dispatcher.hasRoom).toBe(true);
    dispatcher.submit(delivery('b', 'b', { bytes: 1 }));
    expect(dispatcher.hasRoom).toBe(false);
  });

  test('stops with calls in flight and settles nothing afterwards', async () => {
    const { bus, dispatcher, settled, drain } = rig(() => ({ do: 'hold' }));
    submitAll(dispatcher, ['a1', 'a2', 'b1']);
    const drained = drain();
    await bus.until(() => bus.inFlight.size === 2);
    await Promise.all([dispatcher.stop(), expect(drained).rejects.toThrow('stopped')]);
    expect(settled).toEqual([]);
    expect(dispatcher.status.queued).toBe(3);
  });

  test('stops while it waits to send again and while it probes', async () => {
    const long = { baseMs: 60_000, maxMs: 60_000, random: () => 1 };
    for (const kind of ['bus-transient', 'bus-missing'] as const) {
      const { bus, dispatcher, settled } = rig(() => ({ do: 'reject', kind }), {
        backoff: { retry: long, probe: long },
      });
      submitAll(dispatcher, ['a1']);
      await bus.until(() => bus.requests.length === 1 && bus.inFlight.size === 0);
      await dispatcher.stop();
      expect(settled).toEqual([]);
    }
  });
});

describe('a job of a key', () => {
  test('takes its turn, holds its key while it sends for itself, and lets other keys go on', async () => {
    const { bus, dispatcher, drain } = rig();
    submitAll(dispatcher, ['a1']);
    dispatcher.submitJob({
      lane: 'a',
      fence: 'orders',
      run: async (send) => {
        for (const id of ['parked1', 'parked2']) expect(await send(event(id, 'a'))).toEqual({ status: 'accepted' });
      },
    });
    submitAll(dispatcher, ['a2', 'b1']);
    await drain();
    expect(idsOf(bus.accepted).filter((id) => id !== 'b1')).toEqual(['a1', 'parked1', 'parked2', 'a2']);
    expect(idsOf(bus.accepted).indexOf('b1')).toBeLessThan(4);
  });

  test('hears of an event’s own fault, and not of faults that pass', async () => {
    const { dispatcher, parked, drain } = rig(({ id }, attempt) => {
      if (id === 'bad') return { do: 'reject', kind: 'event-rejected' };
      return attempt === 0 ? { do: 'reject', kind: 'bus-transient' } : { do: 'accept' };
    });
    const heard: string[] = [];
    dispatcher.submitJob({
      lane: 'a',
      fence: 'orders',
      run: async (send) => {
        for (const id of ['good', 'bad']) heard.push((await send(event(id, 'a'))).status);
      },
    });
    await drain();
    expect(heard).toEqual(['accepted', 'rejected']);
    expect(parked).toEqual([]);
  });

  test('runs again after an error that retries, while its key waits', async () => {
    const order: string[] = [];
    let runs = 0;
    const { dispatcher, drain } = rig(undefined, {
      onSettled: (done) => order.push(...done.map((each) => each.event.id)),
    });
    dispatcher.submitJob({
      lane: 'a',
      fence: 'orders',
      run: async () => {
        runs += 1;
        order.push(`run ${runs}`);
        if (runs < 3) throw new BanyanError('database-unavailable', 'down');
      },
    });
    submitAll(dispatcher, ['a1']);
    await drain();
    expect(order).toEqual(['run 1', 'run 2', 'run 3', 'a1']);
  });

  test('halts everything when it fails for good', async () => {
    const { dispatcher, settled, halts, until } = rig();
    dispatcher.submitJob({
      lane: 'a',
      fence: 'orders',
      run: async () => {
        throw new TypeError('a mistake');
      },
    });
    submitAll(dispatcher, ['a1']);
    await until(() => halts.length > 0);
    expect(halts[0]).toMatchObject({ kind: 'unknown' });
    expect(settled).toEqual([]);
  });

  test('that sets a change aside counts against the flood limit and against the room', async () => {
    const { dispatcher, halts, until } = rig(undefined, {
      maxParkedPerMinute: 3,
      highWater: { items: 5, bytes: 1_000 },
    });
    let ran = 0;
    for (const lane of numbered('x', 5)) {
      dispatcher.submitJob({
        lane,
        fence: 'orders',
        parks: new BanyanError('mapping-failed', 'no such column'),
        run: async () => {
          ran += 1;
        },
      });
    }
    expect(dispatcher.hasRoom).toBe(false);
    await until(() => halts.length > 0);
    expect(halts.map(({ kind }) => kind)).toEqual(['parking-flood']);
    expect(ran).toBe(3);
  });

  test('ends with the dispatcher', async () => {
    const { bus, dispatcher } = rig(() => ({ do: 'hold' }));
    let failure: unknown;
    dispatcher.submitJob({
      lane: 'a',
      fence: 'orders',
      run: async (send) => {
        await send(event('parked', 'a')).catch((error: unknown) => {
          failure = error;
          throw error;
        });
      },
    });
    await bus.until(() => bus.inFlight.size === 1);
    await dispatcher.stop();
    expect(failure).toMatchObject({ name: 'AbortError' });
    await expect(dispatcher.send(event('late', 'a'), new AbortController().signal)).rejects.toThrow('stopped');
  });
});

describe('an event outside of the lanes', () => {
  test('is waited for until its own signal aborts, and holds up no drain', async () => {
    const { bus, dispatcher, drain, settled } = rig(({ id }) => ({ do: id === 'loose' ? 'hold' : 'accept' }));
    const own = new AbortController();
    const sent = dispatcher.send(event('loose', 'a'), own.signal);
    await bus.until(() => bus.inFlight.has('loose'));
    submitAll(dispatcher, ['b1']);
    await drain();
    expect(settled).toEqual(['b1']);
    own.abort(new Error('given up'));
    await expect(sent).rejects.toThrow('given up');
    await expect(dispatcher.send(event('next', 'a'), own.signal)).rejects.toThrow('given up');
  });
});

describe('whatever the bus does', () => {
  const step = fc.constantFrom<Decide>(
    () => ({ do: 'accept' }),
    () => ({ do: 'accept' }),
    () => ({ do: 'slow', ms: 1 }),
    () => ({ do: 'failAfterAccept' }),
    () => ({ do: 'reject', kind: 'bus-transient' }),
    () => ({ do: 'reject', kind: 'bus-missing' }),
    () => ({ do: 'reject', kind: 'event-rejected' }),
  );
  const item = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    previous: fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined, freq: 6 }),
    kind: fc.constantFrom('row', 'row', 'row', 'row', 'row', 'row', 'relaxed', 'truncate'),
    script: fc.array(step, { maxLength: 3 }),
  });

  test('each delivery settles once, first deliveries of a key are in order, and parked ones overtake nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(item, { maxLength: 60 }),
        fc.integer({ min: 1, max: 6 }),
        async (items, concurrency) => {
          const scripts = new Map(items.map(({ script }, index) => [`${index}`, script]));
          const { bus, dispatcher, settled, parked, drain } = rig(
            (each, attempt) => scripts.get(each.id)?.[attempt]?.(each, attempt) ?? { do: 'accept' },
            {
              concurrency,
              maxParkedPerMinute: 1_000,
              maxEntries: 4,
              backoff: { retry: { baseMs: 0, maxMs: 1 }, probe: { baseMs: 0, maxMs: 1 } },
            },
          );
          for (const [index, { key, previous, kind }] of items.entries()) {
            const isRow = kind === 'row';
            const place = { exclusive: kind === 'truncate', ...(isRow && previous !== undefined ? { previous } : {}) };
            dispatcher.submit(delivery(`${index}`, isRow ? key : undefined, place));
          }
          await drain();
          await dispatcher.stop();

          expect(ascending(numbers(settled))).toEqual(items.map((_item, index) => index));
          const first = [...new Set(idsOf(bus.accepted))];
          for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) {
            const ofKey = (ids: readonly string[]): number[] =>
              numbers(ids).filter(
                (index) => items[index]?.kind === 'row' && (items[index].key === key || items[index].previous === key),
              );
            const sent = ofKey(first);
            const aside = ofKey(parked.map(({ id }) => id));
            expect(sent).toEqual(ascending(sent));
            expect(aside).toEqual(ascending(aside));
            // Once something of the key is parked, nothing later of it is sent.
            expect(sent.filter((index) => index > (aside[0] ?? Number.POSITIVE_INFINITY))).toEqual([]);
          }
          for (const request of bus.requests) {
            const groups = request
              .flatMap(({ group, previousGroup }) => [...new Set([group, previousGroup])])
              .filter((group) => group !== undefined);
            expect(new Set(groups).size).toBe(groups.length);
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});
