import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import { resolvesWithin } from '../flow/within.ts';
import { displayName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import type { ApplyOutcome, Intent } from './intent.ts';
import { applyError, isOutdatedPlan } from './apply-error.ts';
import { type ApplyContext, applyOne, LockedWait, SAVEPOINT, UndecidedYet } from './apply-one.ts';
import { applyPlainly } from './apply-plain.ts';
import { ConflictParked } from './conflict.ts';

/**
 * Several events in one transaction, in the order of their lanes. Returns an outcome each, in the order given, when it has committed. Throws where the whole has to
 * be done again: nothing was done then, or what was done is known as a repeat. Where not all are plain they are done anew with a savepoint each, and an event that
 * fails for its own fault is set aside in the same transaction.
 */
export async function applyTogether(
  intents: readonly Intent[],
  context: ApplyContext,
): Promise<readonly ApplyOutcome[]> {
  const plain = await attemptPlainly(intents, context);
  if (plain !== undefined) return plain;
  try {
    const outcomes = await attempt(intents, { context, wait: new LockedWait(LOCKED_WAIT_MS) });
    for (const [index, { status }] of outcomes.entries()) noteStage(intents[index], status);
    return outcomes;
  } catch (error) {
    if (!(error instanceof UndecidedYet)) throw error;
    return await applyBehind(intents, context);
  }
}

/** Tables whose events were skipped last: none of those is plain, and trying them so would lock rows that are none of theirs. */
const off = new WeakSet<CatalogTable>();

function noteStage(intent: Intent | undefined, status: ApplyOutcome['status']): void {
  if (intent === undefined) return;
  if (status === 'skipped') off.add(intent.target.table);
  else off.delete(intent.target.table);
}

/** undefined: nothing was done, and they have to be done with more care. */
async function attemptPlainly(
  intents: readonly Intent[],
  context: ApplyContext,
): Promise<readonly ApplyOutcome[] | undefined> {
  const { byOperator, onEnded } = context;
  // Letters come one at a time: nothing would be saved.
  if (byOperator || onEnded !== undefined || intents.some(({ target }) => off.has(target.table))) return undefined;
  const ordered = inLaneOrder(intents);
  const client = await connected(context.pool, ordered);
  let isBroken = false;
  try {
    const outcomes = await applyPlainly(client, ordered, context);
    if (outcomes !== undefined) return intents.map((intent) => outcomes.get(intent) as ApplyOutcome);
    isBroken = !(await rolledBack(client));
  } catch (thrown) {
    isBroken = isOutdatedPlan(thrown) || !(await rolledBack(client));
    const failure = applyError(thrown, tableOf(ordered));
    // Whatever is one event's own fault is found out where each is by itself.
    if (!isOwnFault(failure)) throw failure;
  } finally {
    client.release(isBroken);
  }
  return undefined;
}

function inLaneOrder(intents: readonly Intent[]): readonly Intent[] {
  return intents.toSorted((one, other) => (one.lane < other.lane ? -1 : one.lane > other.lane ? 1 : 0));
}

/** How long others may wait for a row because the stream has to come by, and how long it is waited for with no row locked. */
const LOCKED_WAIT_MS = 1_000;
const FREE_WAIT_MS = 2_000;

/**
 * Once more when the stream has come nearer, each in a transaction of its own: what needs not know the stream is not held up, and a few short waits need not fit
 * into one transaction. Where it is still behind the event comes back as one to be tried again later, by who can wait for long.
 */
async function applyBehind(intents: readonly Intent[], context: ApplyContext): Promise<readonly ApplyOutcome[]> {
  // It rejects when all ends: the event is nobody's fault then, and comes again.
  const isNear = await resolvesWithin(FREE_WAIT_MS, context.caughtUp()).catch(() => false);
  const outcomes: ApplyOutcome[] = [];
  for (const intent of intents) {
    try {
      const wait = new LockedWait(isNear ? LOCKED_WAIT_MS : 0);
      outcomes.push(...(await attempt([intent], { context, wait })));
    } catch (error) {
      if (!(error instanceof UndecidedYet)) throw error;
      outcomes.push({ status: 'failed', error: streamBehind(intent) });
    }
  }
  return outcomes;
}

function streamBehind({ target }: Intent): BanyanError {
  return new BanyanError(
    'stream-behind',
    `${displayName(target.table)}: the stream is more than ${LOCKED_WAIT_MS / 1_000} s behind, and only it can tell whether the event knew the row’s last change`,
  );
}

async function attempt(
  intents: readonly Intent[],
  { context, wait }: { readonly context: ApplyContext; readonly wait: LockedWait },
): Promise<readonly ApplyOutcome[]> {
  const outcomes = new Map<Intent, ApplyOutcome>();
  const ordered = inLaneOrder(intents);
  const client = await connected(context.pool, ordered);
  let isBroken = false;
  let isCommitting = false;
  try {
    await client.query('begin isolation level read committed');
    for (const intent of ordered) outcomes.set(intent, await applyGuarded(client, intent, { context, wait }));
    isCommitting = true;
    await client.query('commit');
  } catch (thrown) {
    isBroken = isOutdatedPlan(thrown) || !(await rolledBack(client));
    const failure = thrown instanceof UndecidedYet ? thrown : applyError(thrown, tableOf(ordered));
    if (!isCommitting || failure instanceof UndecidedYet || !isOwnFault(failure)) throw failure;
    // A deferred constraint: it fails at COMMIT, and names no event.
    return await apart(intents, { failure, context });
  } finally {
    client.release(isBroken);
  }
  return intents.map((intent) => outcomes.get(intent) as ApplyOutcome);
}

/** One by one, so that each fails for itself; the one that is alone already is set aside. */
async function apart(
  intents: readonly Intent[],
  { failure, context }: { readonly failure: BanyanError; readonly context: ApplyContext },
): Promise<readonly ApplyOutcome[]> {
  const outcomes: ApplyOutcome[] = [];
  if (intents.length > 1) {
    for (const intent of intents) outcomes.push(...(await applyTogether([intent], context)));
    return outcomes;
  }
  const client = await connected(context.pool, intents);
  let isBroken = false;
  try {
    await client.query('begin isolation level read committed');
    for (const intent of intents) outcomes.push(await setAside(client, intent, { failure, context }));
    await client.query('commit');
  } catch (thrown) {
    isBroken = !(await rolledBack(client));
    throw applyError(thrown, tableOf(intents));
  } finally {
    client.release(isBroken);
  }
  return outcomes;
}

/** How often an event is tried anew at once: its row came, or went, between two of its statements. */
const TRIES = 3;

async function applyGuarded(
  client: pg.PoolClient,
  intent: Intent,
  { context, wait }: { readonly context: ApplyContext; readonly wait: LockedWait },
): Promise<ApplyOutcome> {
  for (let attempts = 1; ; attempts += 1) {
    await client.query(`savepoint ${SAVEPOINT}`);
    try {
      const outcome = await applyOne(client, intent, { context, wait });
      await context.onEnded?.(client, outcome);
      await client.query(`release savepoint ${SAVEPOINT}`);
      return outcome;
    } catch (thrown) {
      if (thrown instanceof UndecidedYet) throw thrown;
      const failure = applyError(thrown, intent.target.table);
      if (!isOwnFault(failure)) throw thrown;
      await client.query(`rollback to savepoint ${SAVEPOINT}; release savepoint ${SAVEPOINT}`);
      // Somebody else's row with the same key: the next try finds it. Another unique column stays taken.
      if (failure.code === UNIQUE_VIOLATION && intent.target.operation !== 'delete' && attempts < TRIES) continue;
      return await setAside(client, intent, { failure, context });
    }
  }
}

const UNIQUE_VIOLATION = '23505';

async function setAside(
  client: pg.PoolClient,
  intent: Intent,
  { failure, context }: { readonly failure: BanyanError; readonly context: ApplyContext },
): Promise<ApplyOutcome> {
  if (failure instanceof ConflictParked) await context.conflicts.record(client, failure.conflict);
  // What waits for a right stays in its lane, and is tried again.
  if (!context.byOperator && failure.reaction !== 'wait') await context.park(client, intent, failure);
  return { status: 'failed', error: failure };
}

/** Whether the others of the transaction may go on. */
function isOwnFault({ reaction }: BanyanError): boolean {
  return reaction === 'park' || reaction === 'hold' || reaction === 'wait';
}

function tableOf(intents: readonly Intent[]) {
  const [first] = intents;
  if (first === undefined) throw new TypeError('a transaction without events');
  return first.target.table;
}

async function connected(pool: pg.Pool, intents: readonly Intent[]): Promise<pg.PoolClient> {
  try {
    return await pool.connect();
  } catch (error) {
    throw applyError(error, tableOf(intents));
  }
}

async function rolledBack(client: pg.PoolClient): Promise<boolean> {
  try {
    await client.query('rollback');
    return true;
  } catch {
    // A connection that is gone has rolled back by itself.
    return false;
  }
}
