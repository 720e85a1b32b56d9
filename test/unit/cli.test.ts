import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { policies } from '../../src/core/errors.ts';
import { version } from '../../src/version.ts';
import { banyan, BanyanProcess } from '../support/banyan-process.ts';

const CONFIG = `
name: shop
legacy: { url: "postgresql://u@127.0.0.1:1/db" }
bus: { type: local, name: shop-legacy }
capture: [{ table: public.orders }]
`;

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-cli-'));
  file = join(folder, 'banyan.yaml');
  await writeFile(file, CONFIG);
});
afterAll(() => rm(folder, { recursive: true }));

describe('the command line', () => {
  test('without a command it prints its help', async () => {
    const { code, stdout, stderr } = await banyan([]);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const command of [
      'init',
      'check',
      'preview',
      'run',
      'dead-letters',
      'conflicts',
      'teardown',
      'infra',
      'bus',
    ]) {
      expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
    }
    expect(stdout).not.toContain('healthcheck');
  });

  test('--version prints the version', async () => {
    expect(await banyan(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  test('every command takes --config and --json', async () => {
    const commands = [
      'init',
      'check',
      'preview',
      'run',
      'dead-letters list',
      'conflicts list',
      'teardown',
      'infra',
      'bus',
      'healthcheck',
    ];
    const helps = await Promise.all(commands.map((command) => banyan([...command.split(' '), '--help'])));
    for (const { code, stdout } of helps) {
      expect(code).toBe(0);
      expect(stdout).toContain('--config <file>');
      expect(stdout).toContain('--json');
    }
  });

  test.each([
    ['an unknown command', ['chek'], 'Did you mean check?'],
    ['an unknown option', ['check', '--jsn'], 'Did you mean --json?'],
    ['a missing argument', ['preview'], "missing required argument 'table'"],
    ['a number that is none', ['preview', 'a.b', '--limit', 'many'], 'whole number'],
    ['an operation that is none', ['preview', 'a.b', '--op', 'upsert'], 'insert, update, delete'],
    ['a port that is none', ['bus', '--port', '70000'], '0 to 65535'],
    ['an account that is none', ['infra', '--account', 'prod'], '12 digits'],
    ['a missing configuration', ['check', '--config', '/nowhere.yaml'], 'banyan init'],
    ['letters that nobody chose', ['dead-letters', 'redrive'], 'name ids'],
    ['letters chosen twice', ['dead-letters', 'discard', '1', '--all'], 'chosen in two ways'],
    ['an init without a database', ['init', '--config', '/nowhere/banyan.yaml'], 'LEGACY_DATABASE_URL'],
    ['new values for rows that are not updated', ['preview', 'a.b', '--set', 'x=1'], 'add --op update'],
  ])('%s is a usage error with a way out', async (_, args, expected) => {
    const { code, stdout, stderr } = await banyan(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(expected);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  test('with --json a failure is one object on stdout', async () => {
    const { code, stdout, stderr } = await banyan(['check', '--json', '--config', '/nowhere.yaml']);
    expect(code).toBe(2);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ error: { kind: 'config', message: expect.any(String) as string } });
  });

  test('a stack is printed for whoever asks for it only', async () => {
    const args = ['check', '--config', '/nowhere.yaml'];
    expect((await banyan([...args, '--verbose'])).stderr).toMatch(/^ {4}at /m);
    expect((await banyan(args, { env: { BANYAN_DEBUG: '1' } })).stderr).toMatch(/^ {4}at /m);
  });

  test('a database that is not there is a finding of check, without its password', async () => {
    const env = { BANYAN_CONFIG_YAML: CONFIG.replace('u@', 'u:hunter2hunter2@') };
    const { code, stdout, stderr } = await banyan(['check'], { env });
    expect(code).toBe(5);
    expect(stdout).toContain('legacy.url');
    expect(stdout).toContain('not ready: 1 error');
    expect(stdout + stderr).not.toContain('hunter2');
  });
});

describe('infra', () => {
  interface Template {
    readonly Resources: Readonly<
      Record<string, { readonly Type: string; readonly Properties: Readonly<Record<string, unknown>> }>
    >;
    readonly Outputs: Readonly<Record<string, { readonly Value: unknown }>>;
  }

  async function template(config: string, args: readonly string[] = []): Promise<Template> {
    const run = await banyan(['infra', ...args], { env: { BANYAN_CONFIG_YAML: config } });
    expect(run.code).toBe(0);
    const { parse } = await import('yaml');
    // As YAML 1.1, which is what CloudFormation reads: a date would not stay a text.
    const document = parse(run.stdout, { version: '1.1' }) as Template;
    const json = await banyan(['infra', '--json', ...args], { env: { BANYAN_CONFIG_YAML: config } });
    expect(JSON.parse(json.stdout)).toEqual(document);
    expect(json.stderr).toBe('');
    return document;
  }

  function resources({ Resources }: Template): Record<string, string> {
    return Object.fromEntries(Object.entries(Resources).map(([name, { Type }]) => [name, Type]));
  }

  test('makes the bus, one rule, the queues with their policy, and the policy of the worker', async () => {
    const made = await template(CONFIG);
    expect(resources(made)).toEqual({
      Bus: 'AWS::Events::EventBus',
      Rule: 'AWS::Events::Rule',
      Queue: 'AWS::SQS::Queue',
      DeadLetterQueue: 'AWS::SQS::Queue',
      QueuePolicy: 'AWS::SQS::QueuePolicy',
      WorkerPolicy: 'AWS::IAM::ManagedPolicy',
    });
    expect(made.Resources['Bus']?.Properties).toEqual({ Name: 'shop-legacy' });
    expect(made.Resources['Rule']?.Properties).toMatchObject({
      EventBusName: { 'Fn::GetAtt': ['Bus', 'Name'] },
      EventPattern: { source: [{ prefix: 'legacy.shop' }] },
      Targets: [
        {
          Arn: { 'Fn::GetAtt': ['Queue', 'Arn'] },
          DeadLetterConfig: { Arn: { 'Fn::GetAtt': ['DeadLetterQueue', 'Arn'] } },
        },
      ],
    });
    expect(made.Resources['Queue']?.Properties).toMatchObject({
      SqsManagedSseEnabled: true,
      RedrivePolicy: { deadLetterTargetArn: { 'Fn::GetAtt': ['DeadLetterQueue', 'Arn'] } },
    });
    expect(made.Resources['QueuePolicy']?.Properties).toMatchObject({
      Queues: [{ Ref: 'Queue' }, { Ref: 'DeadLetterQueue' }],
      PolicyDocument: {
        Version: '2012-10-17',
        Statement: [
          {
            Principal: { Service: 'events.amazonaws.com' },
            Action: 'sqs:SendMessage',
            Condition: { ArnEquals: { 'aws:SourceArn': { 'Fn::GetAtt': ['Rule', 'Arn'] } } },
          },
          { Resource: { 'Fn::GetAtt': ['DeadLetterQueue', 'Arn'] } },
        ],
      },
    });
    expect(made.Resources['WorkerPolicy']?.Properties).toMatchObject({
      PolicyDocument: {
        Statement: [
          { Action: ['events:PutEvents', 'events:DescribeEventBus'], Resource: [{ 'Fn::GetAtt': ['Bus', 'Arn'] }] },
        ],
      },
    });
    // Whoever is refused is told to allow all that the policy allows.
    for (const action of ['events:PutEvents', 'events:DescribeEventBus']) {
      expect(policies['bus-unauthorized'].remedy).toContain(action);
    }
    expect(Object.keys(made.Outputs)).toEqual([
      'BusArn',
      'QueueUrl',
      'QueueArn',
      'DeadLetterQueueUrl',
      'WorkerPolicyArn',
    ]);
  });

  test('the default bus is used and not made', async () => {
    const made = await template(CONFIG.replace('shop-legacy', 'default'));
    expect(made.Resources['Bus']).toBeUndefined();
    expect(made.Resources['Rule']?.Properties).toMatchObject({ EventBusName: 'default' });
    const arn = { 'Fn::Sub': 'arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default' };
    expect(made.Outputs['BusArn']?.Value).toEqual(arn);
  });

  test('ARNs are of the account that is named, or of the bus’s own ARN', async () => {
    const named = await template(CONFIG, ['--account', '123456789012']);
    expect(named.Outputs['BusArn']?.Value).toEqual({
      'Fn::Sub': 'arn:${AWS::Partition}:events:${AWS::Region}:123456789012:event-bus/shop-legacy',
    });
    const arn = '"arn:aws:events:eu-west-1:210987654321:event-bus/shop"';
    const given = await template(CONFIG.replace('shop-legacy', arn));
    expect(given.Resources['Bus']?.Properties).toEqual({ Name: 'shop' });
    expect(given.Outputs['BusArn']?.Value).toEqual({
      'Fn::Sub': 'arn:${AWS::Partition}:events:eu-west-1:210987654321:event-bus/shop',
    });
  });

  test('every source of the configuration is in the rule, and every bus in the policy', async () => {
    const made = await template(
      CONFIG.replace(
        '[{ table: public.orders }]',
        '[{ table: a.b }, { table: a.c, source: legacy.shop.c }, { table: a.d, source: other, bus: audit }]',
      ),
    );
    expect(made.Resources['Rule']?.Properties).toMatchObject({
      EventPattern: { source: [{ prefix: 'legacy.shop' }, { prefix: 'other' }] },
    });
    expect(JSON.stringify(made.Resources['WorkerPolicy'])).toContain(':event-bus/audit');
  });
});

describe('healthcheck', () => {
  test('asks the worker of this machine, whatever address it listens on', async () => {
    const server = createServer((request, response) => {
      response.statusCode = request.url === '/healthz' ? 200 : 404;
      response.end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const env = {
      BANYAN_CONFIG_YAML: `${CONFIG}http: { host: 0.0.0.0, port: ${port}, token: 0123456789abcdef }`,
    };
    expect(await banyan(['healthcheck'], { env })).toMatchObject({ code: 0, stdout: 'alive\n' });
    await new Promise((resolve) => server.close(resolve));
    expect(await banyan(['healthcheck'], { env })).toMatchObject({ code: 1 });
  });
});

describe('bus', () => {
  test('runs an EventBridge and a queue that gets every event, until it is stopped', async () => {
    await using bus = new BanyanProcess(['bus', '--port', '0', '--name', 'shop', '--json']);
    const line = await bus.said((stdout) => stdout.split('\n').slice(0, -1)[0]);
    const started = JSON.parse(line) as Record<'endpoint' | 'queuesEndpoint' | 'queueUrl' | 'region', string>;
    const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
    const [{ EventBridgeClient, PutEventsCommand }, { SQSClient, ReceiveMessageCommand }] = await Promise.all([
      import('@aws-sdk/client-eventbridge'),
      import('@aws-sdk/client-sqs'),
    ]);
    const events = new EventBridgeClient({ endpoint: started.endpoint, region: started.region, credentials });
    const sqs = new SQSClient({ endpoint: started.queuesEndpoint, region: started.region, credentials });
    try {
      const entry = { EventBusName: 'shop', Source: 'legacy.shop', DetailType: 'OrderPlaced', Detail: '{"id":42}' };
      await events.send(new PutEventsCommand({ Entries: [entry] }));
      const { Messages = [] } = await sqs.send(
        new ReceiveMessageCommand({ QueueUrl: started.queueUrl, WaitTimeSeconds: 5 }),
      );
      expect(Messages.map(({ Body = '' }) => JSON.parse(Body) as unknown)).toMatchObject([
        { source: 'legacy.shop', 'detail-type': 'OrderPlaced', detail: { id: 42 } },
      ]);
    } finally {
      events.destroy();
      sqs.destroy();
    }
    bus.kill('SIGTERM');
    expect((await bus.finished()).code).toBe(0);
  });

  test('says how to use it', async () => {
    await using bus = new BanyanProcess(['bus', '--port', '0', '--config', file]);
    await bus.said((stdout) => stdout.includes('Ctrl-C'));
    const url = /^EventBridge {2}(http:\S+)$/m.exec(bus.stdout)?.[1] ?? '';
    expect(bus.stdout).toContain(`bus: { type: local, name: shop-legacy, endpoint: "${url}" }`);
    expect(bus.stdout).toMatch(/aws sqs receive-message --endpoint-url http:\S+ --queue-url http:\S+/);
    const fault = /curl (\S+faults) -d '([^']+)'/.exec(bus.stdout);
    const answer = await fetch(fault?.[1] ?? '', { method: 'POST', body: fault?.[2] ?? '' });
    expect(answer.status).toBe(200);
    bus.kill('SIGINT');
    expect((await bus.finished()).code).toBe(0);
  });
});
