import { formatLsn, type Lsn } from '../core/lsn.ts';
import type { GapReport } from './gap.ts';
import type { ObservedSlot, SlotHolder } from './slot.ts';
import { descendsFrom, type Timelines } from './timeline.ts';

/** What state remembers of the slot. The slot itself is the offset; this is what it is judged by. */
export interface RecordedSlot {
  readonly slotName: string;
  readonly systemId: string;
  readonly timeline: number;
  readonly epoch: number;
  readonly createdLsn: Lsn;
  /** The last watermark that was written down. */
  readonly confirmedLsn: Lsn;
  /** ISO 8601 */
  readonly updatedAt?: string;
}

export interface SlotSituation {
  readonly slotName: string;
  readonly database: string;
  readonly systemId: string;
  readonly timelines: Timelines;
  readonly observed: ObservedSlot | undefined;
  readonly recorded: RecordedSlot | undefined;
}

export type SlotVerdict =
  /** Neither slot nor record: create it, then record it. */
  | { readonly status: 'fresh' }
  /** A slot of ours, or a DBA's, that no record knows: read it from where it stands, and record it. */
  | { readonly status: 'adopt'; readonly confirmedLsn: Lsn }
  | { readonly status: 'resume'; readonly confirmedLsn: Lsn; readonly promoted: boolean }
  | { readonly status: 'in-use'; readonly holder: SlotHolder }
  /** A slot of that name which is not for us: another plugin, another database, a physical one. */
  | { readonly status: 'foreign'; readonly message: string }
  | { readonly status: 'gap'; readonly gap: GapReport };

/**
 * Whether the slot may be read on, the first case that fits:
 *
 *  1. no slot, no record                                        fresh
 *  2. no slot, a record of this server                          gap: slot-missing (dropped, or not on this standby)
 *  3. a record of another system identifier                     gap: system-changed (restored dump, blue/green, wrong URL)
 *  4. physical, another plugin or another database              foreign
 *  5. read by another session                                   in-use (stand by)
 *  6. invalidated: `lost`, or an invalidation reason            gap: slot-lost
 *  7. no record                                                 adopt
 *  8. the recorded timeline does not lead here, or it was left
 *     before the confirmed position                             gap: timeline-diverged (events of lost commits were sent)
 *  9. a new timeline, and the slot stands behind the end of
 *     the old one                                               gap: slot-recreated (nobody but us moves it)
 * 10. the slot is from before the recorded one was made          gap: slot-behind (restored, or another's)
 * 11. the record is of a slot of another name, which was read
 *     further back than this one begins                         gap: slot-changed (another `legacy.slot.name`)
 * 12. otherwise                                                 resume, on a descending timeline too
 *
 * A slot behind the recorded position is no gap: PostgreSQL writes the confirmed position to disk with checkpoints only, so a crash takes
 * the slot back, and a synchronised copy on a standby lags; what was confirmed meanwhile is sent again under the same ids.
 *
 * A slot that was dropped and made anew under its name on the same timeline while no worker ran can not be told from one that moved with
 * idle WAL: PostgreSQL keeps no birth date of slots.
 */
export function classifySlot(situation: SlotSituation): SlotVerdict {
  const { observed, recorded, timelines } = situation;
  if (observed === undefined && recorded === undefined) return { status: 'fresh' };
  if (recorded !== undefined && recorded.systemId !== situation.systemId) {
    return gap(
      situation,
      'system-changed',
      `the database is another one than before (system identifier ${situation.systemId} instead of ${recorded.systemId})`,
    );
  }
  if (observed === undefined) {
    const before = recorded !== undefined && recorded.slotName !== situation.slotName ? recorded.slotName : undefined;
    const cause = before === undefined ? 'the replication slot is gone' : `there is none; ${before} was read before`;
    return gap(situation, 'slot-missing', cause);
  }
  if (observed.plugin !== 'pgoutput' || observed.database !== situation.database) {
    return { status: 'foreign', message: foreignMessage(situation.slotName, observed) };
  }
  if (observed.holder !== undefined) return { status: 'in-use', holder: observed.holder };
  if (observed.walStatus === 'lost' || observed.invalidation !== undefined || observed.confirmedLsn === undefined) {
    const reason = observed.invalidation ?? 'its WAL was removed (max_slot_wal_keep_size)';
    return gap(situation, 'slot-lost', `PostgreSQL invalidated the replication slot: ${reason}`);
  }
  const confirmedLsn = observed.confirmedLsn;
  if (recorded === undefined) return { status: 'adopt', confirmedLsn };
  if (!descendsFrom(timelines, recorded.timeline, recorded.confirmedLsn)) {
    return gap(
      situation,
      'timeline-diverged',
      `the server is on timeline ${timelines.current}, which does not hold everything that was read on timeline ${recorded.timeline}: a standby was promoted that had not received it`,
    );
  }
  const left = timelines.ended.find((ended) => ended.timeline === recorded.timeline);
  if (left !== undefined && confirmedLsn > left.end) {
    return gap(situation, 'slot-recreated', 'the replication slot was made anew after a promotion');
  }
  if (confirmedLsn < recorded.createdLsn) {
    return gap(
      situation,
      'slot-behind',
      `the replication slot stands before ${formatLsn(recorded.createdLsn)}, where ours was made: it is another one`,
    );
  }
  if (recorded.slotName !== situation.slotName && confirmedLsn > recorded.confirmedLsn) {
    return gap(
      situation,
      'slot-changed',
      `slot ${recorded.slotName} was read before, and not as far as where this one begins`,
    );
  }
  return { status: 'resume', confirmedLsn, promoted: recorded.timeline !== timelines.current };
}

function gap(situation: SlotSituation, kind: GapReport['kind'], cause: string): SlotVerdict {
  const { slotName, observed, recorded, timelines } = situation;
  const since = recorded?.updatedAt === undefined ? '' : ` (${recorded.updatedAt})`;
  const missing =
    recorded === undefined
      ? 'changes committed before a new slot is made may be missing'
      : `changes committed after ${formatLsn(recorded.confirmedLsn)}${since} may be missing`;
  return {
    status: 'gap',
    gap: {
      kind,
      subject: slotName,
      message: `slot ${slotName}: ${cause}; ${missing}`,
      report: {
        slot: slotName,
        recordedSlot: recorded?.slotName,
        systemId: situation.systemId,
        recordedSystemId: recorded?.systemId,
        timeline: timelines.current,
        recordedTimeline: recorded?.timeline,
        missingAfter: recorded === undefined ? undefined : formatLsn(recorded.confirmedLsn),
        lastSeen: recorded?.updatedAt,
        confirmedLsn: observed?.confirmedLsn === undefined ? undefined : formatLsn(observed.confirmedLsn),
        restartLsn: observed?.restartLsn === undefined ? undefined : formatLsn(observed.restartLsn),
        walStatus: observed?.walStatus,
        invalidation: observed?.invalidation,
      },
    },
  };
}

function foreignMessage(slotName: string, observed: ObservedSlot): string {
  const what =
    observed.plugin === undefined
      ? 'a physical slot'
      : observed.plugin === 'pgoutput'
        ? `one of database ${observed.database ?? '?'}`
        : `one of the plugin ${observed.plugin}`;
  return `there is a replication slot ${slotName} already, but it is ${what}`;
}
