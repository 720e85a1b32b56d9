import type { EventDraft, RowChangeView } from '../../../src/mapping/transform-types.ts';

/** A mapping module as a user writes it: one event for each item of the array, none for a truncate. */
export default function lines(
  change: RowChangeView<{ id: string; tags: readonly string[] }>,
): EventDraft[] | undefined {
  if (change.operation === 'truncate') return undefined;
  return (change.row.tags ?? []).map((tag) => ({
    detailType: `Tag${change.operation}`,
    data: { id: change.row.id ?? null, tag, before: change.old?.tags ?? null },
    ...(tag === 'own' ? { source: 'legacy.own', bus: 'own-bus', resources: ['own'] } : {}),
  }));
}
