import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createEventBridgePublisher, type EventBridgeOptions } from '../../src/bus/eventbridge.ts';
import { entrySizeBytes } from '../../src/bus/entry.ts';
import type { Outcome, Publisher } from '../../src/bus/publisher.ts';
import type { Event } from '../../src/core/event.ts';
import { startLocalBus } from '../../src/local-bus/local-bus.ts';
import {
  acceptAll,
  type EventBridgeStub,
  serviceError,
  startEventBridgeStub,
  type StubAnswer,
} from '../support/eventbridge-stub.ts';

const never = new AbortController().signal;
const secret = 'row-value-4711';

let stub: EventBridgeStub;
let logged: string[];
const publishers: Publisher[] = [];

beforeEach(async () => {
  stub = await startEventBridgeStub();
  logged = [];
});
afterEach(async () => {
  for (const publisher of publishers.splice(0)) await publisher.close();
  await stub.close();
});

function connect(options: Partial<EventBridgeOptions> = {}): Publisher {
  const publisher = createEventBridgePublisher({
    region: 'eu-west-1',
    endpoint: stub.url,
    busName: 'shop-legacy',
    concurrency: 4,
    requestTimeoutMs: 5_000,
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    log: pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }),
    ...options,
  });
  publishers.push(publisher);
  return publisher;
}

function event(id: string, more: Partial<Event> = {}): Event {
  const base: Event = {
    id,
    sequence: id,
    source: 'legacy.shop',
    detailType: 'OrderChanged',
    timeSeconds: 1_772_366_400,
    resources: [`banyan:shop:public.orders:${id}`],
    detail: JSON.stringify({ data: { id, note: secret } }),
    bus: undefined,
    group: id,
    previousGroup: undefined,
    sizeBytes: 0,
    ...more,
  };
  return { ...base, sizeBytes: entrySizeBytes(base) };
}

const events = (count: number): Event[] => Array.from({ length: count }, (_, index) => event(`e${index}`));

/** `accepted`, or the kind of the error. */
function kinds(outcomes: readonly Outcome[]): string[] {
  return outcomes.map((outcome) => (outcome.status === 'accepted' ? 'accepted' : outcome.error.kind));
}

function putCalls() {
  return stub.calls.filter(({ operation }) => operation === 'PutEvents');
}

function failPuts(answer: StubAnswer): void {
  stub.answer = (call) => (call.operation === 'PutEvents' ? answer : acceptAll(call));
}

describe('createEventBridgePublisher', () => {
  test('puts a batch in one request, in order, over connections that it keeps', async () => {
    const publisher = connect();
    for (let round = 0; round < 3; round += 1) {
      expect(kinds(await publisher.publish(events(10), never))).toEqual(Array.from({ length: 10 }, () => 'accepted'));
    }
    expect(putCalls()).toHaveLength(3);
    expect(putCalls()[0]?.entries.map(({ Detail }) => Detail)).toEqual(events(10).map(({ detail }) => detail));
    expect(putCalls()[0]?.entries[0]).toMatchObject({ EventBusName: 'shop-legacy', Time: 1_772_366_400 });
    expect(stub.connections()).toBe(1);
  });

  test('keeps the outcomes of entries aligned with the events', async () => {
    const codes = [
      undefined,
      'InternalFailure',
      'ThrottlingException',
      'MalformedDetail',
      'NotAuthorizedForSourceException',
      'NewCode',
    ];
    failPuts({
      status: 200,
      body: {
        FailedEntryCount: 5,
        Entries: codes.map((ErrorCode) =>
          ErrorCode === undefined ? { EventId: '1' } : { ErrorCode, ErrorMessage: secret },
        ),
      },
    });
    const outcomes = await connect().publish(events(6), never);
    expect(kinds(outcomes)).toEqual([
      'accepted',
      'bus-transient',
      'bus-throttled',
      'event-rejected',
      'bus-unauthorized',
      'unknown',
    ]);
    expect(
      JSON.stringify(outcomes.map((each) => (each.status === 'rejected' ? each.error.message : ''))),
    ).not.toContain(secret);
  });

  test.for([
    ['ThrottlingException', 400, 'bus-throttled'],
    ['TooManyRequestsException', 429, 'bus-throttled'],
    ['InternalException', 500, 'bus-transient'],
    ['ServiceUnavailable', 503, 'bus-transient'],
    ['SomethingNew', 502, 'bus-transient'],
    ['AccessDeniedException', 400, 'bus-unauthorized'],
    ['ResourceNotFoundException', 400, 'bus-missing'],
    ['ExpiredTokenException', 400, 'bus-credentials'],
    ['UnrecognizedClientException', 400, 'bus-credentials'],
    ['InvalidSignatureException', 403, 'bus-credentials'],
    ['SomethingNew', 400, 'unknown'],
  ] as const)('a request refused with %s (%i) fails every event as %s, in one call', async ([code, status, kind]) => {
    failPuts(serviceError(code, { status }));
    expect(kinds(await connect().publish(events(3), never))).toEqual([kind, kind, kind]);
    expect(putCalls()).toHaveLength(1);
  });

  test('ends a call without an answer at the timeout', async () => {
    failPuts('hang');
    const outcomes = await connect({ requestTimeoutMs: 100 }).publish(events(2), never);
    expect(kinds(outcomes)).toEqual(['bus-transient', 'bus-transient']);
  });

  test('takes a broken connection, and a server that is not there, for transient', async () => {
    failPuts('destroy');
    expect(kinds(await connect().publish(events(1), never))).toEqual(['bus-transient']);
    const gone = await startEventBridgeStub();
    await gone.close();
    expect(kinds(await connect({ endpoint: gone.url }).publish(events(1), never))).toEqual(['bus-transient']);
  });

  test('says when there are no credentials', async () => {
    const publisher = connect({
      credentials: async () => {
        throw Object.assign(new Error('Could not load credentials from any providers'), {
          name: 'CredentialsProviderError',
        });
      },
    });
    expect(kinds(await publisher.publish(events(1), never))).toEqual(['bus-credentials']);
  });

  test('splits a request that is too large, and gives up only the event that is too large alone', async () => {
    stub.answer = (call) => {
      const bytes = call.entries.reduce((sum, { Detail }) => sum + Detail.length, 0);
      return bytes > 2_000
        ? serviceError('ValidationException', {
            message: `Total size of the entries in the request is over the limit. ${secret}`,
          })
        : acceptAll(call);
    };
    const batch = events(8);
    batch[2] = event('huge', { detail: JSON.stringify({ text: 'x'.repeat(2_000) }) });
    batch[6] = event('half', { detail: JSON.stringify({ text: 'x'.repeat(1_900) }) });
    const outcomes = await connect().publish(batch, never);
    expect(kinds(outcomes)).toEqual(batch.map(({ id }) => (id === 'huge' ? 'event-too-large' : 'accepted')));
  });

  test('finds the one entry for which the service refuses the whole request', async () => {
    stub.answer = (call) =>
      call.entries.some(({ DetailType }) => DetailType === 'bad')
        ? serviceError('ValidationException', {
            message: `Value '${secret}' at 'entries.3.member.detailType' failed to satisfy constraint`,
          })
        : acceptAll(call);
    const batch = events(5);
    batch[3] = event('bad', { detailType: 'bad' });
    const outcomes = await connect().publish(batch, never);
    expect(kinds(outcomes)).toEqual(['accepted', 'accepted', 'accepted', 'event-rejected', 'accepted']);
    const [bad] = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(bad?.error.message).not.toContain(secret);
    expect(logged.join('')).not.toContain(secret);
  });

  test('takes an answer with another number of results for unknown', async () => {
    failPuts({ status: 200, body: { FailedEntryCount: 0, Entries: [{ EventId: '1' }] } });
    expect(kinds(await connect().publish(events(2), never))).toEqual(['unknown', 'unknown']);
  });

  test('rejects with the reason when the signal aborts during a call', async () => {
    failPuts('hang');
    const abort = new AbortController();
    const publisher = connect();
    await publisher.probe(never);
    const calling = publisher.publish(events(1), abort.signal);
    const reason = new Error('stopping');
    setImmediate(() => abort.abort(reason));
    await expect(calling).rejects.toBe(reason);
  });

  test('probes by describing the bus, and sends no event for it', async () => {
    const publisher = connect();
    await publisher.probe(never);
    expect(stub.calls).toMatchObject([{ operation: 'DescribeEventBus', entries: [], name: 'shop-legacy' }]);
    stub.answer = () => serviceError('ResourceNotFoundException');
    await expect(publisher.probe(never)).rejects.toMatchObject({ kind: 'bus-missing' });
    stub.answer = () => serviceError('ExpiredTokenException');
    await expect(publisher.probe(never)).rejects.toMatchObject({ kind: 'bus-credentials' });
  });

  test('a role that may not describe the bus is warned of once, and may put events', async () => {
    stub.answer = (call) =>
      call.operation === 'DescribeEventBus' ? serviceError('AccessDeniedException') : acceptAll(call);
    const publisher = connect();
    await publisher.probe(never);
    await publisher.probe(never);
    expect(kinds(await publisher.publish(events(1), never))).toEqual(['accepted']);
    expect(logged).toHaveLength(1);
    expect(logged[0]).toContain('not allowed to describe');
  });

  test('gives no event to a bus that does not exist, which would take and lose it', async () => {
    stub.answer = (call) => (call.name === 'tenant-b' ? serviceError('ResourceNotFoundException') : acceptAll(call));
    const publisher = connect();
    expect(kinds(await publisher.publish([event('1', { bus: 'tenant-a' })], never))).toEqual(['accepted']);
    expect(kinds(await publisher.publish([event('2', { bus: 'tenant-b' })], never))).toEqual(['bus-missing']);
    expect(putCalls()).toHaveLength(1);
  });

  test('asks again about a bus that a probe did not find', async () => {
    const publisher = connect();
    await publisher.publish(events(1), never);
    stub.answer = () => serviceError('ResourceNotFoundException');
    await expect(publisher.probe(never)).rejects.toMatchObject({ kind: 'bus-missing' });
    expect(kinds(await publisher.publish(events(1), never))).toEqual(['bus-missing']);
  });
});

describe('with the embedded bus', () => {
  test('what it counts as the size of a request is what we count', async () => {
    const bus = await startLocalBus({ queues: false, maxRequestBytes: 1_000 });
    try {
      bus.invoke('CreateEventBus', { Name: 'shop-legacy' });
      const publisher = connect({ endpoint: bus.url, region: bus.region });
      const fitting = event('é', { detail: '{"text":""}' });
      const room = 1_000 - fitting.sizeBytes;
      const exact = event('é', { detail: `{"text":"${'x'.repeat(room)}"}` });
      const over = event('é', { detail: `{"text":"${'x'.repeat(room + 1)}"}` });
      expect(exact.sizeBytes).toBe(1_000);
      expect(kinds(await publisher.publish([exact], never))).toEqual(['accepted']);
      expect(kinds(await publisher.publish([over], never))).toEqual(['event-too-large']);
      expect(kinds(await publisher.publish([fitting, exact, fitting], never))).toEqual([
        'accepted',
        'accepted',
        'accepted',
      ]);
    } finally {
      await bus.close();
    }
  });

  test('its faults become the kinds that they stand for', async () => {
    const bus = await startLocalBus({ queues: false });
    try {
      bus.invoke('CreateEventBus', { Name: 'shop-legacy' });
      const publisher = connect({ endpoint: bus.url, region: bus.region });
      expect(kinds(await publisher.publish(events(2), never))).toEqual(['accepted', 'accepted']);
      for (const [fault, kind] of [
        [{ down: true }, 'bus-transient'],
        [{ throttle: true }, 'bus-throttled'],
        [{ deny: true }, 'bus-unauthorized'],
        [{ expiredCredentials: true }, 'bus-credentials'],
        [{ answerLost: true }, 'bus-transient'],
      ] as const) {
        bus.faults.set(fault);
        expect(kinds(await publisher.publish(events(2), never))).toEqual([kind, kind]);
        bus.faults.clear();
      }
      bus.faults.set({ failEntries: { next: 1, code: 'ThrottlingException' } });
      expect(kinds(await publisher.publish(events(2), never))).toEqual(['bus-throttled', 'accepted']);
    } finally {
      await bus.close();
    }
  });
});
