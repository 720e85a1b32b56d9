const EVERY_MS = 60_000;

/** The first time at once, then not more than once a minute: for what may come with every change. */
export function seldom(say: (facts: object) => void): (facts: object) => void {
  let last = -Infinity;
  return (facts) => {
    const now = performance.now();
    if (now - last < EVERY_MS) return;
    last = now;
    say(facts);
  };
}
