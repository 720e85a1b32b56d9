import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import type { PutEventsRequestEntry } from '@aws-sdk/client-eventbridge';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findExcess } from '../../src/local-bus/json-text.ts';
import { startLocalBus } from '../../src/local-bus/local-bus.ts';
import type { LocalBus } from '../../src/local-bus/local-bus.ts';
import { entrySize } from '../../src/local-bus/put-events.ts';
import type { AcceptedEvent, PutEventsEntry } from '../../src/local-bus/put-events.ts';

let bus: LocalBus;
let client: EventBridgeClient;
const accepted: { event: AcceptedEvent; entry: PutEventsEntry }[] = [];

beforeAll(async () => {
  bus = await startLocalBus({ queues: false, maxRequestBytes: 10_000 });
  bus.onAccepted((event, entry) => accepted.push({ event, entry }));
  client = new EventBridgeClient({
    region: 'eu-central-1',
    endpoint: bus.url,
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
  });
});

afterEach(() => {
  accepted.length = 0;
});

afterAll(async () => {
  client.destroy();
  await bus.close();
});

const GOOD: PutEventsRequestEntry = { Source: 'legacy.shop', DetailType: 'OrderPlaced', Detail: '{"id":1}' };

async function put(...Entries: PutEventsRequestEntry[]) {
  return await client.send(new PutEventsCommand({ Entries }));
}

/** A detail of so many levels. */
function deep(levels: number): string {
  return `${'{"a":'.repeat(levels - 1)}{}${'}'.repeat(levels - 1)}`;
}

/** An entry of so many bytes, some of them in characters of two, three and four. */
function padded(bytes: number): PutEventsRequestEntry {
  const rest = entrySize({ Source: 'ü', DetailType: '😀', Detail: '{"a":""}', Resources: ['€'], Time: 0 });
  const Detail = `{"a":"${'x'.repeat(bytes - rest)}"}`;
  return { Source: 'ü', DetailType: '😀', Detail, Resources: ['€'], Time: new Date(0) };
}

describe('an accepted event', () => {
  it('has an id, the caller’s region, the time in whole seconds, and its detail as it was written', async () => {
    const detail = '{ "z": 9223372036854775807, "a": 1.10, "nested": {"b":"ü😀", "a":[1e2]} }';
    const Time = new Date('2026-03-01T12:00:00.999Z');
    const answer = await put({ ...GOOD, Detail: detail, Time, Resources: ['r1', 'r2'] });
    expect(answer.FailedEntryCount).toBe(0);
    expect(accepted.map(({ event }) => event)).toEqual([
      {
        id: answer.Entries?.[0]?.EventId,
        bus: 'default',
        dropped: false,
        source: 'legacy.shop',
        detailType: 'OrderPlaced',
        time: '2026-03-01T12:00:00Z',
        resources: ['r1', 'r2'],
        account: '000000000000',
        region: 'eu-central-1',
        detail,
      },
    ]);
    expect(accepted[0]?.entry.Detail).toBe(detail);
    expect(bus.recent(1)).toEqual([accepted[0]?.event]);
  });

  it('takes now for its time where the caller gave none', async () => {
    await put(GOOD);
    expect(Math.abs(Date.parse(accepted[0]?.event.time ?? '') - Date.now())).toBeLessThan(60_000);
  });

  it('is dropped without a word where there is no such bus', async () => {
    const before = bus.counters.dropped;
    const answer = await put({ ...GOOD, EventBusName: 'nowhere' });
    expect(answer.FailedEntryCount).toBe(0);
    expect(answer.Entries?.[0]?.EventId).toMatch(/^[0-9a-f-]{36}$/);
    expect(accepted[0]?.event).toMatchObject({ bus: 'nowhere', dropped: true });
    expect(bus.counters.dropped).toBe(before + 1);
  });

  it('finds its bus by ARN', async () => {
    await put({ ...GOOD, EventBusName: 'arn:aws:events:eu-central-1:000000000000:event-bus/default' });
    expect(accepted[0]?.event).toMatchObject({ bus: 'default', dropped: false });
  });
});

describe('an entry that is refused', () => {
  it.each<[string, Partial<PutEventsRequestEntry>, string, string]>([
    [
      'no source',
      { Source: undefined },
      'InvalidArgument',
      'Parameter Source is not valid. Reason: Source is a required argument.',
    ],
    ['an empty source', { Source: '' }, 'InvalidArgument', 'Parameter Source is not valid.'],
    ['no detail-type', { DetailType: undefined }, 'InvalidArgument', 'Reason: DetailType is a required argument.'],
    ['no detail', { Detail: undefined }, 'InvalidArgument', 'Reason: Detail is a required argument.'],
    [
      'a detail-type of 129 characters',
      { DetailType: 'x'.repeat(129) },
      'InvalidArgument',
      'less than or equal to 128',
    ],
    ['a source of AWS', { Source: 'aws.ec2' }, 'NotAuthorizedForSourceException', 'Not authorized for the source.'],
    ['a detail that is not JSON', { Detail: '{"a":' }, 'MalformedDetail', 'Detail is malformed.'],
    ['a detail that is an array', { Detail: '[1]' }, 'MalformedDetail', 'Detail is malformed.'],
    ['a detail that is null', { Detail: 'null' }, 'MalformedDetail', 'Detail is malformed.'],
    ['a detail of 1001 levels', { Detail: deep(1_001) }, 'MalformedDetail', 'nested deeper than 1000 levels'],
    [
      'an integer of 2^63',
      { Detail: '{"a":[9223372036854775808]}' },
      'MalformedDetail',
      'an integer is beyond 64 bits',
    ],
    ['an integer below -2^63', { Detail: '{"a":-9223372036854775809}' }, 'MalformedDetail', 'beyond 64 bits'],
  ])('with %s says so', async (_what, change, code, message) => {
    const answer = await put(GOOD, { ...GOOD, ...change }, GOOD);
    expect(answer.FailedEntryCount).toBe(1);
    expect(answer.Entries?.map((entry) => entry.ErrorCode)).toEqual([undefined, code, undefined]);
    expect(answer.Entries?.[1]?.ErrorMessage).toContain(message);
    expect(answer.Entries?.[1]?.EventId).toBeUndefined();
    expect(accepted.length).toBe(2);
  });

  it('is none just inside the limits', async () => {
    const fine = [
      { ...GOOD, DetailType: 'x'.repeat(128) },
      { ...GOOD, Detail: deep(1_000) },
      { ...GOOD, Detail: '{"a":9223372036854775807,"b":-9223372036854775808,"c":1e400,"d":0.12345678901234567890123}' },
      { ...GOOD, Detail: '{"a":"99999999999999999999","\\"9":"[[[{{{"}' },
      { ...GOOD, Source: 'awsome' },
    ];
    expect((await put(...fine)).FailedEntryCount).toBe(0);
  });
});

describe('a request that is refused', () => {
  it('has no entry, or more than ten', async () => {
    await expect(put()).rejects.toMatchObject({ name: 'ValidationException', $metadata: { httpStatusCode: 400 } });
    await expect(put(...Array.from({ length: 11 }, () => GOOD))).rejects.toMatchObject({
      name: 'ValidationException',
      message: expect.stringContaining('less than or equal to 10') as unknown,
    });
    expect(accepted).toEqual([]);
  });

  it('is larger than the limit by one byte', async () => {
    expect((await put(padded(4_000), padded(6_000))).FailedEntryCount).toBe(0);
    await expect(put(padded(4_000), padded(6_001))).rejects.toMatchObject({
      name: 'ValidationException',
      message: 'Total size of the entries in the request is over the limit.',
    });
    expect(accepted.length).toBe(2);
  });
});

describe('the size of an entry', () => {
  it('is 14 for a time, and the bytes of all texts', () => {
    expect(entrySize({})).toBe(0);
    expect(entrySize({ Time: 1 })).toBe(14);
    expect(entrySize({ Source: 'ab', DetailType: 'ü', Detail: '{"€":1}', Resources: ['x', '😀'], Time: 1 })).toBe(
      14 + 2 + 2 + 9 + 1 + 4,
    );
  });
});

describe('any detail', () => {
  it('of valid JSON is accepted and kept to the letter', async () => {
    const object = fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 4 }), { maxKeys: 4 });
    await fc.assert(
      fc.asyncProperty(object, fc.constantFrom(0, 2), async (value, indent) => {
        const detail = JSON.stringify(value, undefined, indent);
        fc.pre(Buffer.byteLength(detail) < 9_000 && findExcess(detail) === undefined);
        accepted.length = 0;
        const answer = await put({ ...GOOD, Detail: detail });
        expect(answer.FailedEntryCount).toBe(0);
        expect(accepted[0]?.event.detail).toBe(detail);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the recent events over HTTP', () => {
  it('are the last ones, oldest first, with their text untouched', async () => {
    for (const Source of ['one', 'two', 'three']) await put({ ...GOOD, Source, Detail: '{"big":9007199254740993}' });
    const response = await fetch(`${bus.url}/_banyan/events?limit=2`);
    const text = await response.text();
    const { events } = JSON.parse(text) as {
      readonly events: { bus: string; dropped: boolean; event: { source: string } }[];
    };
    expect(events.map((one) => [one.bus, one.dropped, one.event.source])).toEqual([
      ['default', false, 'two'],
      ['default', false, 'three'],
    ]);
    expect(text).toContain('"detail":{"big":9007199254740993}');
    expect((await fetch(`${bus.url}/_banyan/events?limit=x`)).status).toBe(400);
  });

  it('are a thousand at most', () => {
    for (let at = 0; at < 120; at++) bus.invoke('PutEvents', { Entries: Array.from({ length: 10 }, () => GOOD) });
    expect(bus.recent(5_000).length).toBe(1_000);
    expect(bus.recent(0)).toEqual([]);
  });
});
