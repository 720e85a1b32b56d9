// The part between the marks is printed in docs/consuming.md; test/unit/reference-consumer.test.ts compares the two.

// docs: begin
export type Row = Readonly<Record<string, unknown>>;

/** The `detail` of an event, as far as a copy of the table needs it. */
export interface Detail {
  readonly metadata: {
    readonly sequence: string;
    readonly operation: string;
    readonly table: string;
    readonly key?: Row;
    readonly previousKey?: Row;
    readonly unavailable?: readonly string[];
  };
  readonly data: Row;
  readonly previous?: Row;
}

/** What one event says of one row. */
interface Version {
  readonly sequence: string;
  /** undefined: from here on the row is not there. */
  readonly data: Row | undefined;
  /** Where this row's older versions are, if `data` leaves something out: in the row itself, or in the one that it was before its key changed. */
  readonly olderIn: string | undefined;
}

class Table {
  /** By key; versions of a row from the oldest to the newest. */
  readonly rows = new Map<string, Version[]>();
  /** Of the newest truncate or sweep: what is older is gone, in every row. */
  cut = '';
  readonly started = new Map<unknown, string>();
  readonly completed = new Set<unknown>();
}

/** A copy of the captured tables, from events in any order and any number of times. */
export class ReferenceConsumer {
  readonly #tables = new Map<string, Table>();

  apply({ metadata, data, previous }: Detail): void {
    const { sequence, operation, key = {}, previousKey, unavailable = [] } = metadata;
    const table = this.#tables.get(metadata.table) ?? new Table();
    this.#tables.set(metadata.table, table);
    // Without a key, a row is what is in it.
    const isKeyless = Object.keys(key).length === 0;
    const row = JSON.stringify(isKeyless ? data : key);
    if (operation === 'truncate') cut(table, sequence);
    else if (operation === 'backfill') noteRun(table, sequence, data);
    else if (operation === 'delete') put(table, row, { sequence, data: undefined, olderIn: undefined });
    else if (operation === 'insert' || operation === 'update' || operation === 'read') {
      const was = isKeyless ? previous : previousKey;
      const old = was === undefined ? row : JSON.stringify(was);
      // First the old row, then the new one: they may be the same, and then the row is there.
      if (was !== undefined) put(table, old, { sequence, data: undefined, olderIn: undefined });
      put(table, row, { sequence, data, olderIn: unavailable.length === 0 ? undefined : old });
    }
  }

  rows(name: string): Row[] {
    const table = this.#tables.get(name) ?? new Table();
    return [...table.rows.keys()].map((row) => contentOf(table, row)).filter((content) => content !== undefined);
  }
}

/** The newest version counts. What it leaves out, the next older one fills in, down to one that leaves nothing out or to the row's beginning. */
function contentOf(table: Table, newest: string): Row | undefined {
  let row = newest;
  let before = '~'; // sorts behind every sequence
  let content: Row | undefined;
  for (;;) {
    const version = table.rows.get(row)?.findLast(({ sequence }) => sequence < before);
    if (version?.data === undefined || version.sequence < table.cut) return content;
    content = { ...version.data, ...content };
    if (version.olderIn === undefined) return content;
    row = version.olderIn;
    before = version.sequence;
  }
}

function put(table: Table, row: string, version: Version): void {
  const versions = table.rows.get(row) ?? [];
  table.rows.set(row, versions);
  const at = versions.findLastIndex(({ sequence }) => sequence <= version.sequence);
  if (versions[at]?.sequence === version.sequence) versions[at] = version;
  else versions.splice(at + 1, 0, version);
}

function cut(table: Table, sequence: string): void {
  if (sequence > table.cut) table.cut = sequence;
}

/** A sweep needs both events of the run, in whatever order they come. A run over some of the rows says nothing about the others. */
function noteRun(table: Table, sequence: string, { run, rows, where, partition }: Row): void {
  if (where !== undefined || partition !== undefined) return;
  if (rows === undefined) table.started.set(run, sequence);
  else table.completed.add(run);
  const started = table.started.get(run);
  if (started !== undefined && table.completed.has(run)) cut(table, started);
}
// docs: end
