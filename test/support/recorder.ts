import pg from 'pg';

interface Delivery {
  readonly sequence: string;
  readonly detail: string;
}

interface Detail {
  readonly metadata: { id: string; sequence: string; operation: string; table: string; key: Record<string, unknown> };
  readonly data: Record<string, unknown>;
}

/** What the bus accepted, in order; tells what is missing, repeated, changed in a repeat, or out of order within its key. */
export class Recorder {
  readonly #first = new Map<string, Delivery>();
  readonly #byKey = new Map<string, { sequence: string; operation: string; version: unknown }[]>();
  repeats = 0;
  readonly changedRepeats: string[] = [];

  /** Takes the detail of one accepted event. */
  accept(detailText: string): void {
    const detail = JSON.parse(detailText) as Detail;
    const { id, sequence, operation, table, key } = detail.metadata;
    const known = this.#first.get(id);
    if (known !== undefined) {
      this.repeats += 1;
      if (known.sequence !== sequence || known.detail !== detailText) this.changedRepeats.push(id);
      return;
    }
    this.#first.set(id, { sequence, detail: detailText });
    const lane = `${table}:${JSON.stringify(key)}`;
    const events = this.#byKey.get(lane) ?? [];
    events.push({ sequence, operation, version: detail.data['version'] });
    this.#byKey.set(lane, events);
  }

  get events(): number {
    return this.#first.size;
  }

  ids(): string[] {
    return [...this.#first.keys()];
  }

  sequenceOf(id: string): string | undefined {
    return this.#first.get(id)?.sequence;
  }

  /** First deliveries of one key whose sequence is lower than that of one before it. */
  outOfOrder(): string[] {
    const found: string[] = [];
    for (const [lane, events] of this.#byKey) {
      for (let index = 1; index < events.length; index += 1) {
        const [before, after] = [events[index - 1], events[index]];
        if (before !== undefined && after !== undefined && after.sequence <= before.sequence)
          found.push(`${lane} ${after.sequence}`);
      }
    }
    return found;
  }

  /**
   * Changes that the workload's journal holds and the bus did not get, and events that the journal does not know. A deletion in the
   * journal is an update and a delete of the same version.
   */
  async compareWithJournal(url: string): Promise<{ missing: string[]; unexpected: string[]; expected: number }> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      const journal = await client.query<{ key: number; version: number; op: string }>(
        'select key, version, op from shop.journal',
      );
      const expected = new Set<string>();
      for (const { key, version, op } of journal.rows) {
        if (op === 'delete') expected.add(`${key} ${version} update`);
        expected.add(`${key} ${version} ${op}`);
      }
      const got = new Set<string>();
      for (const [lane, events] of this.#byKey) {
        if (!lane.startsWith('shop.items:')) continue;
        const key = (JSON.parse(lane.slice('shop.items:'.length)) as { id: number }).id;
        for (const event of events) got.add(`${key} ${String(event.version)} ${event.operation}`);
      }
      return {
        missing: [...expected].filter((change) => !got.has(change)),
        unexpected: [...got].filter((change) => !expected.has(change)),
        expected: expected.size,
      };
    } finally {
      await client.end();
    }
  }
}
