/** One column type and the values that a change-data-capture connector gets wrong first. */
export interface TypeCase {
  /** Fits into a table's name. */
  readonly name: string;
  /** The column's type as in CREATE TABLE, after `typeCasesSetup` ran. */
  readonly type: string;
  /** SQL expressions that the column takes. */
  readonly values: readonly string[];
  /** First major version that has all of it. */
  readonly since?: number;
  /** `to_jsonb` refuses some of the values: the JSON must be the text itself. */
  readonly passThrough?: true;
}

/** Extensions, enums, domains, composites and ranges that the cases use, for an empty database. */
export const typeCasesSetup = String.raw`
create extension hstore;
create extension citext;
create schema "Odd.Schema";

create type mood as enum ('sad', 'ok', 'happy');
alter type mood add value 'über, "quoted" \ {brace} ''NULL''' after 'ok';
alter type mood add value 'NULL';
create type "Odd.Schema".mood as enum ('sad', '"Größe"', '', ' ');

create domain quantity as integer check (value >= 0);
create domain "Odd.Schema".amount as numeric;
create domain amount as "Odd.Schema".amount check (value is null or value <> 13);
create domain row_id as bigint not null default 0;
create domain labels as text[];
create domain amounts as amount[];
create domain truth as boolean;
create domain document as jsonb;
create domain moment as timestamptz;
create domain area as box;

create type empty_row as ();
create type one_field as (only_field text);
create type point3 as (x integer, gone text, y double precision, z numeric);
alter type point3 drop attribute gone;
alter type point3 add attribute label text;
create type "Odd, (""Fields"")" as ("Größe" integer, "a.b" text, "say ""hi""" text, "back\slash" boolean, "A" bigint, a bigint);
create type nested_row as (id bigint, place point3, places point3[], tags text[], doc jsonb, at timestamptz, feeling mood);
create type deep_row as (outer_row nested_row, again nested_row[], areas box[], pairs hstore);
create type bound_row as (matrix numeric[], vector int2vector, span int8range, raw bytea, flag truth);
create domain place as point3;
create domain checked_place as place check ((value).x is null or (value).x > -1000);

create type text_range as range (subtype = text);
create type amount_range as range (subtype = numeric, multirange_type_name = amount_spans);

create table line_item (id bigint, gone integer, price numeric(12,4), note text);
alter table line_item drop column gone;
`;

/** A string literal with everything that some quoting rule stumbles over. */
const nasty = String.raw`E'a "quoted" \\ back\\\\slash, comma; {brace} (paren) [1:2]={x} ''apostrophe'' \t tab \n newline \r \x01 \x1f \x7f => ü 漢字 😀 \u2028 \u00a0 end '`;

const dates = ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'4713-11-24 BC'", "'0001-01-01'", "'0099-12-31'"];

const moments = [
  "'infinity'",
  "'-infinity'",
  "'epoch'",
  "'0044-03-15 12:34:56.789 BC'",
  "'4713-11-24 00:00:00 BC'",
  "'0001-01-01 00:00:00'",
  "'0099-12-31 23:59:59.999999'",
  "'10000-01-01 00:00:00.5'",
  "'294276-12-31 23:59:59.999999'",
  "'2026-03-01 12:00:00.123456'",
  "'2026-03-01 12:00:00.1'",
  "'2024-02-29 23:59:60'",
];

const numerics = [
  "'NaN'",
  "'Infinity'",
  "'-Infinity'",
  "'1e400'",
  "'-1e-400'",
  '0',
  '0.00',
  '1.50',
  '-0.10',
  '100.000',
  '1e20',
  '9007199254740993',
  '12345678901234567890123456789.0123456789000',
];

const bigints = ['0', '-1', '9007199254740993', "'9223372036854775807'", "'-9223372036854775808'"];

const floats = ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", '0.1', '1e20', '-1e-5', '100000', '123456789.125'];

const strings = [
  "''",
  "' '",
  "'NULL'",
  "'null'",
  "'{}'",
  String.raw`E'\\'`,
  `'"'`,
  nasty,
  "repeat('long ü ', 3000)",
  String.raw`repeat(E'"\\', 3000)`,
];

const documents = [
  "'null'",
  "'true'",
  `'"scalar \\" \\u00e4 \\ud83d\\ude00 root"'`,
  "'12345678901234567890.12345678901234567890'",
  "'1e400'",
  "'-0.0'",
  "'{}'",
  "'[]'",
  `'{"a": 1, "b": {"c": [1, 2.50, "x", null, true]}, "": "empty key", "ü\\n": "\\t"}'`,
  `'{"same": 1, "same": 2.0, "same": {"deep": "last"}}'`,
  "(repeat('[', 500) || repeat(']', 500))::json",
  `(repeat('{"a":', 200) || '1' || repeat('}', 200))::json`,
];

export const typeCases: readonly TypeCase[] = [
  { name: 'boolean', type: 'boolean', values: ['true', 'false'] },
  { name: 'smallint', type: 'smallint', values: ['-32768', '0', '32767'] },
  { name: 'integer', type: 'integer', values: ["'-2147483648'", '0', '2147483647'] },
  { name: 'bigint', type: 'bigint', values: bigints },
  { name: 'numeric', type: 'numeric', values: numerics },
  { name: 'numeric_scale', type: 'numeric(30,6)', values: ['1', '-0.5', "'NaN'", '123456789012345678901234.5'] },
  { name: 'real', type: 'real', values: [...floats, "'3.4028235e+38'", "'1e-45'", '0.3', '16777216'] },
  { name: 'double', type: 'double precision', values: [...floats, "'1.7976931348623157e+308'", "'5e-324'", '1e15'] },
  { name: 'money', type: 'money', values: ["'1234567.89'", "'-0.01'", "'-92233720368547758.08'", '0'] },
  { name: 'oid', type: 'oid', values: ['0', '2147483648', '4294967295'] },
  { name: 'internal_char', type: '"char"', values: ["'a'", `'"'`, String.raw`E'\\'`, "''"] },
  { name: 'name', type: 'name', values: ["'plain'", `'Quoted "Name", \\ü'`] },
  { name: 'text', type: 'text', values: strings },
  { name: 'varchar', type: 'varchar(200)', values: ["''", "'NULL'", nasty] },
  { name: 'char_padded', type: 'char(8)', values: ["''", "'ab'", "'ü  x'", `'"\\'`] },
  { name: 'citext', type: 'citext', values: ["'MiXeD'", nasty] },
  { name: 'bytea', type: 'bytea', values: ["''", String.raw`'\x00ff5c22'`, "decode(repeat('ab', 5000), 'hex')"] },
  { name: 'bit', type: 'bit(5)', values: ["B'10101'", "B'00000'"] },
  { name: 'varbit', type: 'bit varying', values: ["B''", "B'1'", "B'000000000000000000001'"] },
  { name: 'uuid', type: 'uuid', values: ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"] },
  {
    name: 'date',
    type: 'date',
    values: [...dates, "'9999-12-31'", "'10000-01-01'", "'5874897-12-31'", "'2026-03-01'"],
  },
  { name: 'time', type: 'time', values: ["'00:00'", "'24:00:00'", "'23:59:59.999999'", "'12:00:00.5'"] },
  {
    name: 'timetz',
    type: 'timetz',
    values: ["'24:00:00+00'", "'12:34:56.000001+05:45'", "'00:00:00-15:59:59'", "'01:02:03+15:59'", "'01:02:03-03:30'"],
  },
  { name: 'timestamp', type: 'timestamp', values: moments },
  { name: 'timestamp_rounded', type: 'timestamp(0)', values: ["'2026-03-01 12:00:00.9'"] },
  {
    name: 'timestamptz',
    type: 'timestamptz',
    values: [...moments, "'2026-03-01 12:00:00+05:45'", "'1800-01-01 00:00 Europe/Amsterdam'", "'0001-01-01 00:00+01'"],
  },
  {
    name: 'interval',
    type: 'interval',
    values: [
      "'0'",
      "'1 year -2 months +3 days -04:05:06.789'",
      "'-1 year -2 months'",
      "'1 day -00:00:00.000001'",
      "'178000000 years'",
      "'2000000000:00:54.775807'",
    ],
  },
  { name: 'interval_infinite', type: 'interval', values: ["'infinity'", "'-infinity'"], since: 17 },
  { name: 'json', type: 'json', values: [...documents, `E' \\n\\t{ "a" :\\r\\n 1 }  '`] },
  { name: 'json_verbatim', type: 'json', values: [`'"\\u0000"'`, `'{"a":"\\u0000","a":1}'`], passThrough: true },
  { name: 'jsonb', type: 'jsonb', values: documents.map((value) => `(${value})::jsonb`) },
  { name: 'jsonpath', type: 'jsonpath', values: [`'$.a ? (@.b == "x\\"y")'`] },
  { name: 'xml', type: 'xml', values: [`'<a b="c">d &amp; \\ ü</a>'`, `'<?xml version="1.0"?><a/>'`, "'text only'"] },
  { name: 'tsvector', type: 'tsvector', values: [`$$'it''s':1A,2 '"q"':3 'b\\\\s':4 'sp ace'$$`, "''"] },
  { name: 'tsquery', type: 'tsquery', values: [`$$'a"b' & !('c' | 'd':*)$$`] },
  { name: 'point', type: 'point', values: ["'(1.5,-2e300)'", "'(NaN,Infinity)'"] },
  { name: 'line', type: 'line', values: ["'{1,-1,0}'"] },
  { name: 'lseg', type: 'lseg', values: ["'[(0,0),(1,1)]'"] },
  { name: 'box', type: 'box', values: ["'(1,2),(3,4)'"] },
  { name: 'path', type: 'path', values: ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"] },
  { name: 'polygon', type: 'polygon', values: ["'((0,0),(1,1),(2,0))'"] },
  { name: 'circle', type: 'circle', values: ["'<(1,2),3>'"] },
  { name: 'inet', type: 'inet', values: ["'10.0.0.1'", "'10.1.2.3/8'", "'::ffff:1.2.3.4/96'", "'fe80::1'"] },
  { name: 'cidr', type: 'cidr', values: ["'10.0.0.0/8'", "'2001:db8::/32'"] },
  { name: 'macaddr', type: 'macaddr', values: ["'08:00:2b:01:02:03'"] },
  { name: 'macaddr8', type: 'macaddr8', values: ["'08:00:2b:01:02:03:04:05'"] },
  { name: 'xid', type: 'xid', values: ["'4294967295'"] },
  { name: 'xid8', type: 'xid8', values: ["'18446744073709551615'"] },
  { name: 'pg_lsn', type: 'pg_lsn', values: ["'16/B374D848'"] },
  { name: 'tid', type: 'tid', values: ["'(4294967294,1)'"] },
  { name: 'snapshot', type: 'pg_snapshot', values: ["'10:20:10,14,15'"] },
  { name: 'regclass', type: 'regclass', values: ["'pg_catalog.pg_class'", "'4294967295'"] },
  { name: 'int2vector', type: 'int2vector', values: ["''", "'1'", "'1 -2 3'"] },
  { name: 'oidvector', type: 'oidvector', values: ["''", "'1'", "'1 4294967295'"] },
  { name: 'hstore', type: 'hstore', values: hstores() },
  { name: 'enum', type: 'mood', values: [`'sad'`, `'über, "quoted" \\ {brace} ''NULL'''`, "'NULL'"] },
  { name: 'enum_of_other_schema', type: '"Odd.Schema".mood', values: ["'sad'", `'"Größe"'`, "''", "' '"] },
  { name: 'int4range', type: 'int4range', values: ["'[1,5)'", "'empty'", "'(,)'", "'[,7]'"] },
  { name: 'int8range', type: 'int8range', values: ["'[9007199254740993,)'"] },
  { name: 'numrange', type: 'numrange', values: ["'[1.50,2.00]'", "'(-Infinity,NaN]'"] },
  { name: 'daterange', type: 'daterange', values: ["'[2026-01-01,infinity)'", "'[0044-03-15 BC,0001-01-01]'"] },
  { name: 'tsrange', type: 'tsrange', values: ["'[2026-01-01 00:00:00.5,infinity]'"] },
  { name: 'tstzrange', type: 'tstzrange', values: ["'[2026-01-01 00:00+02,2026-01-02 00:00-03:30)'", "'(,)'"] },
  { name: 'text_range', type: 'text_range', values: [`text_range('"', E'a,\\\\ ')`, "text_range('', null)"] },
  { name: 'multirange', type: 'nummultirange', values: ["'{}'", "'{[1.0,2.50),(3,)}'"] },
  { name: 'tstzmultirange', type: 'tstzmultirange', values: ["'{[2026-01-01,2026-01-02),[2027-01-01,)}'"] },
  { name: 'own_multirange', type: 'amount_spans', values: ["'{[1.50,2.00],[9007199254740993,)}'"] },
  { name: 'domain', type: 'quantity', values: ['7'] },
  { name: 'domain_nested', type: 'amount', values: numerics },
  { name: 'domain_not_null', type: 'row_id', values: bigints },
  { name: 'domain_boolean', type: 'truth', values: ['true', 'false'] },
  { name: 'domain_jsonb', type: 'document', values: documents.map((value) => `(${value})::jsonb`) },
  { name: 'domain_timestamptz', type: 'moment', values: moments },
  { name: 'domain_over_array', type: 'labels', values: textArrays() },
  { name: 'domain_over_array_of_domain', type: 'amounts', values: ["'{1.50,NULL,NaN}'", "'[0:1]={1,2}'", "'{}'"] },
  {
    name: 'integer_array',
    type: 'integer[]',
    values: ["'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,4}}'", "'[-1:1]={1,2,3}'"],
  },
  {
    name: 'integer_array_bounds',
    type: 'integer[][][]',
    values: ["'[2:3][-1:0][5:5]={{{1},{2}},{{NULL},{4}}}'", "'{{{1}}}'", "'{{{{{{1},{2}}}}}}'"],
  },
  { name: 'bigint_array', type: 'bigint[]', values: ["'{9223372036854775807,NULL}'", "'{{1},{2}}'"] },
  { name: 'numeric_array', type: 'numeric[]', values: ["'{1.50,NaN,-Infinity,1e30,NULL}'"] },
  { name: 'real_array', type: 'real[]', values: ["'{1e20,NaN,-Infinity,0.1}'"] },
  { name: 'boolean_array', type: 'boolean[]', values: ["'{t,f,NULL}'"] },
  { name: 'text_array', type: 'text[]', values: textArrays() },
  { name: 'bytea_array', type: 'bytea[]', values: [String.raw`array['\x00ff'::bytea, '', null]`] },
  { name: 'timestamptz_array', type: 'timestamptz[]', values: [`array[${moments.join(',')}]::timestamptz[]`] },
  { name: 'timestamp_array', type: 'timestamp[]', values: [`array[${moments.join(',')}]::timestamp[]`] },
  { name: 'date_array', type: 'date[]', values: [`array[${dates.join(',')}]::date[]`] },
  { name: 'json_array', type: 'json[]', values: [`array['{"a": [1, "x\\"y"]}', 'null', null, '"s"']::json[]`] },
  { name: 'jsonb_array', type: 'jsonb[]', values: [`array['{"a": "{\\\\}"}', 'null', null, '[1.50]']::jsonb[]`] },
  { name: 'box_array', type: 'box[]', values: ["'{(1,2),(3,4);(5,6),(7,8)}'", "'{NULL;(5,6),(7,8)}'", "'{}'"] },
  { name: 'point_array', type: 'point[]', values: [`'{"(1,2)",NULL}'`] },
  { name: 'area_array', type: 'area[]', values: ["'{(1,2),(3,4);NULL}'"] },
  { name: 'enum_array', type: 'mood[]', values: [`enum_range(null::mood)`, `array[null, 'NULL']::mood[]`] },
  { name: 'range_array', type: 'text_range[]', values: [`array[text_range('"', E'a,\\\\ '), null]`] },
  { name: 'multirange_array', type: 'nummultirange[]', values: [`array['{[1,2),(3,)}', null]::nummultirange[]`] },
  { name: 'hstore_array', type: 'hstore[]', values: [`array[${hstores().join(',')}, null]::hstore[]`] },
  { name: 'domain_array', type: 'amount[]', values: ["'{1.50,NULL,NaN}'", "'{{1.0},{2.00}}'"] },
  {
    name: 'array_of_domain_over_array',
    type: 'labels[]',
    values: [`array['{a,"b c"}', null, '{NULL,"NULL"}']::labels[]`],
  },
  { name: 'vector_array', type: 'int2vector[]', values: [`array['1 2 3', '4']::int2vector[]`] },
  { name: 'interval_array', type: 'interval[]', values: [`array['1 year -2 days', '-00:00:01']::interval[]`] },
  { name: 'composite_empty', type: 'empty_row', values: ["'()'"] },
  { name: 'composite_one_field', type: 'one_field', values: ['row(null)', "row('')", "row('NULL')", `row(${nasty})`] },
  {
    name: 'composite',
    type: 'point3',
    values: ['row(1, 2.5, 3.50, null)', "row(null, null, null, '')", `row(-1, 'NaN', 'NaN', ${nasty})`],
  },
  {
    name: 'composite_odd_names',
    type: '"Odd, (""Fields"")"',
    values: [`row(1, 'x', ${nasty}, true, 9007199254740993, 2)`, 'row(null, null, null, null, null, null)'],
  },
  { name: 'composite_nested', type: 'nested_row', values: nestedRows() },
  { name: 'composite_deep', type: 'deep_row', values: deepRows() },
  {
    name: 'composite_bounds',
    type: 'bound_row',
    values: [String.raw`row('[0:1][3:3]={{1.0},{NULL}}', '1 2', '[1,9)', '\x00', false)`],
  },
  {
    name: 'composite_array',
    type: 'point3[]',
    values: [`array[row(1,2,3.0,${nasty}), null, row(null,null,null,null)]::point3[]`],
  },
  { name: 'domain_over_composite', type: 'checked_place', values: [`row(1, 2, 3.0, ${nasty})`] },
  { name: 'domain_over_composite_array', type: 'place[]', values: [`array[row(1,2,3.0,' '), null]::place[]`] },
  { name: 'row_type', type: 'line_item', values: [`row(9007199254740993, 1.5, ${nasty})`] },
  {
    name: 'row_type_array',
    type: 'line_item[]',
    values: [`array[row(1, 1.5, ''), row(null, null, null), null]::line_item[]`],
  },
];

/** The cases that a server of this major version knows. */
export function typeCasesOf(major: number): readonly TypeCase[] {
  return typeCases.filter((one) => (one.since ?? 0) <= major);
}

function textArrays(): readonly string[] {
  return [
    "'{}'",
    `'{NULL,"NULL","null",null,""," ",plain}'`,
    `'{{"a,b","c""d"},{"{e}",NULL}}'`.replaceAll('""', '\\"'),
    `array[${strings.join(',')}, null]`,
    `'[0:1]={"[0:1]={x}","="}'`,
  ];
}

function hstores(): readonly string[] {
  return ["''", `'a=>1, b=>NULL, "c d"=>"NULL", ""=>""'`, `hstore(${nasty}, ${nasty}) || hstore('n', null)`];
}

function nestedRows(): readonly string[] {
  const place = `row(1, 1e20, 2.50, ${nasty})::point3`;
  return [
    `row(9007199254740993, ${place}, array[${place}, null], array[${nasty}, null, 'NULL'], '{"a": "x\\"\\\\y"}', '2026-03-01 12:00', 'NULL')`,
    `row(null, null, null, null, null, null, null)`,
    `row(1, row(null,null,null,null), '{}', '{}', 'null', 'infinity', 'happy')`,
  ];
}

function deepRows(): readonly string[] {
  const rows = nestedRows().map((row) => `${row}::nested_row`);
  return [
    `row(${rows[0]}, array[${rows.join(',')}, null], '{(1,2),(3,4);(5,6),(7,8)}', ${hstores()[2]})`,
    'row(null, null, null, null)',
  ];
}
