const CIRCLE = 1n << 32n;
const HALF = 1n << 31n;

/** `pg_current_snapshot()`. Its ids have 64 bits, the stream's are the low 32 of them: those are compared within half the circle. */
export class Snapshot {
  readonly xmin: bigint;
  readonly xmax: bigint;
  readonly #running: ReadonlySet<number>;

  /** @param text `xmin:xmax:xip,xip,…` */
  static parse(text: string): Snapshot {
    const [xmin = '', xmax = '', list = ''] = text.split(':');
    const running = list === '' ? [] : list.split(',').map((xid) => Number(BigInt(xid) % CIRCLE));
    return new Snapshot(BigInt(xmin), BigInt(xmax), new Set(running));
  }

  private constructor(xmin: bigint, xmax: bigint, running: ReadonlySet<number>) {
    this.xmin = xmin;
    this.xmax = xmax;
    this.#running = running;
  }

  /** Whether a transaction still runs, or has not begun, to this snapshot: its rows are not in what was read under it. */
  isInvisible(xid: number): boolean {
    return this.#running.has(xid) || !isBefore(xid, this.xmax);
  }

  /** Whether it has ended for every later snapshot too. */
  isOver(xid: number): boolean {
    return isBefore(xid, this.xmin);
  }
}

function isBefore(xid: number, limit: bigint): boolean {
  const distance = (limit - BigInt(xid)) & (CIRCLE - 1n);
  return distance !== 0n && distance < HALF;
}
