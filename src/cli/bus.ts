import { once } from 'node:events';
import { createQueueTarget } from '../local-bus/queue-target.ts';
import { startLocalBus } from '../local-bus/local-bus.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { shutdownOnSignal } from './signals.ts';

/** Every event matches: `source` is there in each. */
const EVERYTHING = { source: [{ prefix: '' }] };

const QUEUE = 'everything';

export interface BusOptions {
  readonly host: string;
  readonly port: number;
  /** Default: `bus.name` of a configuration that `--config` names, else `default`, which every AWS account has too. */
  readonly name: string | undefined;
}

/** The embedded bus until a signal, with a rule that puts every event of one bus into one queue. */
export async function bus(options: BusOptions, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { host, port } = options;
  const name =
    options.name ?? (context.configFile === undefined ? 'default' : (await loadFor(context)).config.bus.name);
  using shutdown = shutdownOnSignal();
  const running = await startLocalBus({ host, port, log: (line) => output.note(line) });
  try {
    const target = await createQueueTarget(running, {
      busName: name,
      ruleName: QUEUE,
      pattern: EVERYTHING,
      queueName: QUEUE,
    });
    if (output.json) {
      output.value({
        bus: name,
        endpoint: running.url,
        queuesEndpoint: running.queuesUrl,
        region: running.region,
        ...target,
      });
    } else {
      for (const line of introduction(running, { name, queueUrl: target.queueUrl })) output.line(line);
    }
    if (!shutdown.signal.aborted) await once(shutdown.signal, 'abort');
  } finally {
    await running.close();
  }
  return ExitCode.ok;
}

function introduction(
  running: { readonly url: string; readonly queuesUrl: string | undefined; readonly region: string },
  target: { readonly name: string; readonly queueUrl: string },
): string[] {
  const { name, queueUrl } = target;
  return [
    `EventBridge  ${running.url}`,
    `SQS          ${running.queuesUrl ?? 'none'}`,
    `queue        ${queueUrl}   (every event of bus ${name})`,
    '',
    'In the configuration:',
    `  bus: { type: local, name: ${name}, endpoint: "${running.url}" }`,
    '',
    'With the AWS CLI (nothing checks the credentials, the CLI only wants some):',
    `  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION=${running.region}`,
    `  aws sqs receive-message --endpoint-url ${running.queuesUrl ?? running.url} --queue-url ${queueUrl} --wait-time-seconds 5`,
    '',
    `Look:    curl ${running.url}/_banyan/events        the last events, as consumers see them`,
    `Disturb: curl ${running.url}/_banyan/faults -d '{"throttle":{"probability":0.2}}'   and -X DELETE ends it`,
    '',
    'Ctrl-C stops it; nothing is kept.',
  ];
}
