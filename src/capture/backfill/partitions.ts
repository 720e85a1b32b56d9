import type pg from 'pg';
import type { Logger } from 'pino';
import { isTableCapture } from '../../config/schema.ts';
import { type Leaf, leafName, leavesOf } from '../../postgres/backfill-facts.ts';
import type { Coverage } from '../../state/backfills.ts';
import type { LiveSession } from '../upkeep.ts';

/**
 * Asks for a run of each partition that was attached when its table had been read: ATTACH of a filled table sends nothing through the stream. One at a
 * time, as a table has one open run. What is attached while a run is under way is found when that run has ended.
 * @param again whether partitions whose own run failed are asked for too
 */
export async function askForPartitions(
  { factory, state }: LiveSession,
  { pool, again, log }: { pool: pg.Pool; again: boolean; log: Logger },
): Promise<void> {
  const open = new Set((await state.backfills.open()).map(({ table }) => table));
  for (const { table, entries } of factory.captured) {
    const name = `${table.schema}.${table.name}`;
    const isAsked = entries.some(({ entry }) => isTableCapture(entry) && entry.backfill);
    if (!isAsked || table.kind !== 'partitioned' || open.has(name)) continue;
    const coverage = await state.backfills.coverage(name);
    if (coverage === undefined) continue;
    const unread = unreadOf(await leavesOf(pool, table.oid), coverage);
    // What comes into an empty one comes through the stream.
    const empty = unread.filter(({ isEmpty }) => isEmpty);
    if (empty.length > 0) {
      const leaves = empty.map((leaf) => ({ oid: leaf.oid, relation: leafName(leaf), attached: leaf.attached }));
      await state.backfills.cover(coverage.run, leaves);
    }
    const filled = unread
      .filter(({ isEmpty }) => !isEmpty)
      .map(leafName)
      .find((each) => again || !coverage.failed.includes(each));
    if (filled === undefined) continue;
    const run = await state.backfills.create({ table: name, partition: filled, requestedBy: 'configuration' });
    if (run !== undefined) log.info({ table: name, partition: filled, run: run.id }, 'a partition was attached');
  }
}

function unreadOf(leaves: readonly Leaf[], coverage: Coverage): readonly Leaf[] {
  const read = new Set(coverage.leaves.map(({ oid, attached }) => `${oid} ${attached ?? ''}`));
  return leaves.filter(({ oid, attached }) => !read.has(`${oid} ${attached ?? ''}`));
}
