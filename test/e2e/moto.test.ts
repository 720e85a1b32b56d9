import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { GetQueueAttributesCommand, GetQueueUrlCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { EMULATOR_CREDENTIALS, EMULATOR_REGION, eventOfBody } from '../support/aws-emulator.ts';
import { FORWARD_EVENTS, told } from '../support/forward-scenario.ts';
import { forwardToEmulator } from '../support/forward-to-emulator.ts';
import { banyan } from '../support/banyan-process.ts';
import { endpointOr, type Moto, startMoto } from '../support/moto.ts';
import { deployStack } from '../support/stack.ts';

let moto: Moto | { readonly absent: string };

beforeAll(async () => {
  for (const [name, value] of Object.entries(EMULATOR_CREDENTIALS)) vi.stubEnv(name, value);
  moto = await startMoto();
});

afterAll(async () => {
  vi.unstubAllEnvs();
  if (moto !== undefined && 'endpoint' in moto) await moto[Symbol.asyncDispose]();
});

test('what is committed in PostgreSQL comes out of an SQS queue behind a rule, as bare envelopes', async (context) => {
  const endpoint = endpointOr(moto, context);
  await using server = await EmbeddedPostgres.start();
  const bodies = await forwardToEmulator(server, endpoint);
  expect(told(bodies.map(eventOfBody))).toEqual(FORWARD_EVENTS);
});

interface Envelope {
  readonly 'detail-type': string;
}

const BACK = `
name: shop
legacy: { url: "postgresql://u@127.0.0.1:1/db" }
bus: { type: eventbridge, name: shop-bus, region: ${EMULATOR_REGION} }
capture: [{ table: public.orders }]
reverse:
  queue: https://sqs.${EMULATOR_REGION}.amazonaws.com/123456789012/shop-back
  visibilityTimeout: 75s
  apply:
    - { match: { source: [shop.orders], detail-type: [OrderShipped] }, table: public.orders, operation: update, key: { id: detail.id }, set: { status: detail.status } }
    - { match: { source: [shop.stock], detail: { left: [0] } }, table: public.items, operation: update, key: { id: detail.id }, set: { sold_out: { value: true } } }
`;

test('what infra prints makes a queue that gets the events of reverse.apply, and no others', async (context) => {
  const endpoint = endpointOr(moto, context);
  const { stdout } = await banyan(['infra', '--json'], { env: { BANYAN_CONFIG_YAML: BACK } });
  await deployStack(endpoint, { name: 'banyan-shop', template: stdout });

  const credentials = { accessKeyId: 'testing', secretAccessKey: 'testing' };
  const options = { endpoint, region: EMULATOR_REGION, credentials };
  const events = new EventBridgeClient(options);
  const queues = new SQSClient(options);
  try {
    const { QueueUrl } = await queues.send(new GetQueueUrlCommand({ QueueName: 'shop-back' }));
    const { Attributes = {} } = await queues.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
    expect(Attributes['VisibilityTimeout']).toBe('75');
    expect(JSON.parse(Attributes['RedrivePolicy'] ?? '{}')).toMatchObject({
      deadLetterTargetArn: expect.stringMatching(/:shop-back-dead-letters$/) as string,
    });
    // It knows no queue policies: the template's text is tested elsewhere.

    const entry = { EventBusName: 'shop-bus', Detail: '{"id":1,"left":0}' };
    const put = await events.send(
      new PutEventsCommand({
        Entries: [
          { ...entry, Source: 'shop.orders', DetailType: 'OrderPlaced' },
          { ...entry, Source: 'shop.stock', DetailType: 'StockChanged', Detail: '{"id":1,"left":3}' },
          { ...entry, Source: 'shop.orders', DetailType: 'OrderShipped' },
          { ...entry, Source: 'shop.stock', DetailType: 'StockChanged' },
        ],
      }),
    );
    expect(put.FailedEntryCount).toBe(0);
    const received: string[] = [];
    const poll = async () => {
      const request = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 };
      const { Messages = [] } = await queues.send(new ReceiveMessageCommand(request));
      received.push(...Messages.map(({ Body = '' }) => (JSON.parse(Body) as Envelope)['detail-type']));
    };
    while (received.length < 2) await poll();
    // One that should not be there would come with this one.
    await poll();
    expect(received.toSorted()).toEqual(['OrderShipped', 'StockChanged']);
  } finally {
    events.destroy();
    queues.destroy();
  }
});
