import type { FastifyInstance } from 'fastify';
import { BanyanError } from '../core/errors.ts';
import type { QueueAddress } from './registry.ts';
import { ServiceError } from './wire.ts';
import type { Input } from './wire.ts';

/** fauxqs knows one account, whatever the caller's. */
export const QUEUE_ACCOUNT = '000000000000';

/** SQS queues of this process: fauxqs, on its own port for consumers, called directly by us. */
export interface Queues {
  readonly url: string;
  /** One AmazonSQS operation. Throws ServiceError as the service answers. */
  call(action: string, input: Input, region: string): Promise<Input>;
  /** undefined: there is no such queue. The answer is remembered until somebody changes the queue. */
  policyOf(queue: QueueAddress): Promise<QueuePolicy | undefined>;
  close(): Promise<void>;
}

export interface QueuePolicy {
  readonly policy: string | undefined;
}

export interface QueuesOptions {
  readonly host: string;
  readonly port: number;
  readonly region: string;
}

export async function startQueues({ host, port, region }: QueuesOptions): Promise<Queues> {
  // Only here: nobody who sends to a real bus has to load an emulator.
  const { buildApp } = await import('fauxqs');
  const app: FastifyInstance = buildApp({ logger: false, defaultRegion: region });
  const policies = new Map<string, QueuePolicy>();
  // Before the answer leaves: whoever changed a queue must not meet the old policy afterwards.
  let changes = 0;
  app.addHook('onSend', async (request) => {
    if (!/CreateQueue|DeleteQueue|SetQueueAttributes/.test(String(request.headers['x-amz-target']))) return;
    policies.clear();
    changes++;
  });
  // fauxqs gives messages to a long poll that nobody waits for any more; a consumer that was stopped would hide them until they are visible again.
  app.addHook('onSend', async (request, _reply, payload) => {
    if (!request.raw.socket.destroyed || !String(request.headers['x-amz-target']).endsWith('.ReceiveMessage')) return;
    const { QueueUrl: queue } = request.body as Input;
    const { Messages: messages = [] } = JSON.parse(String(payload)) as { Messages?: { ReceiptHandle: string }[] };
    for (const { ReceiptHandle } of messages) {
      const input = { QueueUrl: queue, ReceiptHandle, VisibilityTimeout: 0 };
      await call('ChangeMessageVisibility', input, regionIn(request.headers.authorization) ?? region);
    }
  });
  await app.listen({ host, port });
  const address = app.server.address();
  const boundPort = typeof address === 'object' && address !== null ? address.port : port;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${boundPort}`;

  async function call(action: string, input: Input, callRegion: string): Promise<Input> {
    const response = await app.inject({
      method: 'POST',
      url: '/',
      headers: {
        host: new URL(url).host,
        'content-type': 'application/x-amz-json-1.0',
        'x-amz-target': `AmazonSQS.${action}`,
        authorization: `AWS4-HMAC-SHA256 Credential=local/20260101/${callRegion}/sqs/aws4_request`,
      },
      payload: JSON.stringify(input),
    });
    const body = response.json<Input>();
    if (response.statusCode < 400) return body;
    const code = String(body['__type']);
    throw new ServiceError(code.slice(code.indexOf('#') + 1), String(body['message']), response.statusCode);
  }

  return {
    url,
    call,
    async policyOf(queue) {
      const key = queueUrl(queue);
      const known = policies.get(key);
      if (known !== undefined) return known;
      const changesBefore = changes;
      try {
        const input = { QueueUrl: key, AttributeNames: ['Policy'] };
        const { Attributes: attributes } = await call('GetQueueAttributes', input, queue.region);
        const answer: QueuePolicy = { policy: (attributes as { readonly Policy?: string } | undefined)?.Policy };
        if (changes === changesBefore) policies.set(key, answer);
        return answer;
      } catch (error) {
        if (error instanceof ServiceError && error.code === 'QueueDoesNotExist') return undefined;
        throw error;
      }
    },
    async close() {
      await app.close();
    },
  };
}

/** Of a signature's scope: `Credential=KEY/DATE/REGION/sqs/aws4_request`. */
function regionIn(authorization: string | undefined): string | undefined {
  return /Credential=[^/]+\/\d+\/([^/]+)\//.exec(authorization ?? '')?.[1];
}

/** The form that names the region; fauxqs looks at region and name only. */
export function queueUrl({ region, name }: QueueAddress): string {
  return `http://sqs.${region}.localhost/${QUEUE_ACCOUNT}/${name}`;
}

/** The ARN of the same queue as fauxqs has it. */
export function ownArn(arn: string): string {
  return arn.replace(/^(arn:[^:]*:sqs:[^:]*:)[^:]*/, `$1${QUEUE_ACCOUNT}`);
}

/** The error of a port that can not be had. */
export function listenError(what: string, error: unknown): BanyanError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
  return new BanyanError('config', `${what} can not listen: ${code}`, {
    cause: error,
    code,
    remedy:
      code === 'EADDRINUSE'
        ? 'stop what holds the port, or give another one (0 = any free port)'
        : 'choose another host or port',
  });
}
