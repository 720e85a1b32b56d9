import { pino } from 'pino';
import { expect, test } from 'vitest';
import { ACCEPTED, type Outcome } from '../../src/bus/publisher.ts';
import { Parking } from '../../src/capture/parking.ts';
import { redrive } from '../../src/capture/redrive.ts';
import type { RedriveOptions } from '../../src/capture/redrive-task.ts';
import { BanyanError } from '../../src/core/errors.ts';
import type { Event } from '../../src/core/event.ts';
import type { DeadLetterStore, ParkedLetter } from '../../src/state/dead-letters.ts';

const log = pino({ enabled: false });

/** A parked message of a key, which is its own content. */
function letter(id: number, group: string): ParkedLetter {
  const content = `${group}${id}`;
  const message = {
    operation: 'message',
    prefix: 'outbox',
    content,
    ordinal: id,
    xid: 1,
    commitLsn: '1',
    committedAtMicros: '0',
    timeline: 1,
  };
  return {
    id,
    eventId: content,
    entry: -1,
    group,
    previousGroup: undefined,
    table: 'message:outbox',
    sequence: content,
    kind: 'event-rejected',
    code: undefined,
    message: 'refused',
    behind: false,
    change: JSON.stringify(message),
    status: 'parked',
    parkedAt: '2026-01-01T00:00:00.000Z',
    settledAt: undefined,
  };
}

function eventOf(content: string): Event {
  return {
    id: content,
    sequence: content,
    source: 'legacy.shop',
    detailType: 'X',
    timeSeconds: 0,
    resources: [],
    detail: '{}',
    bus: undefined,
    group: undefined,
    previousGroup: undefined,
    sizeBytes: 100,
  };
}

/** What a redrive needs, over letters in memory. */
function memory(letters: readonly ParkedLetter[], send: (id: string) => Promise<Outcome>) {
  const left = new Map(letters.map((each) => [each.id, each]));
  const sent: string[] = [];
  const groups = () => [...new Set([...left.values()].flatMap(({ group }) => group ?? []))];
  const store: Pick<DeadLetterStore, 'groupsOf' | 'nextOfGroups' | 'setReason' | 'markRedriven'> = {
    groupsOf: async () => groups(),
    nextOfGroups: async (wanted, { rows }) =>
      [...left.values()].filter(({ group }) => wanted.includes(group ?? '')).slice(0, rows),
    setReason: async () => undefined,
    markRedriven: async (ids) => {
      for (const id of ids) left.delete(id);
    },
  };
  const parking = new Parking({
    store: { park: async () => 0, parkedAmong: async () => groups() },
    identity: { systemId: '7', epoch: 1 },
    groups: groups(),
    log,
  });
  const nothingHeld = { addedTo: () => 0, isWriting: () => false, account: () => undefined };
  const options: RedriveOptions = {
    deadLetters: store,
    heldTables: { list: async () => [], clear: async () => undefined },
    parking,
    holding: nothingHeld,
    routes: { release: () => undefined },
    mappersFor: async () => [],
    mapMessage: ({ content }) => eventOf(content),
    send: async ({ id }) => {
      sent.push(id);
      return send(id);
    },
    passed: async () => undefined,
    signal: new AbortController().signal,
    log,
  };
  return { options, sent, left: () => [...left.keys()] };
}

test('a redrive that fails answers when all its keys have ended, and sends nothing afterwards', async () => {
  const answer = Promise.withResolvers<Outcome>();
  const asked = Promise.withResolvers<void>();
  const failure = new BanyanError('database-privilege', 'permission denied');
  const { options, sent, left } = memory([letter(1, 'a'), letter(2, 'b'), letter(3, 'b')], async (id) => {
    if (id === 'b2') {
      asked.resolve();
      return answer.promise;
    }
    await asked.promise;
    throw failure;
  });
  let ended = false;
  const outcome = redrive({ all: true }, options)
    .catch((error: unknown) => error)
    .finally(() => {
      ended = true;
    });
  await asked.promise;
  // A turn of the event loop is more than any of the promises above needs.
  await new Promise((resolve) => setImmediate(resolve));
  expect(ended).toBe(false);
  answer.resolve(ACCEPTED);
  expect(await outcome).toBe(failure);
  await new Promise((resolve) => setImmediate(resolve));
  expect(sent.toSorted()).toEqual(['a1', 'b2']);
  expect(left()).toEqual([1, 3]);
});

test('a redrive sends each key in order and lets it go', async () => {
  const { options, sent, left } = memory([letter(1, 'a'), letter(2, 'b'), letter(3, 'a')], async () => ACCEPTED);
  expect(await redrive({ all: true }, options)).toEqual({ sent: 3, parked: 0, withoutEvent: 0, stopped: [] });
  expect(sent.filter((id) => id.startsWith('a'))).toEqual(['a1', 'a3']);
  expect(left()).toEqual([]);
  expect(options.parking.groups).toBe(0);
});
