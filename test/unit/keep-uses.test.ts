import { expect, test } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { keepUses, type Uses, type UsesOptions } from '../../src/progress/uses.ts';

/** Somebody who looks, and a clock that is set by hand. */
function observatory(gates: object = {}) {
  const config = configSchema.parse({
    name: 'shop',
    legacy: { url: 'unused' },
    capture: [{ table: 'public.orders' }],
    progress: { gates },
  });
  const looks: UsesOptions[] = [];
  const clock = { ms: 0, isAway: false };
  const look = async (options: UsesOptions): Promise<Uses> => {
    looks.push(options);
    if (clock.isAway) throw new Error('the server does not answer');
    return { at: `look ${looks.length}`, reads: new Map(), dependants: new Map() };
  };
  const kept = keepUses(config, { look, nowMs: () => clock.ms });
  const of = (...tables: string[]) =>
    kept({ tables: tables.map((table, oid) => ({ table, oid })) } as unknown as UsesOptions);
  return { looks, clock, of };
}

test('who asks every two seconds makes one look a minute, and is told when that was', async () => {
  const { looks, clock, of } = observatory();
  const told: string[] = [];
  for (; clock.ms < 120_000; clock.ms += 2_000) told.push((await of('public.orders')).at);
  expect(looks).toHaveLength(2);
  expect([told[29], told[30], told[59]]).toEqual(['look 1', 'look 2', 'look 2']);
});

test('a table that was not looked at is looked at at once', async () => {
  const { looks, of } = observatory();
  await of('public.orders');
  await of('public.orders', 'public.items');
  await of('public.orders', 'public.items');
  // Made anew, under the same name.
  await of('public.items', 'public.orders');
  expect(looks).toHaveLength(3);
});

test('nothing is kept for longer than evidence is good for', async () => {
  const { looks, clock, of } = observatory({ evidence: '10s' });
  for (; clock.ms < 60_000; clock.ms += 2_000) await of('public.orders');
  expect(looks).toHaveLength(6);
});

test('a look that failed is repeated, and takes nothing into what is kept', async () => {
  const { clock, of } = observatory();
  clock.isAway = true;
  await expect(of('public.orders')).rejects.toThrow('does not answer');
  clock.isAway = false;
  expect((await of('public.orders')).at).toBe('look 2');
});
