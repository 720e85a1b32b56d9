import type { z } from 'zod';
import { captureRules } from './capture-rules.ts';
import type { Environment } from './environment.ts';
import type { Problem } from './problem.ts';
import { reverseRules, type ReverseParts } from './reverse-rules.ts';
import type { configSchema, MessageCapture, TableCapture } from './schema.ts';

type Shape = typeof configSchema.shape;
type Part<Key extends keyof Shape> = z.infer<Shape[Key]>;

/**
 * The parts of a configuration that satisfy the schema, each for itself, so that the rules between options are judged even while another
 * part is wrong. undefined: that part is not usable.
 */
export interface Parts {
  readonly legacy: Part<'legacy'> | undefined;
  readonly state: Part<'state'> | undefined;
  readonly bus: Part<'bus'> | undefined;
  readonly http: Part<'http'> | undefined;
  readonly capture: readonly (TableCapture | MessageCapture | undefined)[];
  /** undefined: there is no such section. */
  readonly reverse: ReverseParts | undefined;
  /** Whether a maskKey is written, good or bad. */
  readonly hasMaskKey: boolean;
}

/** What the schema can not say: rules between options, and between options and environment. */
export function checkRules(parts: Parts, env: Environment): Problem[] {
  return [
    ...urlRules(parts),
    ...tlsRules(parts),
    ...slotRules(parts),
    ...(parts.bus === undefined ? [] : busRules(parts.bus, env)),
    ...(parts.http === undefined ? [] : httpRules(parts.http, { bus: parts.bus, env })),
    ...captureRules(parts.capture, { hasMaskKey: parts.hasMaskKey }),
    ...(parts.reverse === undefined
      ? []
      : reverseRules(parts.reverse, { hasStateUrl: parts.state?.url !== undefined })),
  ];
}

function urlRules(parts: Parts): Problem[] {
  const urls = [
    { path: ['legacy', 'url'], url: parts.legacy?.url },
    { path: ['state', 'url'], url: parts.state?.url },
  ];
  return urls.flatMap(({ path, url }) => {
    if (url === undefined) return [];
    const remedy = 'write `postgresql://USER:PASSWORD@HOST:5432/DATABASE`, special characters percent-encoded';
    const parsed = URL.parse(url);
    if (parsed === null) return [{ path, message: 'a text that is not a connection URL', remedy }];
    if (!['postgres:', 'postgresql:'].includes(parsed.protocol)) {
      return [{ path, message: 'a URL of another kind than PostgreSQL’s', remedy }];
    }
    return parsed.pathname.length > 1 ? [] : [{ path, message: 'a connection URL that names no database', remedy }];
  });
}

function tlsRules(parts: Parts): Problem[] {
  const tls = parts.legacy?.tls;
  if (tls?.mode !== 'verify-ca' || tls.ca !== undefined) return [];
  const remedy = 'name its PEM file, or use `mode: verify-full` with a public authority';
  return [{ path: ['legacy', 'tls', 'ca'], message: 'missing, and `verify-ca` needs the authority to verify', remedy }];
}

function slotRules({ legacy }: Parts): Problem[] {
  if (legacy?.onWalBudget !== 'drop-slot' || legacy.slot.manage) return [];
  const remedy = 'let us manage the slot (legacy.slot.manage: true), or use `warn`';
  return [
    {
      path: ['legacy', 'onWalBudget'],
      message: '`drop-slot`, and the slot is a DBA’s: it is not ours to drop',
      remedy,
    },
  ];
}

function busRules(bus: NonNullable<Parts['bus']>, env: Environment): Problem[] {
  const problems: Problem[] = [];
  if (bus.endpoint !== undefined && !/^https?:$/.test(URL.parse(bus.endpoint)?.protocol ?? '')) {
    problems.push({
      path: ['bus', 'endpoint'],
      message: 'a text that is not an http or https URL',
      remedy: 'write it with its scheme, such as `https://events.eu-west-1.amazonaws.com`',
    });
  }
  const arn = parseBusArn(bus.name);
  if (bus.name.startsWith('arn:') && arn === undefined) {
    problems.push({
      path: ['bus', 'name'],
      message: 'an ARN that is not one of an event bus',
      remedy: 'write `arn:aws:events:REGION:ACCOUNT:event-bus/NAME`',
    });
  } else if (arn === undefined && !/^[\w./-]{1,256}$/.test(bus.name)) {
    problems.push({
      path: ['bus', 'name'],
      message: 'a text that can not be the name of an event bus',
      remedy: 'use 1-256 letters, digits, `.`, `-`, `_` or `/`',
    });
  }
  if (bus.type !== 'eventbridge') return problems;
  if (arn !== undefined && bus.region !== undefined && arn.region !== bus.region) {
    problems.push({
      path: ['bus', 'region'],
      message: 'another region than the one in the ARN of bus.name',
      remedy: `write ${arn.region}, or leave bus.region out`,
    });
  }
  if (busRegion(bus, env) === undefined) {
    problems.push({
      path: ['bus', 'region'],
      message: 'missing, and neither AWS_REGION nor an ARN in bus.name says the region',
      remedy: 'write `region: eu-west-1` (yours), set AWS_REGION, or give the bus by its ARN',
    });
  }
  return problems;
}

/** Region and account of `arn:aws:events:eu-west-1:123456789012:event-bus/shop`; undefined where the text is no such ARN. */
export function parseBusArn(
  name: string,
):
  | { readonly partition: string; readonly region: string; readonly account: string; readonly name: string }
  | undefined {
  const match = /^arn:(aws[\w-]*):events:([a-z0-9-]+):(\d{12}):event-bus\/([\w./-]{1,256})$/.exec(name);
  if (match === null) return undefined;
  const [, partition = '', region = '', account = '', bus = ''] = match;
  return { partition, region, account, name: bus };
}

/** Where the bus is: the option, else the ARN, else the environment of the AWS tools. */
export function busRegion(
  bus: { readonly name: string; readonly region?: string | undefined },
  env: Environment,
): string | undefined {
  const inherited = [env['AWS_REGION'], env['AWS_DEFAULT_REGION']].find(
    (region) => region !== undefined && region !== '',
  );
  return bus.region ?? parseBusArn(bus.name)?.region ?? inherited;
}

function httpRules(http: NonNullable<Parts['http']>, context: { bus: Parts['bus']; env: Environment }): Problem[] {
  const problems: Problem[] = [];
  if (!isLoopback(http.host) && http.token === undefined) {
    const byEnvironment = (context.env['BANYAN_HTTP_HOST'] ?? '') !== '';
    problems.push({
      path: ['http', 'token'],
      message: `missing, while ${byEnvironment ? 'BANYAN_HTTP_HOST' : 'http.host'} opens the port beyond this machine`,
      remedy: 'write `token: ${BANYAN_TOKEN}` and set BANYAN_TOKEN to 16 or more random characters',
    });
  }
  const { bus } = context;
  if (bus?.type === 'local' && bus.endpoint === undefined && bus.port !== 0 && bus.port === http.port) {
    problems.push({
      path: ['bus', 'port'],
      message: 'the same port as http.port',
      remedy: 'give one of them another port; 0 takes any free one',
    });
  }
  return problems;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}
