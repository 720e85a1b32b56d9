import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finding } from '../../src/core/finding.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { banyan } from '../support/banyan-process.ts';
import { serviceError } from '../support/eventbridge-stub.ts';
import { startQueueStub } from '../support/queue-stub.ts';

let server: EmbeddedPostgres;
let bus: LocalBus;
beforeAll(async () => {
  [server, bus] = await Promise.all([EmbeddedPostgres.start(), startLocalBus()]);
});
afterAll(() => Promise.all([server.stop(), bus.close()]));

interface Checked {
  readonly code: number | null;
  readonly findings: readonly Finding[];
  /** Of one code. */
  readonly of: (code: string) => readonly Finding[];
}

async function queue(name: string, attributes: Readonly<Record<string, string>> = {}): Promise<string> {
  await bus.invokeQueues('CreateQueue', { QueueName: name, Attributes: attributes });
  return `${bus.queuesUrl}/000000000000/${name}`;
}

interface Case {
  readonly queue: string;
  readonly apply?: string;
  readonly reverse?: string;
  readonly role?: string;
  readonly capture?: string;
}

async function check(database: string, given: Case): Promise<Checked> {
  const text = `
name: ${database}
legacy: { url: "${given.role === undefined ? server.url(database) : server.url(database, given.role)}" }
bus: { type: local, endpoint: "${bus.url}" }
capture: [${given.capture ?? '{ table: public.orders }'}]
reverse:
  queue: ${given.queue}
  ${given.reverse ?? ''}
  apply:
    ${given.apply ?? '- { match: { source: [shop] }, table: public.orders, operation: update, key: { id: detail.id }, set: { status: detail.s }, version: detail.v, basedOn: detail.b }'}`;
  const { code, stdout } = await banyan(['check', '--json'], { env: { BANYAN_CONFIG_YAML: text } });
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return { code, findings, of: (wanted) => findings.filter((finding) => finding.code === wanted) };
}

const TABLES = 'create table orders (id int primary key, status text); create table plain (id int primary key, v int)';

const itemsBy = (key: string, set: string) =>
  `- { match: { source: [shop] }, table: public.items, operation: upsert, key: { ${key} }, set: { ${set} }, version: detail.v }`;

describe('check of reverse', () => {
  test('finds what of reverse.apply does not fit the catalog, at its path', async () => {
    await server.createDatabase('misfits');
    await server.query(TABLES, 'misfits');
    const url = await queue('misfits');
    const { code, of } = await check('misfits', {
      queue: url,
      apply: `- { match: { source: [a] }, table: public.ordrs, operation: delete, key: { id: detail.id } }
    - { match: { source: [b] }, table: public.orders, operation: update, key: { id: detail.id }, set: { statsu: detail.s } }`,
    });
    expect(code).toBe(5);
    expect(of('TABLE_UNKNOWN')).toMatchObject([{ path: 'reverse.apply[0].table', severity: 'error' }]);
    expect(of('COLUMN_UNKNOWN')).toMatchObject([{ path: 'reverse.apply[1].set.statsu' }]);
  });

  test('a role without the rights gets the exact grants, and is ready with them', async () => {
    await server.createDatabase('grants');
    await server.query(TABLES, 'grants');
    await server.query(
      `create role checks login replication; grant create on database grants to checks; grant select on orders to checks`,
      'grants',
    );
    const given = { queue: await queue('grants'), role: 'checks' };
    const before = await check('grants', given);
    expect(before.code).toBe(5);
    expect(before.of('REVERSE_NOT_PRIVILEGED')).toEqual([
      {
        code: 'REVERSE_NOT_PRIVILEGED',
        severity: 'error',
        subject: 'public.orders',
        message: 'role checks may not write events into public.orders: it lacks update ("status")',
        remedy: 'grant update ("status") on "public"."orders" to "checks";',
      },
    ]);
    await server.query(before.of('REVERSE_NOT_PRIVILEGED')[0]?.remedy ?? '', 'grants');
    const after = await check('grants', given);
    expect(after.of('REVERSE_NOT_PRIVILEGED')).toEqual([]);
    // Only an owner can publish the table: that is another matter.
    expect(after.findings.filter(({ severity }) => severity === 'error')).toMatchObject([
      { subject: 'publication banyan_grants' },
    ]);
  });

  test('says what can not be told without a version, without basedOn, without capture', async () => {
    await server.createDatabase('untold');
    await server.query(TABLES, 'untold');
    const { code, of } = await check('untold', {
      queue: await queue('untold'),
      apply: `- { match: { source: [a] }, table: public.orders, operation: update, key: { id: detail.id }, set: { status: detail.s } }
    - { match: { source: [b] }, table: public.orders, operation: delete, key: { id: detail.id }, version: detail.v, conflict: new-wins }
    - { match: { source: [c] }, table: public.orders, operation: insert, key: { id: detail.id }, version: detail.v }
    - { match: { source: [d] }, table: public.plain, operation: update, key: { id: detail.id }, set: { v: detail.v }, version: time, expect: { v: detail.old } }
    - { match: { source: [e] }, table: public.plain, operation: delete, key: { id: detail.id }, version: time, basedOn: detail.b }`,
    });
    expect(of('REVERSE_WITHOUT_VERSION')).toMatchObject([{ path: 'reverse.apply[0]', severity: 'warning' }]);
    const untold = of('REVERSE_CONFLICTS_UNTOLD');
    expect(untold).toMatchObject([{ path: 'reverse.apply[0]' }, { path: 'reverse.apply[1]' }]);
    expect(untold[0]?.message).toMatch(/update_origin_differs .* the first event for each row that legacy made$/);
    expect(untold[1]?.message).toMatch(/delete_origin_differs .* it overwrites the row/);
    expect(of('REVERSE_NOT_CAPTURED').map(({ path }) => path)).toEqual([
      'reverse.apply[3].table',
      'reverse.apply[4].table',
    ]);
    expect(of('REVERSE_BASED_ON_UNKNOWN')).toMatchObject([{ path: 'reverse.apply[4].basedOn', severity: 'error' }]);
    expect(code).toBe(5);
  });

  test('refuses basedOn for a key that a DELETE does not show, with the statement that mends it', async () => {
    await server.createDatabase('outside');
    await server.query('create table orders (id int primary key, code text not null unique, status text)', 'outside');
    const fields =
      'match: { source: [a] }, table: public.orders, operation: delete, key: { code: detail.code }, version: detail.v';
    const given = { queue: await queue('outside'), apply: `- { ${fields}, basedOn: detail.b }` };
    const { code, of } = await check('outside', given);
    expect(code).toBe(5);
    const [finding] = of('KEY_NOT_IN_IDENTITY');
    expect(finding).toMatchObject({ path: 'reverse.apply[0].key', severity: 'error', subject: 'public.orders' });
    expect(finding?.message).toContain('the replica identity of public.orders (id) does not hold all of code');
    // Without it nothing is asked of the legacy changes of the key.
    expect((await check('outside', { ...given, apply: `- { ${fields} }` })).of('KEY_NOT_IN_IDENTITY')).toEqual([]);
    await server.query(finding?.remedy ?? '', 'outside');
    expect((await check('outside', given)).of('KEY_NOT_IN_IDENTITY')).toEqual([]);
  });

  test('refuses a key that the column list of its table leaves out', async () => {
    await server.createDatabase('hidden_key');
    await server.query('create table items (id int primary key, code text not null unique, name text)', 'hidden_key');
    const url = await queue('hidden_key');
    const capture = '{ table: public.items, exclude: [code], columnList: true }';
    const byCode = await check('hidden_key', {
      queue: url,
      capture,
      apply: itemsBy('code: detail.c', 'id: detail.i, name: detail.n'),
    });
    expect(byCode.of('KEY_NOT_PUBLISHED')).toMatchObject([
      { severity: 'error', path: 'reverse.apply[0].key.code', subject: 'public.items' },
    ]);
    const byId = await check('hidden_key', { queue: url, capture, apply: itemsBy('id: detail.i', 'code: detail.c') });
    expect(byId.of('KEY_NOT_PUBLISHED')).toEqual([]);
  });

  test('without reverse nothing is asked of a queue', async () => {
    await server.createDatabase('no_reverse');
    await server.query(TABLES, 'no_reverse');
    const text = `
name: no_reverse
legacy: { url: "${server.url('no_reverse')}" }
bus: { type: local, endpoint: "${bus.url}" }
capture: [{ table: public.orders }]`;
    const { code, stdout } = await banyan(['check'], { env: { BANYAN_CONFIG_YAML: text } });
    expect(code).toBe(0);
    expect(stdout).not.toContain('way back');
    expect(stdout).not.toContain('queue');
  });
});

describe('check of the queue', () => {
  beforeAll(async () => {
    await server.createDatabase('queues');
    await server.query(TABLES, 'queues');
  });

  test('finds one that is not there', async () => {
    const { code, of } = await check('queues', { queue: `${bus.queuesUrl}/000000000000/nowhere` });
    expect(code).toBe(5);
    expect(of('QUEUE_MISSING')).toMatchObject([{ subject: 'queue', path: 'reverse.queue', severity: 'error' }]);
    expect(of('QUEUE_MISSING')[0]?.remedy).toContain('banyan infra');
  });

  test('says of settings what they lose', async () => {
    const bare = await check('queues', {
      queue: await queue('bare', { MessageRetentionPeriod: '86400', VisibilityTimeout: '30' }),
    });
    expect(bare.code).toBe(0);
    expect(bare.of('QUEUE_WITHOUT_DEAD_LETTERS')[0]?.remedy).toMatch(/^aws sqs set-queue-attributes .*RedrivePolicy/);
    expect(bare.of('QUEUE_RETENTION_SHORT')[0]?.message).toContain('for 1 d');
    expect(bare.of('QUEUE_VISIBILITY')[0]?.message).toContain('for 30 s; the worker asks for 60 s');

    await queue('given-up');
    const { Attributes } = await bus.invokeQueues('GetQueueAttributes', {
      QueueUrl: `${bus.queuesUrl}/000000000000/given-up`,
      AttributeNames: ['QueueArn'],
    });
    const deadLetterTargetArn = (Attributes as Record<string, string>)['QueueArn'];
    const eager = await check('queues', {
      queue: await queue('eager', {
        MessageRetentionPeriod: '1209600',
        VisibilityTimeout: '60',
        RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount: 5 }),
      }),
      reverse: 'horizon: 7d',
    });
    expect(eager.of('QUEUE_GIVES_UP_SOON')[0]?.message).toContain('after 5 deliveries');
    expect(eager.of('QUEUE_OUTLIVES_HORIZON')[0]).toMatchObject({
      remedy: 'reverse: { horizon: 14d }',
      message: expect.stringContaining('for 14 d, and the worker remembers its event for 7 d only') as string,
    });

    const well = await check('queues', {
      queue: await queue('well', {
        MessageRetentionPeriod: '1209600',
        VisibilityTimeout: '60',
        RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount: 1_000 }),
      }),
    });
    expect(well.findings.filter(({ subject }) => subject === 'queue')).toEqual([]);

    const fifo = await check('queues', { queue: await queue('one-by-one.fifo', { FifoQueue: 'true' }) });
    expect(fifo.of('QUEUE_FIFO')).toMatchObject([{ severity: 'info' }]);
  });

  test('a role that may not use it gets the statement that its policy lacks', async () => {
    await using stub = await startQueueStub(() => serviceError('AccessDeniedException', { status: 403 }));
    const { code, of } = await check('queues', { queue: stub.queueUrl, reverse: 'region: eu-west-1' });
    expect(code).toBe(5);
    expect(JSON.parse(of('QUEUE_UNAUTHORIZED')[0]?.remedy ?? '{}')).toEqual({
      Effect: 'Allow',
      Action: ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes'],
      Resource: 'arn:aws:sqs:eu-west-1:ACCOUNT:stub',
    });
    // Nothing was received by the way.
    expect(new Set(stub.calls.map(({ operation }) => operation))).toEqual(new Set(['GetQueueAttributes']));
  });
});
