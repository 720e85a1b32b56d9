import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { ReverseParking } from '../../src/reverse/parking.ts';
import type { ReverseLetterStore } from '../../src/state/reverse-letters.ts';
import { openState } from '../../src/state/state.ts';

let server: EmbeddedPostgres;
let pool: pg.Pool;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  pool = new pg.Pool({ connectionString: await server.createDatabase('reverse_parking') });
});

afterAll(async () => {
  await pool?.end();
  await server?.stop();
});

/** A parking whose first look at a group hears the server's answer only when `answer` is called. */
async function slowLook(connector: string) {
  const { reverseLetters: store } = await openState({ pool, connector, schema: 'banyan' });
  const looked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  let looks = 0;
  const lookAt: ReverseLetterStore['lookAt'] = async (group) => {
    const found = await store.lookAt(group);
    looks += 1;
    if (looks > 1) return found;
    looked.resolve();
    await answered.promise;
    return found;
  };
  const parking = await ReverseParking.load({
    store: { ...store, lookAt },
    waitForMs: 60_000,
    log: pino({ level: 'silent' }),
  });
  return { parking, store, looked: looked.promise, answer: answered.resolve };
}

const MESSAGE = { id: 'm-1', receipt: 'r-1', body: '{}', receives: 1, sentAtMs: undefined, group: undefined };

/** It waits for a person. */
const letterOf = (group: string) => ({
  eventId: 'shop e-1 public.orders#1',
  entry: 0,
  group,
  table: 'public.orders',
  sequence: '2-1',
  kind: 'row-refused' as const,
  code: undefined,
  message: 'refused',
  behind: false,
  waitForMs: undefined,
  event: '{}',
});

test('a table that is held while somebody looks whether it still has to be stays held', async () => {
  const { parking, looked, answer } = await slowLook('held');
  const table = 'public.orders';
  const error = new BanyanError('schema-drift', 'a column is gone', { context: { table } });
  const reconciled = parking.reconcile(`table:${table}`);
  await looked;
  await parking.parkMessage(MESSAGE, { error, place: 'queue' });
  answer();
  await reconciled;
  expect([...parking.heldTables]).toEqual([table]);
});

test('a lane whose letter expires while somebody looks what waits in it stays dead', async () => {
  const { parking, store, looked, answer } = await slowLook('expired');
  const group = 'public.orders:1';
  await store.park([{ ...letterOf(group), kind: 'parent-missing', waitForMs: 0 }]);
  const reconciled = parking.reconcile(group);
  await looked;
  for (const letter of await store.expire(10)) parking.expired(letter.group ?? '');
  answer();
  await reconciled;
  expect(parking.isDead(group)).toBe(true);
});

test('what was seen before letters were settled does not mark their lane dead again', async () => {
  const { parking, store, looked, answer } = await slowLook('settled');
  const group = 'public.orders:1';
  await store.park([letterOf(group)]);
  const early = parking.reconcile(group);
  await looked;
  await store.discard({ group });
  await parking.reconcile(group);
  answer();
  await early;
  expect(parking.isDead(group)).toBe(false);
});
