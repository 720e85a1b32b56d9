import { setTimeout as pause } from 'node:timers/promises';

/** Looks until there is something else than undefined or false. For what lives in another process and tells nobody when it changes. */
export async function eventually<T>(
  look: () => Promise<T | undefined | false> | T | undefined | false,
  complaint: () => string = () => 'what was waited for never came',
  options: { readonly timeoutMs?: number; readonly everyMs?: number } = {},
): Promise<T> {
  const deadline = performance.now() + (options.timeoutMs ?? 45_000);
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(complaint());
    await pause(options.everyMs ?? 25);
  }
}
