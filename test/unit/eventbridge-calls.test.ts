import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { entrySizeBytes } from '../../src/bus/entry.ts';
import { createEventBridgePublisher, type EventBridgeOptions } from '../../src/bus/eventbridge.ts';
import type { Outcome, Publisher } from '../../src/bus/publisher.ts';
import type { Event } from '../../src/core/event.ts';
import { acceptAll, type EventBridgeStub, serviceError, startEventBridgeStub } from '../support/eventbridge-stub.ts';

const never = new AbortController().signal;

let stub: EventBridgeStub;
const publishers: Publisher[] = [];

beforeEach(async () => {
  stub = await startEventBridgeStub();
});
afterEach(async () => {
  vi.unstubAllEnvs();
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
    log: pino({ level: 'silent' }),
    ...options,
  });
  publishers.push(publisher);
  return publisher;
}

function event(id: string): Event {
  const parts = { source: 'legacy.shop', detailType: 'OrderChanged', resources: [], detail: JSON.stringify({ id }) };
  return {
    ...parts,
    id,
    sequence: id,
    timeSeconds: 1_772_366_400,
    bus: undefined,
    group: id,
    previousGroup: undefined,
    sizeBytes: entrySizeBytes(parts),
  };
}

/** `accepted`, or the kind of the error. */
function kinds(outcomes: readonly Outcome[]): string[] {
  return outcomes.map((outcome) => (outcome.status === 'accepted' ? 'accepted' : outcome.error.kind));
}

function putCalls() {
  return stub.calls.filter(({ operation }) => operation === 'PutEvents');
}

/** All calls of a signal share the client's middleware: what belongs to one call must not stay there for the next. */
describe('calls that share their middleware', () => {
  test('a signal ends the calls that it was given to, and no others', async () => {
    const publisher = connect();
    await publisher.publish([event('1')], never);
    const [first, second] = [new AbortController(), new AbortController()];
    const stopped = new Error('stopping');
    stub.answer = () => 'hang';
    const ended = [
      publisher.publish([event('1')], first.signal),
      publisher.publish([event('1'), event('2')], first.signal),
    ];
    const outcomes = Promise.allSettled(ended);
    const going = publisher.publish([event('3')], second.signal);
    await expect.poll(() => putCalls().length).toBe(4);
    first.abort(stopped);
    expect(await outcomes).toEqual(ended.map(() => ({ status: 'rejected', reason: stopped })));
    await expect(publisher.publish([event('1')], first.signal)).rejects.toBe(stopped);
    stub.answer = acceptAll;
    expect(kinds(await publisher.publish([event('1')], second.signal))).toEqual(['accepted']);
    const closing = new Error('closing');
    second.abort(closing);
    await expect(going).rejects.toBe(closing);
  });

  test('asks for credentials before each call, and signs with those of its own time', async () => {
    let accessKeyId: string | undefined = 'KEY1';
    const publisher = connect({
      credentials: async () => {
        if (accessKeyId === undefined) throw Object.assign(new Error('gone'), { name: 'CredentialsProviderError' });
        // Expired at once, so that no call goes by what an earlier one was given.
        return { accessKeyId, secretAccessKey: 'local', expiration: new Date() };
      },
    });
    expect(kinds(await publisher.publish([event('1')], never))).toEqual(['accepted']);
    accessKeyId = undefined;
    expect(kinds(await publisher.publish([event('2')], never))).toEqual(['bus-credentials']);
    accessKeyId = 'KEY2';
    expect(kinds(await publisher.publish([event('3')], never))).toEqual(['accepted']);
    expect(putCalls().map((call) => call.accessKeyId)).toEqual(['KEY1', 'KEY2']);
  });

  test('corrects a clock that is wrong, for every call after the one that showed it', async () => {
    const publisher = connect();
    await publisher.probe(never);
    const serviceMs = Date.now() + 3_600_000;
    stub.nowMs = () => serviceMs;
    stub.answer = (call) =>
      Math.abs(call.signedAtMs - serviceMs) > 300_000 ? serviceError('InvalidSignatureException') : acceptAll(call);
    expect(kinds(await publisher.publish([event('1')], never))).toEqual(['bus-credentials']);
    expect(kinds(await publisher.publish([event('1')], never))).toEqual(['accepted']);
  });

  test('say in each request which SDK it comes from, and the application that the environment names', async () => {
    vi.stubEnv('AWS_SDK_UA_APP_ID', 'orders (legacy)');
    const publisher = connect();
    await publisher.publish([event('1')], never);
    await publisher.publish([event('2')], never);
    const agent = /^aws-sdk-js\/\d+\.\d+\.\d+ ua\/\S+ os\/\S+ lang\/js md\/nodejs\S* .*app\/orders--legacy-$/;
    expect(stub.calls.map(({ userAgent }) => userAgent)).toEqual(stub.calls.map(() => expect.stringMatching(agent)));
    expect(stub.calls).toHaveLength(3);
  });
});
