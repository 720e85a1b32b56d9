/** Whether a string satisfies one text operator of an event pattern. */
export type TextTest = (text: string) => boolean;

/**
 * `equals-ignore-case`, or its prefix and suffix forms. Every character of the pattern stands for its lower and its upper case
 * form, which may differ in length: `straße` takes `STRASSE`, but `strasse` does not take `straße`.
 */
export function ignoreCase(pattern: string, where: 'whole' | 'prefix' | 'suffix'): TextTest {
  const units = Array.from(pattern, (character) => [character.toLowerCase(), character.toUpperCase()] as const);
  if (where === 'suffix') {
    units.reverse();
    return (text) => endOfFold(units, { text, backwards: true }) >= 0;
  }
  if (where === 'prefix') return (text) => endOfFold(units, { text, backwards: false }) >= 0;
  return (text) => endOfFold(units, { text, backwards: false }) === text.length;
}

/** Where the last unit ends (or begins, backwards); -1 where one does not fit. */
function endOfFold(
  units: readonly (readonly [string, string])[],
  { text, backwards }: { readonly text: string; readonly backwards: boolean },
): number {
  let at = backwards ? text.length : 0;
  for (const [lower, upper] of units) {
    const fits = backwards ? text.endsWith(lower, at) : text.startsWith(lower, at);
    const unit = fits ? lower : upper;
    if (!fits && !(backwards ? text.endsWith(upper, at) : text.startsWith(upper, at))) return -1;
    at += backwards ? -unit.length : unit.length;
  }
  return at;
}

/**
 * `wildcard`: `*` stands for any run of characters, `\*` and `\\` for themselves. Returns the reason where the pattern is not
 * valid. Matching takes the leftmost place for every literal part, so it is linear in practice and never backtracks.
 */
export function wildcard(pattern: string): TextTest | { readonly invalid: string } {
  const parts: string[] = [];
  let part = '';
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at];
    if (character === '*') {
      if (pattern[at + 1] === '*') return { invalid: `Consecutive wildcard characters at pos ${at}` };
      parts.push(part);
      part = '';
    } else if (character === '\\') {
      const escaped = pattern[at + 1];
      if (escaped !== '*' && escaped !== '\\') return { invalid: `Invalid escape character at pos ${at}` };
      part += escaped;
      at++;
    } else {
      part += character;
    }
  }
  const last = part;
  const [first, ...between] = parts;
  if (first === undefined) return (text) => text === last;
  return (text) => {
    if (!text.startsWith(first)) return false;
    let at = first.length;
    for (const literal of between) {
      const found = text.indexOf(literal, at);
      if (found < 0) return false;
      at = found + literal.length;
    }
    return text.length - last.length >= at && text.endsWith(last);
  };
}
