import type { NewReverseLetter } from './reverse-letter-row.ts';
import type { StateScope } from './scope.ts';

const INSERT = `
  insert into {dead_letter} as known (
    connector, direction, event_id, entry, group_key, table_name, sequence,
    kind, code, message, behind, waits_until, event)
  select $1, 'reverse', event_id, entry, group_key, table_name, sequence, kind, code, message, behind,
    now() + wait_ms * interval '1 millisecond', event
  from unnest($2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::boolean[], $11::float8[], $12::text[])
    as letter(event_id, entry, group_key, table_name, sequence, kind, code, message, behind, wait_ms, event)
  on conflict (connector, direction, event_id, entry) do update set`;

/** One that was settled is as new: its event has come again, and the inbox does not know it as done. */
const reopened = (columns: readonly string[]): string =>
  [
    `status = 'parked', settled_at = null`,
    ...columns.map(
      (column) => `${column} = case known.status when 'parked' then known.${column} else excluded.${column} end`,
    ),
  ].join(', ');

/**
 * What a held table's redrive could not apply holds its own lane from then on; what turns out to have to wait for its table waits with it. A waiting letter that fails
 * for another reason than something missing waits for a person; one that waits for a person goes on doing so, and one that waited behind another begins to wait.
 * `$13`: it is tried again, and did not come again: then it is not reopened.
 */
export const PARK_ONE = `${INSERT}
    ${reopened(['table_name', 'sequence', 'event', 'parked_at'])},
    kind = excluded.kind, code = excluded.code, message = excluded.message, behind = false,
    group_key = case
      when known.status <> 'parked' or starts_with(known.group_key, 'table:') or starts_with(excluded.group_key, 'table:')
        then excluded.group_key
      else known.group_key end,
    waits_until = case
      when excluded.waits_until is null then null
      when known.status <> 'parked' or known.behind or starts_with(known.group_key, 'table:') then excluded.waits_until
      else known.waits_until end
  where known.status = 'parked' or not $13::boolean returning id`;

export const PARK = `${INSERT}
    ${reopened(['group_key', 'table_name', 'sequence', 'kind', 'code', 'message', 'behind', 'waits_until', 'event', 'parked_at'])}`;

/** Arrays by column: `$2` to `$12` of both statements. */
export function letterParameters(scope: StateScope, letters: readonly NewReverseLetter[]): unknown[] {
  const column = <Value>(value: (letter: NewReverseLetter) => Value | undefined) =>
    letters.map((letter) => value(letter) ?? null);
  return [
    column((letter) => scope.storableJson(storable(letter.eventId))),
    column((letter) => letter.entry),
    column((letter) => letter.group),
    column((letter) => letter.table),
    column((letter) => letter.sequence),
    column((letter) => letter.kind),
    column((letter) => letter.code),
    column((letter) => scope.storableText(letter.message)),
    column((letter) => letter.behind),
    column((letter) => letter.waitForMs),
    column((letter) => scope.storableJson(storable(letter.event))),
  ];
}

/** PostgreSQL's text holds anything but NUL, which is in no JSON; a body that is none may have it. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD');
}
