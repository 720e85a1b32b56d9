/** Text from outside, for a terminal: control characters and those that turn the direction of writing become their escapes, so that it can not write over anything. */
export function shown(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}]/gu,
    (unit) => `\\u${(unit.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}
