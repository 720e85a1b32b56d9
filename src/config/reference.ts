import { nearest } from '../core/nearest.ts';
import type { Path } from './problem.ts';

/** What an event has at its top, in EventBridge's words. */
export const ENVELOPE_FIELDS: readonly string[] = [
  'version',
  'id',
  'detail-type',
  'source',
  'account',
  'time',
  'region',
  'resources',
  'detail',
  'replay-name',
];

export type ParsedReference =
  | { readonly ok: true; readonly path: Path }
  | { readonly ok: false; readonly message: string; readonly remedy: string };

const EXAMPLES = 'write a path such as `detail.orderId`, `time`, `detail.lines[0].sku` or `detail["unit price"]`';

/**
 * Reads a reference into an event: names with dots between them, `[0]` for an element of a list, `["a.b"]` for a name that holds dots, brackets
 * or spaces: the form that messages print paths in.
 */
export function parseReference(text: string): ParsedReference {
  const path: (string | number)[] = [];
  // One step at the place where the last one ended.
  const step = /(\.?)([^\s.[\]"]+)|\[(0|[1-9]\d{0,8})\]|\[("(?:[^"\\]|\\.)*")\]/y;
  while (step.lastIndex < text.length) {
    const at = step.lastIndex;
    const match = step.exec(text);
    const [, dot, name, index, quoted] = match ?? [];
    const isFirst = path.length === 0;
    if (match === null || (name === undefined ? isFirst : isFirst === (dot === '.'))) {
      return { ok: false, message: `not a path in an event, at character ${at + 1}`, remedy: EXAMPLES };
    }
    if (name !== undefined) path.push(name);
    else if (index !== undefined) path.push(Number(index));
    else {
      const unquoted = quoted === undefined ? undefined : parseName(quoted);
      if (unquoted === undefined) {
        return { ok: false, message: `not a quoted name, at character ${at + 1}`, remedy: EXAMPLES };
      }
      path.push(unquoted);
    }
  }
  const [first] = path;
  if (typeof first === 'string' && ENVELOPE_FIELDS.includes(first)) return { ok: true, path };
  const near = nearest(String(first), ENVELOPE_FIELDS);
  const remedy =
    near === undefined
      ? `begin with \`detail.\`, or with one of ${ENVELOPE_FIELDS.join(', ')}`
      : `did you mean \`${near}\`?`;
  return { ok: false, message: 'a path that begins with none of the fields of an event', remedy };
}

function parseName(quoted: string): string | undefined {
  try {
    const name: unknown = JSON.parse(quoted);
    return typeof name === 'string' ? name : undefined;
  } catch {
    return undefined;
  }
}
