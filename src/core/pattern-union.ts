/** An EventBridge pattern as it is written. */
export type PatternJson = Readonly<Record<string, unknown>>;

/**
 * One pattern that takes what any of these takes. Patterns that differ in the values of one field become one with all of its values, since a rule's pattern
 * may not be long; what is left is tied by `$or`.
 */
export function unionOf(patterns: readonly PatternJson[]): PatternJson {
  let united = [...patterns];
  for (;;) {
    const shorter = uniteTwo(united);
    if (shorter === undefined) break;
    united = shorter;
  }
  const [only] = united;
  return united.length === 1 && only !== undefined ? only : { $or: united };
}

function uniteTwo(patterns: readonly PatternJson[]): PatternJson[] | undefined {
  for (const [index, first] of patterns.entries()) {
    for (const [offset, second] of patterns.slice(index + 1).entries()) {
      const both = unite(first, second);
      if (both !== undefined) return patterns.with(index, both).toSpliced(index + 1 + offset, 1);
    }
  }
  return undefined;
}

/** undefined: they differ in more than the values of one field. */
function unite(first: PatternJson, second: PatternJson): PatternJson | undefined {
  const names = Object.keys(first);
  if (!isSame(names.toSorted(), Object.keys(second).toSorted())) return undefined;
  const [different, ...more] = names.filter((name) => !isSame(first[name], second[name]));
  if (different === undefined) return first;
  if (more.length > 0) return undefined;
  const values = uniteValues(first[different], second[different]);
  return values === undefined ? undefined : { ...first, [different]: values };
}

function uniteValues(first: unknown, second: unknown): unknown {
  if (Array.isArray(first) && Array.isArray(second)) {
    const known: readonly unknown[] = first;
    const added = (second as unknown[]).filter((value) => !known.some((each) => isSame(each, value)));
    return [...known, ...added];
  }
  return isObject(first) && isObject(second) ? unite(first, second) : undefined;
}

function isObject(value: unknown): value is PatternJson {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Of JSON; the order of an object's members says nothing. */
function isSame(first: unknown, second: unknown): boolean {
  if (Array.isArray(first) && Array.isArray(second)) {
    const others: readonly unknown[] = second;
    return first.length === others.length && first.every((value, index) => isSame(value, others[index]));
  }
  if (!isObject(first) || !isObject(second)) return first === second;
  const names = Object.keys(first);
  return (
    names.length === Object.keys(second).length &&
    names.every((name) => Object.hasOwn(second, name) && isSame(first[name], second[name]))
  );
}
