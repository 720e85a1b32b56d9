import { DescribeEventBusCommand, EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Faults } from '../../src/local-bus/faults.ts';
import type { FaultPatch } from '../../src/local-bus/faults.ts';
import { startLocalBus } from '../../src/local-bus/local-bus.ts';
import type { LocalBus } from '../../src/local-bus/local-bus.ts';

let bus: LocalBus;
let client: EventBridgeClient;
/** Gives up soon, as the worker's client does. */
let impatient: EventBridgeClient;

beforeAll(async () => {
  bus = await startLocalBus({ queues: false });
  const common = {
    region: 'us-east-1',
    endpoint: bus.url,
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
  };
  client = new EventBridgeClient(common);
  impatient = new EventBridgeClient({
    ...common,
    requestHandler: new NodeHttpHandler({ requestTimeout: 100, throwOnRequestTimeout: true }),
  });
});

afterEach(() => {
  bus.faults.clear();
});

afterAll(async () => {
  client.destroy();
  impatient.destroy();
  await bus.close();
});

const ENTRY = { Source: 's', DetailType: 'd', Detail: '{}' };

async function put(entries = 1, by = client) {
  return await by.send(new PutEventsCommand({ Entries: Array.from({ length: entries }, () => ENTRY) }));
}

async function describeBus() {
  return await client.send(new DescribeEventBusCommand({}));
}

/** How many events the bus accepted while `act` ran. */
async function acceptedDuring(act: () => Promise<unknown>): Promise<number> {
  const before = bus.counters.accepted;
  await act();
  return bus.counters.accepted - before;
}

function faultsUrl(): string {
  return `${bus.url}/_banyan/faults`;
}

async function postFaults(patch: unknown): Promise<Response> {
  return await fetch(faultsUrl(), { method: 'POST', body: JSON.stringify(patch) });
}

/** What a client of node:http sees of a connection that was destroyed. */
const CUT = { code: expect.stringMatching(/ECONNRESET|EPIPE/) as unknown };

describe('a fault of the whole request', () => {
  it.each<[FaultPatch, string]>([
    [{ throttle: { next: 2 } }, 'ThrottlingException'],
    [{ deny: { next: 2 } }, 'AccessDeniedException'],
    [{ expiredCredentials: { next: 2 } }, 'ExpiredTokenException'],
  ])('%j strikes as often as asked, and accepts nothing', async (patch, name) => {
    bus.faults.set(patch);
    const accepted = await acceptedDuring(async () => {
      await expect(put()).rejects.toMatchObject({ name, $metadata: { httpStatusCode: 400 } });
      await expect(put()).rejects.toMatchObject({ name });
      expect((await put()).FailedEntryCount).toBe(0);
    });
    expect(accepted).toBe(1);
    expect(bus.faults.settings).toEqual({});
  });

  it('throttle and deny leave other operations alone; expired credentials do not', async () => {
    bus.faults.set({ throttle: true, deny: true });
    await expect(describeBus()).resolves.toMatchObject({ Name: 'default' });
    bus.faults.set({ expiredCredentials: true });
    await expect(describeBus()).rejects.toMatchObject({ name: 'ExpiredTokenException' });
  });

  it('is retried by the SDK where it is throttling', async () => {
    const patient = new EventBridgeClient({
      region: 'us-east-1',
      endpoint: bus.url,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
      maxAttempts: 2,
    });
    bus.faults.set({ throttle: { next: 1 } });
    expect((await put(1, patient)).$metadata.attempts).toBe(2);
    patient.destroy();
  });
});

describe('failEntries', () => {
  it('fails the next entries with the code asked for, in their places', async () => {
    bus.faults.set({ failEntries: { next: 3, code: 'ThrottlingException', message: 'slow down' } });
    const accepted = await acceptedDuring(async () => {
      const first = await put(2);
      expect(first.FailedEntryCount).toBe(2);
      const second = await put(3);
      expect(second.FailedEntryCount).toBe(1);
      expect(second.Entries?.map((entry) => entry.ErrorCode)).toEqual(['ThrottlingException', undefined, undefined]);
      expect(second.Entries?.[0]?.ErrorMessage).toBe('slow down');
    });
    expect(accepted).toBe(2);
  });

  it('fails with InternalFailure where no code is given, and always where no number is', async () => {
    for (const failEntries of [true, { code: 'InternalFailure' }] as const) {
      bus.faults.set({ failEntries });
      const answer = await put(10);
      expect(answer.Entries?.map((entry) => entry.ErrorCode)).toEqual(
        Array.from({ length: 10 }, () => 'InternalFailure'),
      );
    }
  });
});

describe('a fault of the connection', () => {
  it('down destroys it before anything happens', async () => {
    bus.faults.set({ down: true });
    const accepted = await acceptedDuring(async () => {
      await expect(put()).rejects.toMatchObject(CUT);
      await expect(describeBus()).rejects.toMatchObject(CUT);
    });
    expect(accepted).toBe(0);
    bus.faults.set({ down: null });
    expect((await put()).FailedEntryCount).toBe(0);
  });

  it('answerLost accepts the events first', async () => {
    bus.faults.set({ answerLost: { next: 1 } });
    const accepted = await acceptedDuring(async () => {
      await expect(put(3)).rejects.toMatchObject(CUT);
    });
    expect(accepted).toBe(3);
    expect((await put()).FailedEntryCount).toBe(0);
  });

  it('delayMs holds every answer back for as long', async () => {
    bus.faults.set({ delayMs: 60 });
    const start = performance.now();
    await put();
    expect(performance.now() - start).toBeGreaterThanOrEqual(55);
    bus.faults.set({ delayMs: 5_000 });
    await expect(put(1, impatient)).rejects.toMatchObject({ name: 'TimeoutError' });
  });
});

describe('hold', () => {
  it('keeps requests until released, and then carries them out', async () => {
    bus.faults.set({ hold: 'request' });
    const accepted = await acceptedDuring(async () => {
      const held = Promise.all([put(1), put(1)]);
      await vi.waitFor(() => expect(bus.faults.held).toBe(2));
      expect(bus.counters.accepted).toBe(bus.recent(10_000).length);
      bus.faults.clear();
      expect((await held).map((answer) => answer.FailedEntryCount)).toEqual([0, 0]);
    });
    expect(accepted).toBe(2);
    expect(bus.faults.held).toBe(0);
  });

  it('never carries out the request of a caller who gave up', async () => {
    bus.faults.set({ hold: 'request' });
    const accepted = await acceptedDuring(async () => {
      await expect(put(1, impatient)).rejects.toMatchObject({ name: 'TimeoutError' });
      await vi.waitFor(() => expect(bus.faults.held).toBe(0));
      bus.faults.clear();
      await put();
    });
    expect(accepted).toBe(1);
  });

  it('of the answer accepts the events, and the caller does not hear of it', async () => {
    bus.faults.set({ hold: 'answer' });
    const accepted = await acceptedDuring(async () => {
      await expect(put(4, impatient)).rejects.toMatchObject({ name: 'TimeoutError' });
    });
    expect(accepted).toBe(4);
  });

  it('does not keep the bus from closing', async () => {
    const short = await startLocalBus({ queues: false });
    short.faults.set({ hold: 'request' });
    const held = fetch(short.url, { method: 'POST', headers: { 'x-amz-target': 'AWSEvents.ListRules' }, body: '{}' });
    const settled = held.then(
      (response) => response.status,
      () => 'cut',
    );
    await vi.waitFor(() => expect(short.faults.held).toBe(1));
    await short.close();
    expect([200, 'cut']).toContain(await settled);
  });
});

describe('the faults over HTTP', () => {
  it('are set, read, switched off one by one, and cleared', async () => {
    const set = await postFaults({ throttle: { probability: 1 }, delayMs: 1 });
    expect(await set.json()).toEqual({ settings: { throttle: { probability: 1 }, delayMs: 1 }, held: 0 });
    await expect(put()).rejects.toMatchObject({ name: 'ThrottlingException' });
    await postFaults({ throttle: null });
    expect(await (await fetch(faultsUrl())).json()).toEqual({ settings: { delayMs: 1 }, held: 0 });
    expect(await (await fetch(faultsUrl(), { method: 'DELETE' })).json()).toEqual({ settings: {}, held: 0 });
    expect((await put()).FailedEntryCount).toBe(0);
  });

  it.each([
    [{ trottle: true }, 'trottle is no fault; there are down'],
    [{ throttle: 1 }, 'throttle: true, { "probability": 0 to 1 }'],
    [{ throttle: {} }, 'throttle: true'],
    [{ throttle: { next: 0 } }, 'throttle: true'],
    [{ throttle: { probability: 2 } }, 'throttle: true'],
    [{ throttle: { next: 1, code: 'x' } }, 'throttle.code is unknown'],
    [{ deny: { next: 1, probability: 1 } }, 'deny: either probability or next'],
    [{ failEntries: { code: 5 } }, 'failEntries: code and message are text'],
    [{ delayMs: -1 }, 'delayMs: a number of milliseconds'],
    [{ hold: true }, 'hold: "request" or "answer"'],
    [[], 'the body must be a JSON object'],
  ])('%j is refused with what is wrong, and changes nothing', async (body, message) => {
    const response = await postFaults(body);
    expect(response.status).toBe(400);
    expect(((await response.json()) as { readonly error: string }).error).toContain(message);
    expect(bus.faults.settings).toEqual({});
  });

  it('are answered even while the bus is down, as health is', async () => {
    await postFaults({ down: true });
    const health = (await (await fetch(`${bus.url}/_banyan/health`)).json()) as { readonly status: string };
    expect(health).toMatchObject({ status: 'ok', region: 'us-east-1', account: '000000000000' });
    expect((await fetch(`${bus.url}/_banyan/other`)).status).toBe(404);
  });
});

describe('a probability', () => {
  it('strikes where the dice fall below it', () => {
    const dice = [0.1, 0.29, 0.3, 0.9];
    const faults = new Faults(() => dice.shift() ?? 1);
    faults.set({ throttle: { probability: 0.3 } });
    expect([1, 2, 3, 4].map(() => faults.strikes('throttle'))).toEqual([true, true, false, false]);
    expect(faults.strikes('deny')).toBe(false);
  });
});
