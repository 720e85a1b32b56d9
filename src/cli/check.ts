import type { LoadedConfig } from '../config/load.ts';
import { slotName } from '../config/schema.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { withClient } from '../postgres/connection.ts';
import { preflight } from '../postgres/preflight.ts';
import { connectionOf, publisherOf } from '../worker.ts';
import { checkMapping } from './check-mapping.ts';
import { checkQueue } from './check-queue.ts';
import { checkReverse } from './check-reverse.ts';
import { checkState } from './check-state.ts';
import { checkWriters } from './check-writers.ts';
import { type CommandContext, ExitCode, invocation, loadFor } from './context.ts';
import { asFinding, printFindings, verdictLine } from './findings.ts';
import { createLogger } from './log.ts';
import { count } from './output.ts';

/** How long the bus may take to say whether it is there. */
const PROBE_TIMEOUT_MS = 15_000;

/** The configuration against the live database and bus. Changes nothing anywhere. */
export async function check(context: CommandContext): Promise<ExitCode> {
  const loaded = await loadFor(context);
  const found = await Promise.all([checkDatabase(loaded), checkBus(loaded), checkQueue(loaded.config)]);
  const findings = unique(found.flat());
  const ready = !findings.some(({ severity }) => severity === 'error');
  const { output } = context;
  if (output.json) {
    output.value({ ready, findings });
  } else {
    printFindings(findings, output);
    const { config } = loaded;
    const entries = config.capture.length === 1 ? '1 entry' : `${config.capture.length} entries`;
    const place = config.bus.type === 'local' ? 'an embedded bus' : `bus ${config.bus.name}`;
    const back =
      config.reverse === undefined
        ? ''
        : `, and ${count(config.reverse.apply.length, 'entry', 'entries')} for the way back`;
    output.line(
      verdictLine(findings, {
        output,
        ready: `ready: ${entries}, slot ${slotName(config)}, ${place}${back}`,
        next: `${invocation(context.env)} run`,
      }),
    );
  }
  return ready ? ExitCode.ok : ExitCode.preflight;
}

async function checkDatabase(loaded: LoadedConfig): Promise<Finding[]> {
  const { config } = loaded;
  const connection = connectionOf(config);
  try {
    return await withClient(connection, async (client) => {
      const found = await preflight(client, config, { connection });
      if (found.some(({ code }) => code === 'SERVER_TOO_OLD')) return found;
      return [
        ...found,
        ...(await checkMapping(client, loaded)),
        ...(await checkReverse(client, config)),
        ...(await checkWriters(client, config)),
        ...(await checkState(config)),
      ];
    });
  } catch (error) {
    const failure = toBanyanError(error, 'checking the legacy database');
    if (failure.kind === 'config' || failure.kind === 'unknown') throw failure;
    return [asFinding(failure, { code: 'DATABASE_NOT_USABLE', subject: 'legacy database', path: 'legacy.url' })];
  }
}

async function checkBus({ config }: LoadedConfig): Promise<Finding[]> {
  if (config.bus.type === 'local' && config.bus.endpoint === undefined) {
    const message = 'the embedded bus starts with the worker, and events stay on this machine';
    return [{ code: 'BUS_LOCAL', severity: 'info', subject: 'bus', path: 'bus.type', message }];
  }
  const publisher = publisherOf(config, undefined, createLogger({ level: 'error', stream: process.stderr }));
  try {
    await publisher.probe(AbortSignal.timeout(PROBE_TIMEOUT_MS));
    return [];
  } catch (error) {
    const place = { code: 'BUS_NOT_USABLE', subject: 'bus', path: 'bus' };
    if (error instanceof DOMException && error.name === 'TimeoutError') {
      const silent = new BanyanError('bus-transient', `the bus did not answer within ${PROBE_TIMEOUT_MS / 1_000} s`, {
        remedy: 'can this machine reach the endpoint (bus.region, bus.endpoint, proxies, VPC endpoints)?',
      });
      return [asFinding(silent, place)];
    }
    const failure = toBanyanError(error, 'asking the bus');
    return [asFinding(failure, { ...place, code: failure.kind.toUpperCase().replaceAll('-', '_') })];
  } finally {
    await publisher.close();
  }
}

/** The catalog and the mapping can find the same thing. */
function unique(findings: readonly Finding[]): Finding[] {
  const seen = new Map<string, Finding>();
  for (const finding of findings) {
    const key = JSON.stringify([finding.code, finding.subject, finding.path, finding.message]);
    if (!seen.has(key)) seen.set(key, finding);
  }
  return [...seen.values()];
}
