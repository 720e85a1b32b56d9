import pg from 'pg';

/** An event as the bus took it. `time`: as the bus tells it. */
export interface Taken {
  readonly source: string;
  readonly detailType: string;
  readonly time: string;
  readonly resources: readonly string[];
  /** JSON text. */
  readonly detail: string;
}

interface Delivery {
  readonly sequence: string;
  /** All that a consumer sees of it, as one text. */
  readonly content: string;
}

interface Detail {
  readonly metadata: { id: string; sequence: string; operation: string; table: string; key: Record<string, unknown> };
  readonly data: Record<string, unknown>;
}

interface KeyEvent {
  readonly sequence: string;
  readonly operation: string;
  readonly version: unknown;
}

const ITEMS = 'shop.items:';

/** What a test expects: nothing in any list. */
export interface Verdict {
  /** Changes of the journal that the bus did not get. */
  readonly missing: readonly string[];
  /** Events of changes that never happened. */
  readonly unexpected: readonly string[];
  /** Ids that came again with another sequence or content. */
  readonly changed: readonly string[];
  /** Changes that came under two ids. */
  readonly renamed: readonly string[];
  /** First deliveries behind a later one of their key. */
  readonly outOfOrder: readonly string[];
}

export const FLAWLESS: Verdict = { missing: [], unexpected: [], changed: [], renamed: [], outOfOrder: [] };

/** What the bus accepted, in order; tells what is missing, repeated, changed in a repeat, or out of order within its key. */
export class Recorder {
  readonly #first = new Map<string, Delivery>();
  readonly #byKey = new Map<string, KeyEvent[]>();
  readonly #changed: string[] = [];
  readonly #repeated = new Set<string>();
  #repeats = 0;

  readonly accept = (event: Taken): void => {
    const { metadata, data } = JSON.parse(event.detail) as Detail;
    const { id, sequence, operation, table, key } = metadata;
    const content = JSON.stringify([event.source, event.detailType, event.time, event.resources, event.detail]);
    const known = this.#first.get(id);
    if (known !== undefined) {
      this.#repeats += 1;
      this.#repeated.add(id);
      if (known.sequence !== sequence || known.content !== content) this.#changed.push(id);
      return;
    }
    this.#first.set(id, { sequence, content });
    const lane = `${table}:${JSON.stringify(key)}`;
    const events = this.#byKey.get(lane) ?? [];
    events.push({ sequence, operation, version: data['version'] });
    this.#byKey.set(lane, events);
  };

  /** Distinct ids. */
  get events(): number {
    return this.#first.size;
  }

  /** Deliveries of an id that was there before. */
  get repeats(): number {
    return this.#repeats;
  }

  /** Ids that came more than once. */
  get repeated(): ReadonlySet<string> {
    return this.#repeated;
  }

  ids(): string[] {
    return [...this.#first.keys()];
  }

  sequenceOf(id: string): string | undefined {
    return this.#first.get(id)?.sequence;
  }

  /** Compares with `shop.journal` of the workload. A deletion in the journal is an update and a delete of the same version. */
  async verdict(url: string): Promise<Verdict> {
    const expected = expectedOf(await readJournal(url));
    const got = new Set<string>();
    const renamed: string[] = [];
    for (const [lane, events] of this.#byKey) {
      if (!lane.startsWith(ITEMS)) continue;
      const { id } = JSON.parse(lane.slice(ITEMS.length)) as { id: number };
      for (const event of events) {
        const change = `${id} ${String(event.version)} ${event.operation}`;
        if (got.has(change)) renamed.push(change);
        got.add(change);
      }
    }
    return {
      missing: [...expected].filter((change) => !got.has(change)),
      unexpected: [...got].filter((change) => !expected.has(change)),
      changed: this.#changed,
      renamed,
      outOfOrder: this.#outOfOrder(),
    };
  }

  /** By the sequence, which we say, and by the version, which the writer said. */
  #outOfOrder(): string[] {
    const found: string[] = [];
    for (const [lane, events] of this.#byKey) {
      let before: KeyEvent | undefined;
      for (const event of events) {
        if (before !== undefined && !follows(before, event)) found.push(`${lane} ${event.sequence}`);
        before = event;
      }
    }
    return found;
  }
}

function follows(before: KeyEvent, after: KeyEvent): boolean {
  return after.sequence > before.sequence && Number(after.version) >= Number(before.version);
}

interface JournalRow {
  readonly key: number;
  readonly version: number;
  readonly op: string;
}

async function readJournal(url: string): Promise<readonly JournalRow[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<JournalRow>('select key, version, op from shop.journal')).rows;
  } finally {
    await client.end();
  }
}

function expectedOf(journal: readonly JournalRow[]): ReadonlySet<string> {
  const expected = new Set<string>();
  for (const { key, version, op } of journal) {
    if (op === 'delete') expected.add(`${key} ${version} update`);
    expected.add(`${key} ${version} ${op}`);
  }
  return expected;
}
