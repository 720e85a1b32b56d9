import type { EventBridgeClient } from '@aws-sdk/client-eventbridge';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';

const CONNECTION_TIMEOUT_MS = 3_000;

/** HTTP with timeouts that end a call. `warn`: what it has to say of sockets; never the client's own `logger`, which would get whole requests. */
export function httpHandler(options: {
  readonly maxSockets: number;
  readonly requestTimeoutMs: number;
  readonly warn?: (text: unknown) => void;
}): NodeHttpHandler {
  const { maxSockets, requestTimeoutMs, warn = () => undefined } = options;
  const agent = { keepAlive: true, maxSockets };
  return new NodeHttpHandler({
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: requestTimeoutMs,
    // Without this the timeout is only a warning, and the call hangs for ever.
    throwOnRequestTimeout: true,
    httpAgent: new HttpAgent(agent),
    httpsAgent: new HttpsAgent(agent),
    logger: { debug() {}, info() {}, trace() {}, warn, error: warn },
  });
}

type Client = Pick<EventBridgeClient, 'config' | 'middlewareStack'>;

/** Takes out of a client what it does anew for each call, and what nobody here uses: a call costs a tenth less. Retries are the caller's. */
export function makeLean(sdkClient: EventBridgeClient | SQSClient): void {
  // The clients of all services are alike in what is touched here; their types differ in what they send.
  const client = sdkClient as Client;
  keepUserAgent(client);
  keepSigner(client);
  // It lets through: others stand in the stack relative to it.
  client.middlewareStack.add((next) => next, {
    name: 'retryMiddleware',
    step: 'finalizeRequest',
    priority: 'high',
    override: true,
  });
  // A log that would show whole requests, and the trace of a call in AWS Lambda.
  for (const name of ['loggerMiddleware', 'recursionDetectionMiddleware']) client.middlewareStack.remove(name);
}

/** The SDK makes a signer for each call, all of them alike: they ask for region, credentials and time when they sign. */
function keepSigner({ config }: Client): void {
  const make = config.signer;
  let signer: ReturnType<typeof make> | undefined;
  config.signer = (scheme) => {
    if (signer !== undefined) return signer;
    const made = make(scheme);
    made.catch(() => (signer = undefined));
    return (signer = made);
  };
}

/** The SDK composes its user agent for each call, and signs half of it. It is the same in all of them, so it is made once, and not signed. */
function keepUserAgent({ config, middlewareStack }: Client): void {
  let userAgent: string | undefined;
  middlewareStack.add(
    (next) => async (args) => {
      userAgent ??= await userAgentOf(config);
      // What the SDK's types do not say: `serialize` has put the HTTP request here.
      (args.request as { readonly headers: Record<string, string> }).headers['user-agent'] = userAgent;
      return next(args);
    },
    { name: 'getUserAgentMiddleware', override: true, step: 'build', priority: 'low' },
  );
}

/** As the SDK writes it, without the numbers of the SDK's features in use. */
async function userAgentOf(config: Client['config']): Promise<string> {
  const parts: (readonly [name: string, value?: string])[] = [...(await config.defaultUserAgentProvider())];
  const application = await config.userAgentAppId();
  if (application !== undefined) parts.push(['app', application]);
  return parts
    .map(([name, value]) => (value === undefined ? name : `${name}/${value}`).replaceAll(/[^\w!#$%&'*+./^`|~-]/g, '-'))
    .join(' ');
}
