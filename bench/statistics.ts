/** Middle value; the mean of the two middle ones where their number is even. Throws on an empty list. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear between the two nearest values, as `percentile_cont` does. `share` is 0 to 1. Throws on an empty list. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)];
  const above = sorted[Math.ceil(at)];
  if (below === undefined || above === undefined) throw new RangeError('a quantile of no values');
  return below + (above - below) * (at - Math.floor(at));
}

/** Three significant digits are what such a measurement is worth; fewer where the number is small. */
export function rounded(value: number): number {
  return value >= 1_000 ? Math.round(value) : Number(value.toPrecision(3));
}

/**
 * Runs both in turns (a b a b …), so that a machine that grows slower or faster meanwhile does so for both. What warms up caches is thrown away.
 */
export async function alternate<A, B>(
  turns: { runs: number; warmUps: number },
  sides: { a: () => Promise<A>; b: () => Promise<B> },
): Promise<{ a: readonly A[]; b: readonly B[] }> {
  const as: A[] = [];
  const bs: B[] = [];
  for (let turn = -turns.warmUps; turn < turns.runs; turn += 1) {
    const a = await sides.a();
    const b = await sides.b();
    if (turn < 0) continue;
    as.push(a);
    bs.push(b);
  }
  return { a: as, b: bs };
}
