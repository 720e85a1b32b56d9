import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { consume } from '../../src/demo/consumer.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { EMULATOR_CREDENTIALS, EMULATOR_REGION } from '../support/aws-emulator.ts';
import { banyan } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';
import { endpointOr, type Moto, startMoto } from '../support/moto.ts';
import { NewSystem } from '../support/new-system.ts';
import { deployStack } from '../support/stack.ts';
import { settleStages } from '../support/settled-stages.ts';
import { spawnWorker } from '../support/worker-process.ts';
import { workerRole } from '../support/worker-role.ts';

const ACCOUNT = '123456789012';
const BUS = 'shop-bus';

let moto: Moto | { readonly absent: string };

beforeAll(async () => {
  // The worker takes them from its environment, as on AWS.
  for (const [name, value] of Object.entries(EMULATOR_CREDENTIALS)) vi.stubEnv(name, value);
  moto = await startMoto();
});

afterAll(async () => {
  vi.unstubAllEnvs();
  if (moto !== undefined && 'endpoint' in moto) await moto[Symbol.asyncDispose]();
});

function configAs(url: string, endpoint: string): object {
  return {
    name: 'shop',
    legacy: { url },
    bus: { type: 'eventbridge', name: BUS, region: EMULATOR_REGION, endpoint, linger: '1ms' },
    capture: [{ table: 'public.orders' }],
    reverse: {
      queue: `${endpoint}/${ACCOUNT}/shop-back`,
      endpoint,
      apply: [
        {
          match: { source: ['shop.orders'], 'detail-type': ['OrderStatusChanged'] },
          table: 'public.orders',
          operation: 'update',
          key: { id: 'detail.orderId' },
          set: { status: 'detail.status' },
          version: 'detail.version',
          basedOn: 'detail.basedOn',
        },
      ],
    },
  };
}

test('a legacy insert comes to the new service, its answer becomes a legacy update, and that is no event', async (context) => {
  const endpoint = endpointOr(moto, context);
  await using parts = new AsyncDisposableStack();
  const server = parts.use(await EmbeddedPostgres.start());
  const url = await server.createDatabase('shop');
  await server.query('create table orders (id integer primary key, status text not null)', 'shop');
  const role = workerRole(url);
  await role.grant(configAs(url, endpoint));
  const config = configAs(role.url, endpoint);
  await settleStages({ url: role.url, name: 'shop' }, [{ table: 'public.orders' }]);
  const legacy = parts.adopt(new pg.Pool({ connectionString: url, max: 1 }), (pool) => pool.end());
  const statusOf = async (id: number) =>
    (await legacy.query<{ status: string }>('select status from orders where id = $1', [id])).rows[0]?.status;

  const { stdout } = await banyan(['infra', '--json'], { env: { BANYAN_CONFIG_YAML: JSON.stringify(config) } });
  await deployStack(endpoint, { name: 'banyan-shop-both-ways', template: stdout });

  // The new service: a queue behind the rule for legacy events, and PutEvents. Each of its events is sent twice.
  const credentials = { accessKeyId: 'testing', secretAccessKey: 'testing' };
  const sqs = parts.adopt(new SQSClient({ endpoint, region: EMULATOR_REGION, credentials }), (client) =>
    client.destroy(),
  );
  const events = parts.adopt(new EventBridgeClient({ endpoint, region: EMULATOR_REGION, credentials }), (client) =>
    client.destroy(),
  );
  let mayPublish: Promise<unknown> = Promise.resolve();
  const service = new NewSystem({
    delayMs: 20,
    repeats: 1,
    async publish(Detail) {
      await mayPublish;
      const entry = { EventBusName: BUS, Source: 'shop.orders', DetailType: 'OrderStatusChanged', Detail };
      const { FailedEntryCount } = await events.send(new PutEventsCommand({ Entries: [entry] }));
      expect(FailedEntryCount).toBe(0);
    },
  });
  const stop = new AbortController();
  const consuming = consume(
    {
      sqs,
      queueUrl: `${endpoint}/${ACCOUNT}/shop-events`,
      onEvent: ({ detail }) => service.receive(detail as unknown as Parameters<NewSystem['receive']>[0]),
    },
    stop.signal,
  );
  parts.defer(async () => {
    stop.abort();
    await consuming;
  });
  const serviceKnows = (id: number, status: string) =>
    eventually(
      () => service.orders.get(id)?.status === status,
      () => `the service never knew order ${id} as ${status}`,
    );
  const seen = () => [...new Map(service.seen.map(({ id, ...event }) => [id, event])).values()];

  await using worker = await spawnWorker(config);
  await worker.until(({ reverse }) => reverse?.state === 'running');

  await legacy.query(`insert into orders values (1, 'placed')`);
  await serviceKnows(1, 'placed');
  service.change(1);
  await eventually(
    async () => (await statusOf(1)) === 'N-1-1',
    () => 'the event of the service never became a legacy update',
  );
  // What is committed later is published later: an echo would be there before it.
  await legacy.query(`insert into orders values (2, 'placed')`);
  await serviceKnows(2, 'placed');
  const placed = { origin: 'legacy', operation: 'insert', status: 'placed' };
  expect(seen()).toEqual([placed, placed]);
  const { reverse } = await worker.until((status) => status.reverse?.duplicate === 1);
  expect(reverse).toMatchObject({ received: 2, applied: { echo: 1, correction: 0 }, unmatched: 0, parked: 0 });

  // Both sides change an order without knowing of each other: legacy wins, and the service is told.
  const gate = Promise.withResolvers<void>();
  mayPublish = gate.promise;
  service.change(2);
  await legacy.query(`update orders set status = 'by a clerk' where id = 2`);
  gate.resolve();
  await eventually(
    () => seen().some(({ origin, status }) => origin === 'correction' && status === 'by a clerk'),
    () => 'the service was never told that its event was refused',
  );
  await serviceKnows(2, 'by a clerk');
  expect(await statusOf(2)).toBe('by a clerk');
  const { rows } = await legacy.query('select kind, resolution from banyan.conflict');
  expect(rows).toEqual([{ kind: 'update_origin_differs', resolution: 'legacy-wins' }]);

  // Of the clerk's change there is one event, of the refusal another, and none of what the worker wrote.
  await worker.until((status) => status.reverse?.duplicate === 2 && status.reverse.inHand === 0);
  expect(
    seen()
      .map(({ origin, status }) => `${origin} ${status}`)
      .toSorted(),
  ).toEqual(['correction by a clerk', 'legacy by a clerk', 'legacy placed', 'legacy placed']);
  for (const queue of ['shop-back', 'shop-back-dead-letters', 'shop-events-dead-letters']) {
    const request = new GetQueueAttributesCommand({
      QueueUrl: `${endpoint}/${ACCOUNT}/${queue}`,
      AttributeNames: ['All'],
    });
    const { Attributes } = await sqs.send(request);
    const left = [Attributes?.['ApproximateNumberOfMessages'], Attributes?.['ApproximateNumberOfMessagesNotVisible']];
    expect([queue, ...left]).toEqual([queue, '0', '0']);
  }
  await worker.stop();
});
