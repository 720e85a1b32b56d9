import { type Config, isTableCapture, type MessageCapture, type TableCapture } from '../config/schema.ts';
import type { MessageChange, Relation, TableChange } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import { type Event, eventRange, type StreamIdentity } from '../core/event.ts';
import { storeUnmappedChange } from '../mapping/change-text.ts';
import { compileMapper } from '../mapping/compile.ts';
import type { ContractSet } from '../mapping/contract.ts';
import type { Mapper } from '../mapping/mapper.ts';
import { mapMessage } from '../mapping/message.ts';
import { stageEvent } from '../mapping/stage-event.ts';
import type { TransformSet } from '../mapping/transform.ts';
import type { StageMessage } from '../postgres/apply-tag.ts';
import type { ResolvedEntry } from '../postgres/catalog.ts';
import { catalogRelation } from '../postgres/catalog-relation.ts';
import type { CatalogTable } from '../postgres/table.ts';
import type { TypeCatalog } from '../postgres/type-catalog.ts';

/** What of the configuration's capture part was loaded from files, once per worker. */
export interface MappingFiles {
  readonly transforms: TransformSet;
  readonly contracts: ContractSet;
}

export interface MapperFactoryOptions {
  readonly config: Config;
  readonly files: MappingFiles;
  readonly identity: StreamIdentity;
  readonly entries: readonly ResolvedEntry[];
  /** `server_version_num`: which generated columns the stream has. */
  readonly versionNumber: number;
  readonly types: () => TypeCatalog;
}

interface CapturedTable {
  readonly table: CatalogTable;
  readonly entries: { readonly index: number; readonly entry: TableCapture }[];
}

/** Makes the mappers of a table for one of its shapes, and knows which entries capture it. */
export class MapperFactory {
  readonly #options: MapperFactoryOptions;
  readonly #byOid = new Map<number, CapturedTable>();
  readonly #messages: readonly MessageCapture[];

  constructor(options: MapperFactoryOptions) {
    this.#options = options;
    this.#messages = options.config.capture.flatMap((entry) => (isTableCapture(entry) ? [] : [entry]));
    for (const { index, entry, tables } of options.entries) {
      for (const table of tables) {
        const captured = this.#byOid.get(table.oid) ?? { table, entries: [] };
        captured.entries.push({ index, entry });
        this.#byOid.set(table.oid, captured);
      }
    }
  }

  get identity(): StreamIdentity {
    return this.#options.identity;
  }

  get captured(): readonly CapturedTable[] {
    return [...this.#byOid.values()];
  }

  /** undefined: no entry captures the relation. Throws `schema-drift` where an entry names what it does not have. */
  compile(relation: Relation): readonly Mapper[] | undefined {
    const captured = this.#byOid.get(relation.oid);
    if (captured === undefined) return undefined;
    const { config, files, identity, types } = this.#options;
    return captured.entries.map(({ index, entry }, position) => {
      refuseLostSecret(entry, { index, relation });
      return compileMapper({
        name: config.name,
        entry,
        entryIndex: index,
        relation,
        primaryKey: captured.table.primaryKey,
        types: types(),
        maskKey: config.maskKey,
        identity,
        range: eventRange(position, captured.entries.length),
        transform: entry.transform === undefined ? undefined : files.transforms.get(entry.transform),
        contracts: files.contracts,
      });
    });
  }

  /**
   * As `compile`, for the shape that the table has now: for what comes out of `dead_letter`. `streamed` is the one that the stream showed
   * last, which is newer than the catalog was when the session began.
   */
  compileNow(tableName: string, streamed?: Relation): readonly Mapper[] {
    const captured = this.captured.find(({ table }) => `${table.schema}.${table.name}` === tableName);
    const shape =
      streamed ?? (captured === undefined ? undefined : catalogRelation(captured.table, this.#options.versionNumber));
    const mappers = shape === undefined ? undefined : this.compile(shape);
    if (mappers === undefined) throw new BanyanError('schema-drift', `${tableName} is not captured any more`);
    return mappers;
  }

  /** The raw change for each entry of its table, for a table that is held. */
  serialize(change: TableChange): { entry: number; text: string }[] {
    const entries = this.#byOid.get(change.relation.oid)?.entries ?? [];
    const { maskKey } = this.#options.config;
    return entries.map(({ index, entry }) => ({ entry: index, text: storeUnmappedChange(change, entry, { maskKey }) }));
  }

  holdLimitOf(tableName: string): { rows: number; bytes: number } {
    const captured = this.captured.find(({ table }) => `${table.schema}.${table.name}` === tableName);
    const limits = (captured?.entries ?? []).map(({ entry }) => entry.holdLimit);
    return {
      rows: Math.max(0, ...limits.map(({ rows }) => rows)),
      bytes: Math.max(0, ...limits.map(({ bytes }) => bytes)),
    };
  }

  /** undefined: nobody asked for messages of this prefix. Throws `mapping-failed`. */
  mapMessage(change: MessageChange): Event | undefined {
    const capture = this.#messages.find(({ messages }) => messages === change.prefix);
    if (capture === undefined) return undefined;
    return mapMessage(change, { name: this.#options.config.name, capture, identity: this.#options.identity });
  }

  /** Of a table that was moved, captured or not. */
  stageEvent(message: StageMessage, change: MessageChange): Event {
    return stageEvent(message, { change, name: this.#options.config.name, identity: this.#options.identity });
  }
}

/**
 * A column that is to be masked or left out and is no longer there may have been renamed: its values would then be set aside in the clear
 * with the rest of the held table. So this halts instead; the slot keeps what was not read.
 */
function refuseLostSecret(entry: TableCapture, place: { index: number; relation: Relation }): void {
  const present = new Set(place.relation.columns.map(({ name }) => name));
  const masked = [entry.detail, ...(entry.emit ?? []).map(({ detail }) => detail)]
    .flatMap((detail) => Object.values(detail ?? {}))
    .flatMap((field) =>
      typeof field === 'object' && 'column' in field && field.mask !== undefined ? [field.column] : [],
    );
  const lost = [...(entry.columnList ? [] : entry.exclude), ...Object.keys(entry.mask), ...masked].find(
    (name) => !present.has(name),
  );
  if (lost === undefined) return;
  const table = `${place.relation.schema}.${place.relation.name}`;
  throw new BanyanError(
    'preflight',
    `capture[${place.index}] excludes or masks ${lost} of ${table}, which has no such column (any more): it may have been renamed, and would leave in the clear`,
    {
      context: { table, column: lost },
      remedy: `name the column as it is called now in capture[${place.index}], then restart`,
    },
  );
}
