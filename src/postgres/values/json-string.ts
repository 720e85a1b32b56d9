/** Above this length the engine's compiled pattern beats a loop (measured on Node.js 24). */
const LOOP_LENGTH = 32;

// oxlint-disable-next-line no-control-regex -- JSON forbids exactly these inside a string
const mustEscape = /["\\\u0000-\u001f]/;

/** Text as a JSON string, quotes included: `JSON.stringify(text)`, faster where nothing has to be escaped. */
export function jsonString(text: string): string {
  const length = text.length;
  if (length > LOOP_LENGTH) return mustEscape.test(text) ? JSON.stringify(text) : `"${text}"`;
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code === 0x22 || code === 0x5c) return JSON.stringify(text);
  }
  return `"${text}"`;
}
