/** One thing that `check` (or the worker) found, with the exact statement that mends it. */
export interface Finding {
  /** Stable, upper snake case: `REPLICA_IDENTITY_MISSING`. */
  readonly code: string;
  readonly severity: 'error' | 'warning' | 'info';
  /** What it is about: a table, `server`, `bus`, `slot banyan_shop`. */
  readonly subject: string;
  /** Where in the configuration, where it comes from there: `capture[0].emit[1].when`. */
  readonly path?: string;
  readonly message: string;
  /** SQL, IAM JSON, or a sentence: what to do, ready to be pasted. */
  readonly remedy?: string;
}
