import type { Reverse } from '../config/reverse-schema.ts';
import type { Finding } from '../core/finding.ts';
import { displayName } from '../postgres/identifier.ts';
import type { Target } from './intent.ts';

/** What an entry does without: order, knowledge of the other side, or the stream that shows its writes. None of it keeps the worker from running. */
export function guardFindings(
  targets: readonly Target[],
  context: {
    readonly reverse: Reverse;
    /** OIDs of the tables of `capture`. */ readonly captured: ReadonlySet<number>;
  },
): Finding[] {
  return targets.flatMap((target) => {
    const isCaptured = context.captured.has(target.table.oid);
    return [
      ...versionFindings(target, context.reverse),
      ...conflictFindings(target, isCaptured),
      ...(isCaptured ? [] : [notCaptured(target)]),
    ];
  });
}

function at(target: Target, option?: string): Pick<Finding, 'subject' | 'path'> {
  const path = `reverse.apply[${target.entry}]`;
  return { subject: displayName(target.table), path: option === undefined ? path : `${path}.${option}` };
}

function versionFindings(target: Target, reverse: Reverse): Finding[] {
  if (reverse.apply[target.entry]?.version !== undefined) return [];
  return [
    {
      code: 'REVERSE_WITHOUT_VERSION',
      severity: 'warning',
      ...at(target),
      message:
        'no `version`: EventBridge and SQS keep no order, and an older event that comes late overwrites a newer one',
      remedy: 'version: detail.version  # a number or time of the event that grows with every change of the row',
    },
  ];
}

/** What of `decide` never says conflict, or always. */
function conflictFindings(target: Target, isCaptured: boolean): Finding[] {
  const { operation, hasBasedOn, expect, conflict } = target;
  if (operation === 'insert') return [];
  if (hasBasedOn && !isCaptured) {
    return [
      {
        code: 'REVERSE_BASED_ON_UNKNOWN',
        severity: 'error',
        ...at(target, 'basedOn'),
        message: `no entry of \`capture\` takes ${displayName(target.table)}, so nobody knows its last change: every \`basedOn\` passes, and what the other side wrote is overwritten`,
        remedy: `capture: [{ table: ${displayName(target.table)} }]  # or \`expect\` in place of \`basedOn\``,
      },
    ];
  }
  if (hasBasedOn || expect.length > 0) return [];
  const kind = operation === 'delete' ? 'delete_origin_differs' : 'update_origin_differs';
  const outcome = {
    stage: 'while legacy is primary it is refused, and so is the first event for each row that legacy made',
    'legacy-wins': 'it is refused, and so is the first event for each row that legacy made',
    'new-wins': 'it overwrites the row, and a conflict is recorded',
    park: 'it waits for a person, and so does the first event for each row that legacy made',
  }[conflict];
  return [
    {
      code: 'REVERSE_CONFLICTS_UNTOLD',
      severity: 'warning',
      ...at(target),
      message: `neither \`basedOn\` nor \`expect\`: ${kind} can not be told from a change that the producer knew. An event for a row that legacy has changed since our last write counts as a conflict: ${outcome}`,
      remedy: 'basedOn: detail.basedOn  # the last metadata.sequence of the row that the producer had seen',
    },
  ];
}

function notCaptured(target: Target): Finding {
  return {
    code: 'REVERSE_NOT_CAPTURED',
    severity: 'warning',
    ...at(target, 'table'),
    message: `no entry of \`capture\` takes ${displayName(target.table)}: its stream shows no echoes, and no correction or refusal reaches the producer, so that the two sides stay different where legacy wins or changes what was meant`,
    remedy: `capture: [{ table: ${displayName(target.table)} }]`,
  };
}
