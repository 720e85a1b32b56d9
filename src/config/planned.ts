/**
 * Options that are designed and not built yet, by the path they will have. They are refused by name, so that nobody believes that a worker
 * does what it silently ignores.
 */
export const plannedOptions: Readonly<Record<string, string>> = {
  'bus.claimCheck': 'the claim check for oversized events',
};

/** Values that are designed and not built yet, by path and word. */
export const plannedValues: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'bus.oversize': { 'claim-check': 'the claim check for oversized events' },
};
