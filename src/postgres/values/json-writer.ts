import { BanyanError } from '../../core/errors.ts';
import type { PgType, TypeCatalog } from '../type-catalog.ts';
import { arrayWriter } from './array-text.ts';
import { compositeWriter } from './composite-text.ts';
import { hstoreWriter } from './hstore-text.ts';
import { jsonString } from './json-string.ts';
import { scalarWriter, type JsonWriter, type NumbersOption } from './scalars.ts';

export interface JsonWriterOptions {
  readonly types: TypeCatalog;
  readonly numbers: NumbersOption;
}

/**
 * The function from PostgreSQL's text form of a type to JSON text; built once per column, pure, and as fast as the type
 * allows. The JSON is what `to_jsonb` gives at `TimeZone=UTC`, with two differences: with `numbers: 'text'` bigint and
 * numeric are strings, also inside arrays, rows and domains; json and jsonb pass through as they are.
 *
 * The session that sent the text has DateStyle=ISO, IntervalStyle=postgres, TimeZone=UTC, bytea_output=hex,
 * extra_float_digits=1, lc_monetary=C. A type that the catalog does not know becomes a string of its text. Throws
 * `schema-drift` on a row or array whose text does not fit the catalog: the type was altered after it was loaded.
 */
export function jsonWriter(typeOid: number, options: JsonWriterOptions): JsonWriter {
  const oid = options.types.baseOf(typeOid);
  const type = options.types.get(oid);
  switch (type?.kind) {
    case 'array':
      return arrayOf(type, options);
    case 'composite':
      return compositeWriter(
        (type.fields ?? []).map((field) => ({ name: field.name, write: jsonWriter(field.typeOid, options) })),
        () => drift(type, 'a row'),
      );
    case 'base':
      if (type.name === 'hstore' && type.jsonCast) return hstoreWriter(() => drift(type, 'an hstore'));
      return scalarWriter(oid, options.numbers);
    // Enums, ranges and multiranges are strings of their text; what the catalog does not know is judged by its OID alone.
    default:
      return scalarWriter(oid, options.numbers);
  }
}

function arrayOf(type: PgType, options: JsonWriterOptions): JsonWriter {
  if (type.elementOid === undefined) return jsonString;
  const delimiter = options.types.get(type.elementOid)?.delimiter ?? type.delimiter;
  return arrayWriter(jsonWriter(type.elementOid, options), { delimiter, malformed: () => drift(type, 'an array') });
}

function drift(type: PgType, what: string): BanyanError {
  return new BanyanError(
    'schema-drift',
    `a value of type ${type.schema}.${type.name} does not read as ${what} of that type: the type was altered after the worker loaded it`,
    {
      context: { type: `${type.schema}.${type.name}`, typeOid: type.oid },
      remedy: 'restart the worker, which loads the types anew, then `banyan dead-letters redrive --table TABLE`',
    },
  );
}
