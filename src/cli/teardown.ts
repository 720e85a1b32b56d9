import type pg from 'pg';
import { type Config, publicationName, slotName } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import { withClient } from '../postgres/connection.ts';
import { quoteIdentifier } from '../postgres/identifier.ts';
import { dropSlot, observeSlot, type ObservedSlot } from '../postgres/slot.ts';
import { sqlStateOf, toDatabaseError } from '../postgres/sqlstate.ts';
import { lettersLost, removeState } from '../state/remove.ts';
import { connectionOf } from '../worker.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { count, type Output } from './output.ts';
import { teardownWriters } from './teardown-writers.ts';
import { withStatePool } from './with-state.ts';

export interface TeardownOptions {
  /** Without it, it only says what it would do. */
  readonly yes: boolean;
  /** Even while dead letters wait. */
  readonly discardParked: boolean;
}

export interface Step {
  readonly what: string;
  readonly outcome: 'dropped' | 'absent' | 'left';
  /** Why it was left, or what mends it. */
  readonly remark?: string;
}

/**
 * Takes away what would stay behind: the slot first, since it holds WAL, then the publication, then the state. What `manage: false` leaves to a
 * DBA is left, and said.
 */
export async function teardown(options: TeardownOptions, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  return withClient(connectionOf(config), async (client) =>
    withStatePool(config, async (pool) => {
      const slot = await observeSlot(client, slotName(config));
      refuseActive(slot, config);
      const parked = await lettersLost({ pool, connector: config.name, schema: config.state.schema });
      if (!options.yes) throw announcement(config, { slot, parked });
      if (parked > 0 && !options.discardParked) {
        throw new BanyanError('preflight', `${count(parked, 'dead letter')} still wait: with the state they are lost`, {
          remedy: '`banyan dead-letters redrive --all` sends them; `teardown --yes --discard-parked` gives them up',
        });
      }
      const steps: Step[] = [];
      const done = (step: Step) => {
        steps.push(step);
        if (!output.json) printStep(step, output);
      };
      done(await teardownSlot(client, { slot, config }));
      done(await teardownPublication(client, config));
      for (const step of await teardownWriters(client, config)) done(step);
      done(await teardownState(config, pool));
      const isLeft = steps.some(({ outcome }) => outcome === 'left');
      if (output.json) output.value({ steps, complete: !isLeft });
      else if (!isLeft) output.line('nothing of Banyan is left in the database');
      return ExitCode.ok;
    }),
  );
}

function refuseActive(slot: ObservedSlot | undefined, config: Config): void {
  if (slot?.holder === undefined) return;
  const { pid, applicationName } = slot.holder;
  throw new BanyanError(
    'slot-in-use',
    `slot ${slotName(config)} is read by ${applicationName ?? 'another session'} (pid ${pid})`,
    { remedy: 'stop the worker first; a second one that stands by would take over, so stop that one too' },
  );
}

function announcement(config: Config, found: { slot: ObservedSlot | undefined; parked: number }): BanyanError {
  const { slot, publication } = config.legacy;
  const drops = [
    ...(slot.manage ? [`slot ${slotName(config)}${found.slot === undefined ? ' (not there)' : ''}`] : []),
    ...(publication.manage ? [`publication ${publicationName(config)}`] : []),
    `the state of ${config.name} in schema ${config.state.schema}`,
  ];
  const letters = found.parked === 0 ? '' : `, and with it ${count(found.parked, 'dead letter')}`;
  return new BanyanError(
    'usage',
    `this would drop ${drops.join(', ')}${letters}; changes made from then on are not captured`,
    {
      remedy:
        found.parked === 0 ? 'add --yes to do it' : 'redrive the dead letters first, or add --yes --discard-parked',
    },
  );
}

async function teardownSlot(
  client: pg.ClientBase,
  found: { slot: ObservedSlot | undefined; config: Config },
): Promise<Step> {
  const { slot, config } = found;
  const name = slotName(config);
  const what = `slot ${name}`;
  if (slot === undefined) return { what, outcome: 'absent' };
  if (!config.legacy.slot.manage) {
    return {
      what,
      outcome: 'left',
      remark: `legacy.slot.manage is false; it holds WAL until somebody runs: select pg_drop_replication_slot('${name}');`,
    };
  }
  if (slot.plugin !== 'pgoutput') return { what, outcome: 'left', remark: 'it is not a slot of pgoutput, so not ours' };
  await dropSlot(client, name);
  return { what, outcome: 'dropped', remark: `${megabytes(slot.heldBytes)} of WAL can go` };
}

async function teardownPublication(client: pg.ClientBase, config: Config): Promise<Step> {
  const name = publicationName(config);
  const what = `publication ${name}`;
  const drop = `drop publication ${quoteIdentifier(name)};`;
  if (!config.legacy.publication.manage) {
    return { what, outcome: 'left', remark: `legacy.publication.manage is false; its owner drops it with: ${drop}` };
  }
  try {
    await client.query(drop);
    return { what, outcome: 'dropped' };
  } catch (error) {
    const code = sqlStateOf(error);
    if (code === '42704') return { what, outcome: 'absent' };
    if (code === '42501') return { what, outcome: 'left', remark: `its owner must run: ${drop}` };
    throw toDatabaseError(error, `dropping publication ${name}`);
  }
}

async function teardownState(config: Config, pool: pg.Pool): Promise<Step> {
  const { schema } = config.state;
  const removed = await removeState({ pool, connector: config.name, schema });
  const what = `state of ${config.name} in schema ${schema}`;
  if (removed.schema === 'absent') return { what, outcome: 'absent' };
  if (removed.schema === 'dropped') return { what, outcome: 'dropped', remark: 'and the schema, which was empty then' };
  const others = removed.otherConnectors.join(', ');
  return {
    what,
    outcome: 'dropped',
    remark: others === '' ? 'the schema holds something else and is kept' : `the schema is kept for ${others}`,
  };
}

function printStep(step: Step, output: Output): void {
  const remark = step.remark === undefined ? '' : `: ${step.remark}`;
  switch (step.outcome) {
    case 'dropped':
      output.line(`${output.paint('green', '✓')} dropped ${step.what}${remark}`);
      break;
    case 'absent':
      output.line(`- ${step.what} was not there`);
      break;
    case 'left':
      output.line(`${output.paint('yellow', '!')} left ${step.what}${remark}`);
  }
}

function megabytes(bytes: number): string {
  return bytes < 1_000_000
    ? `${Math.ceil(bytes / 1_000)} kB`
    : `${Math.round(bytes / 1_000_000).toLocaleString('en-US')} MB`;
}
