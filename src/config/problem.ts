export type Path = readonly (string | number)[];

/** One thing that is wrong with the configuration. */
export interface Problem {
  readonly path: Path;
  /** What is wrong: the kind of a value, never the value. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string;
  /** Where the author meant to write, when a key is mistyped: that this place is missing then is the same mistake. */
  readonly meant?: Path;
}

/** `capture[1].emit[0].on`, with keys that are no plain word in brackets and quotes. */
export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[A-Za-z_$][\w$-]*$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

/** A map key for a path. */
export function pathKey(path: Path): string {
  return JSON.stringify(path);
}
