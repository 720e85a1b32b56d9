import { configSchema } from '../../src/config/schema.ts';
import { compilePattern } from '../../src/core/pattern.ts';
import type { CatalogTable } from '../../src/postgres/table.ts';
import { TypeCatalog, type PgType } from '../../src/postgres/type-catalog.ts';
import { typeOid } from '../../src/postgres/values/type-oids.ts';
import type { CompiledEntry } from '../../src/reverse/compile.ts';
import { decodeEnvelope } from '../../src/reverse/envelope.ts';
import type { Intent } from '../../src/reverse/intent.ts';
import { reverseMapper } from '../../src/reverse/mapper.ts';
import { analyseTarget } from '../../src/reverse/target.ts';

const TEXT_ARRAY = 1009;
const COLUMNS = {
  id: typeOid.int8,
  shop: typeOid.text,
  status: typeOid.text,
  total: typeOid.numeric,
  paid: typeOid.bool,
  doc: typeOid.jsonb,
  at: typeOid.timestamptz,
  tags: TEXT_ARRAY,
} as const;

const scalar = (oid: number): PgType => {
  const name = Object.entries(typeOid).find(([, known]) => known === oid)?.[0] ?? '';
  return { oid, schema: 'pg_catalog', name, kind: 'base', delimiter: ',', category: 'U', jsonCast: false };
};
const types = TypeCatalog.of([
  ...Object.values(typeOid).map(scalar),
  { ...scalar(TEXT_ARRAY), name: '_text', kind: 'array', elementOid: typeOid.text },
]);

/** `public.orders`, found by its id or by shop and id. */
const table: CatalogTable = {
  oid: 16_384,
  schema: 'public',
  name: 'orders',
  kind: 'table',
  root: undefined,
  owner: 'shop',
  owned: true,
  replicaIdentity: 'default',
  identityColumns: ['id'],
  primaryKey: ['id'],
  columns: Object.entries(COLUMNS).map(([name, oid]) => ({
    name,
    typeOid: oid,
    typeModifier: -1,
    typeName: types.get(oid)?.name ?? '',
    notNull: name === 'id',
    generated: undefined,
  })),
  attributes: Object.keys(COLUMNS).length,
};

/** An entry of `reverse.apply` that sets the status of an order, changed as a test says, compiled without a server. */
export function compiledEntry(changes: Record<string, unknown> = {}, index = 0): CompiledEntry {
  const { reverse } = configSchema.parse({
    name: 'shop',
    legacy: { url: 'unused' },
    capture: [{ table: 'public.orders' }],
    reverse: {
      queue: 'unused',
      apply: [
        {
          match: { source: ['shop'] },
          table: 'public.orders',
          operation: 'update',
          key: { id: 'detail.id' },
          set: { status: 'detail.status' },
          ...changes,
        },
      ],
    },
  });
  const [entry] = reverse?.apply ?? [];
  if (entry === undefined) throw new Error('no entry');
  const facts = {
    relations: [],
    tables: new Map(),
    uniqueKeys: new Map([[table.oid, [['id']]]]),
    identities: new Map(),
    looseCollations: new Map(),
    looseTypes: new Set<number>(),
    types,
    comparable: new Set(Object.values(typeOid)),
    castTypes: new Map(Object.values(COLUMNS).map((oid) => [oid, types.get(oid)?.name ?? ''])),
  };
  const { plan, findings } = analyseTarget(entry, { index, table, facts });
  return { index, pattern: compilePattern(entry.match), table: 'public.orders', plan, findings };
}

export function eventBody(detail: unknown, more: object = {}): string {
  const time = '2026-03-01T12:00:00Z';
  return JSON.stringify({ id: 'envelope-1', source: 'shop', 'detail-type': 'Changed', time, detail, ...more });
}

/** What one entry makes of one event. */
export function intentOf(changes: Record<string, unknown>, body: string): Intent {
  const entry = compiledEntry(changes);
  if (entry.findings.length > 0) throw new Error(JSON.stringify(entry.findings));
  const [intent] = reverseMapper([entry]).map(decodeEnvelope(body));
  if (intent === undefined) throw new Error('no entry takes the event');
  return intent;
}
