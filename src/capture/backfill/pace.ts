/** How long a chunk may take from its low mark to the last settled event; the next one gets as many rows as fit. */
const CHUNK_SECONDS = 0.5;
const FIRST_ROWS = 500;
const MIN_ROWS = 100;
/** More rows at once go no faster, and keep more of them in memory. */
const MAX_ROWS = 40_000;
/** From one chunk to the next: what is much more at once may also take much longer a row. */
const MAX_GROWTH = 4;

/** How many rows a chunk may have, by how long those before it took. */
export class Pace {
  rows = FIRST_ROWS;

  /** What nothing came of says nothing about how long it takes. */
  adapt(rows: number, seconds: number): void {
    if (rows === 0 || seconds <= 0) return;
    const wanted = Math.round((rows / seconds) * CHUNK_SECONDS);
    this.rows = Math.max(MIN_ROWS, Math.min(MAX_ROWS, wanted, MAX_GROWTH * Math.max(rows, MIN_ROWS)));
  }
}
