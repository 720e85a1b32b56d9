import { BanyanError } from '../core/errors.ts';
import { displayName } from '../postgres/identifier.ts';
import type { ConflictKind, ConflictResolution, ConflictRow, NewConflict } from '../state/conflicts.ts';
import type { RowForPeople } from './conflict-rows.ts';
import type { Intent } from './intent.ts';
import type { Texts } from './marks.ts';

/** An event whose table's policy leaves conflicts to a person. */
export class ConflictParked extends BanyanError {
  readonly conflict: NewConflict;

  constructor(conflict: NewConflict, table: Intent['target']['table']) {
    super('conflict-parked', `${displayName(table)}: ${conflict.kind}, which a person has to decide`, {
      context: { conflict: conflict.kind },
    });
    this.conflict = conflict;
  }
}

/** What both sides wanted, as people may see it. */
export function conflictOf(
  intent: Intent,
  facts: {
    readonly kind: ConflictKind;
    readonly policy: NewConflict['policy'];
    readonly resolution: ConflictResolution;
    /** The row as it stood, as far as it was read. */
    readonly current: Texts | undefined;
    readonly show: RowForPeople;
  },
): NewConflict {
  const { target, producer, eventId, key, values, expected } = intent;
  const { kind, policy, resolution, current, show } = facts;
  const shown = (row: ConflictRow) => show(target.table, row);
  return {
    table: `${target.table.schema}.${target.table.name}`,
    key: shown(zip(target.key, key)),
    kind,
    policy,
    resolution,
    producer,
    eventId,
    target: target.id,
    expected: expected && shown(zip(target.expect, expected)),
    proposed: target.operation === 'delete' ? undefined : shown(zip(target.set, values)),
    current: current && shown(current),
  };
}

function zip(columns: readonly { readonly name: string }[], texts: readonly (string | null)[]): ConflictRow {
  return Object.fromEntries(columns.map(({ name }, index) => [name, texts[index] ?? null]));
}
