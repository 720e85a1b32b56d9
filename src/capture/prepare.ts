import type pg from 'pg';
import type { Logger } from 'pino';
import { type Config, isTableCapture, publicationName, slotName } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import type { StreamIdentity } from '../core/event.ts';
import type { Finding } from '../core/finding.ts';
import { formatLsn, type Lsn, ZERO_LSN } from '../core/lsn.ts';
import { type ResolvedTables, resolveTables } from '../postgres/catalog.ts';
import type { ConnectionSettings } from '../postgres/connection.ts';
import { compareTables, gapError, type GapReport } from '../postgres/gap.ts';
import { isPattern, parseTableName } from '../postgres/identifier.ts';
import { applyPublication, planPublication, publicationTargets } from '../postgres/publication.ts';
import { readMembership, readPublication } from '../postgres/publication-catalog.ts';
import { identifyServer, type Server } from '../postgres/server.ts';
import { classifySlot, type SlotVerdict } from '../postgres/slot-verdict.ts';
import { inSnapshot } from '../postgres/snapshot.ts';
import { createSlot, describeBlocker, observeSlot } from '../postgres/slot.ts';
import type { SlotRecord } from '../state/slots.ts';
import type { State } from '../state/state.ts';
import { nameOf, recordTables } from './recorded-tables.ts';

export interface PrepareOptions {
  readonly config: Config;
  readonly connection: ConnectionSettings;
  readonly pool: pg.Pool;
  readonly state: State;
  /** Throws where the mapping does not fit the tables: asked before a slot is used for the first time, when nothing can be lost yet. */
  readonly checkMapping: (prospect: Prepared) => Promise<void>;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** What a session needs to know of the database before it streams. */
export interface Prepared {
  readonly server: Server;
  readonly identity: StreamIdentity;
  readonly resolved: ResolvedTables;
}

/**
 * Brings publication and slot in step with the configuration, in that order, and compares both with what state remembers. Throws `slot-in-use`
 * before anything is changed where another worker reads the slot, `gap` where changes may be missing, `preflight` for what a person must mend.
 */
export async function prepareCapture(options: PrepareOptions): Promise<Prepared> {
  const { connection, state, signal } = options;
  const server = await identifyServer(connection, signal);
  const resolved = await resolve(options);
  const recorded = await state.slots.get();
  const verdict = await judgeSlot(options, { server, recorded });
  // Before the publication is touched: after a rename swap it would be mended silently.
  await refuseTableGaps(options, resolved);
  refuseFindings(resolved.findings);
  if (verdict.status !== 'resume') {
    // Epochs do not matter to whether a mapping fits.
    await options.checkMapping({ server, resolved, identity: { systemId: server.systemId, epoch: 0 } });
  }
  await keepPublication(options, { server, resolved });
  const { identity, record } = await keepSlot(options, { server, recorded, verdict });
  await recordTables(options, { resolved, isNewStream: verdict.status !== 'resume' });
  // Last, so that whoever is interrupted before takes the stream for a new one again.
  if (record !== undefined) await state.slots.save(record);
  return { server, identity, resolved };
}

/** The comparison of every minute: throws `gap` where slot or tables are no longer what is recorded. Changes nothing. */
export async function inspectCapture(options: PrepareOptions, server: Server): Promise<void> {
  const { config, pool, state } = options;
  const observed = await observeSlot(pool, slotName(config));
  const situation = { ...server, slotName: slotName(config), recorded: await state.slots.get() };
  // Being read is as it should be: we are the reader.
  const verdict = classifySlot({ ...situation, observed: observed && { ...observed, holder: undefined } });
  if (verdict.status === 'gap') await refuseGap(options, await asRecorded(options, verdict.gap));
  await refuseTableGaps(options, await resolve(options));
}

function resolve({ pool, config }: PrepareOptions): Promise<ResolvedTables> {
  return inSnapshot(pool, (client) => resolveTables(client, config.capture, { stateSchema: config.state.schema }));
}

async function judgeSlot(
  options: PrepareOptions,
  facts: { server: Server; recorded: SlotRecord | undefined },
): Promise<SlotVerdict> {
  const { config, pool } = options;
  const name = slotName(config);
  const observed = await observeSlot(pool, name);
  // A record without a position is one whose gap was accepted: it only keeps the epoch.
  const recorded = facts.recorded?.createdLsn === ZERO_LSN ? undefined : facts.recorded;
  const verdict = classifySlot({ ...facts.server, slotName: name, observed, recorded });
  if (verdict.status === 'in-use') {
    const { applicationName, pid } = verdict.holder;
    throw new BanyanError(
      'slot-in-use',
      `slot ${name} is read by ${applicationName ?? 'another session'} (pid ${pid})`,
    );
  }
  if (verdict.status === 'foreign') {
    throw new BanyanError('preflight', verdict.message, {
      remedy: `set legacy.slot.name to another name, or drop it where nobody needs it: select pg_drop_replication_slot('${name}');`,
    });
  }
  if (verdict.status === 'gap') await refuseGap(options, await asRecorded(options, verdict.gap));
  return verdict;
}

async function refuseGap({ state, log }: PrepareOptions, gap: GapReport): Promise<never> {
  const { kind, subject, message, report } = gap;
  // What we dropped ourselves is on record already, with what is known of it.
  if (kind !== 'slot-dropped') await state.gaps.record({ kind, subject, report: { message, ...report } });
  log.error({ gap: kind, subject, report }, `gap: ${message}`);
  throw gapError(gap);
}

/** A slot that we dropped ourselves is missing for the reason that is on record. */
async function asRecorded({ state }: PrepareOptions, gap: GapReport): Promise<GapReport> {
  if (gap.kind !== 'slot-missing') return gap;
  const dropped = (await state.gaps.open()).find(
    ({ kind, subject }) => kind === 'slot-dropped' && subject === gap.subject,
  );
  const message = dropped?.report['message'];
  return typeof message === 'string' ? { ...gap, kind: 'slot-dropped', message } : gap;
}

async function refuseTableGaps(options: PrepareOptions, resolved: ResolvedTables): Promise<void> {
  const { config, pool, state } = options;
  const records = await state.tables.list();
  const present = new Set(resolved.tables.map(nameOf));
  // A record without a position is one whose gap was accepted: it is made anew.
  const wanted = records.filter(
    ({ table, publishedSinceLsn }) => publishedSinceLsn !== ZERO_LSN && (present.has(table) || isNamed(config, table)),
  );
  const published = await readMembership(pool, publicationName(config));
  const [gap] = compareTables(wanted, { catalog: resolved.tables, published });
  if (gap !== undefined) await refuseGap(options, gap);
}

/** A recorded table that the catalog no longer has, but the configuration names exactly. What only a pattern named may go. */
function isNamed(config: Config, table: string): boolean {
  return config.capture.filter(isTableCapture).some((entry) => {
    const wanted = parseTableName(entry.table);
    return !isPattern(wanted) && `${wanted.schema.text}.${wanted.name.text}` === table;
  });
}

function refuseFindings(findings: readonly Finding[]): void {
  const errors = findings.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  if (first === undefined) return;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  throw new BanyanError('preflight', `${first.message}${more}`, {
    context: { code: first.code, subject: first.subject },
    ...(first.remedy === undefined ? {} : { remedy: first.remedy }),
  });
}

async function keepPublication(
  options: PrepareOptions,
  facts: { server: Server; resolved: ResolvedTables },
): Promise<void> {
  const { config, pool, log } = options;
  const { versionNumber } = facts.server;
  const name = publicationName(config);
  const current = await readPublication(pool, name, versionNumber);
  const plan = planPublication({
    name,
    manage: config.legacy.publication.manage,
    versionNumber,
    targets: publicationTargets(facts.resolved.entries, versionNumber),
    current,
  });
  refuseFindings(plan.findings);
  if (plan.statements.length === 0) return;
  for (const statement of plan.statements)
    log.info({ statement }, current === undefined ? 'creating the publication' : 'changing the publication');
  const client = await pool.connect();
  try {
    await applyPublication(client, plan);
  } finally {
    client.release();
  }
}

async function keepSlot(
  options: PrepareOptions,
  facts: { server: Server; recorded: SlotRecord | undefined; verdict: SlotVerdict },
): Promise<{ readonly identity: StreamIdentity; readonly record: Omit<SlotRecord, 'updatedAt'> | undefined }> {
  const { config, connection, state, signal, log } = options;
  const { server, recorded, verdict } = facts;
  const name = slotName(config);
  const known = recorded !== undefined && recorded.systemId === server.systemId;
  const epoch = recorded === undefined ? 1 : known ? recorded.epoch : recorded.epoch + 1;
  const identity = { systemId: server.systemId, epoch };
  const record = { slotName: name, systemId: server.systemId, epoch, timeline: server.timeline };
  if (verdict.status === 'resume') {
    if (verdict.promoted && recorded !== undefined) {
      log.warn(
        { from: recorded.timeline, to: server.timeline },
        'the server was promoted: streaming goes on, on a new timeline',
      );
    }
    if (recorded !== undefined && (verdict.promoted || recorded.slotName !== name)) {
      await state.slots.save({ ...recorded, ...record });
    }
    return { identity, record: undefined };
  }
  let position: Lsn;
  if (verdict.status === 'adopt') {
    position = verdict.confirmedLsn;
    log.info({ slot: name, position: formatLsn(position) }, 'using the replication slot that is there');
  } else {
    if (!config.legacy.slot.manage) {
      throw new BanyanError('preflight', `there is no replication slot ${name}, and legacy.slot.manage is false`, {
        remedy: `select pg_create_logical_replication_slot('${name}', 'pgoutput');`,
      });
    }
    position = await createSlot(connection, {
      slotName: name,
      lockTimeoutMs: config.legacy.lockTimeout,
      signal,
      onWaiting: (blockers) =>
        log.warn(
          { slot: name, blockers: blockers.map(describeBlocker) },
          'creating the replication slot waits for running transactions',
        ),
    });
    log.info({ slot: name, position: formatLsn(position) }, 'created the replication slot');
  }
  // Before the slot is on record, so that whoever is interrupted does it again.
  await state.stageChanges.announceAgain(options.pool);
  return { identity, record: { ...record, createdLsn: position, confirmedLsn: position } };
}
