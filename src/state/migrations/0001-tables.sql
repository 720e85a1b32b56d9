-- Everything that one connector must remember beside its slot. The schema's name is set by the search path.

-- What the slot was when we last saw it: a slot that is gone, behind this, or of another cluster means that changes may be missing.
create table slot_record (
  connector text primary key,
  slot_name text not null,
  system_id text not null,
  epoch integer not null,
  timeline bigint not null,
  created_lsn pg_lsn not null,
  confirmed_lsn pg_lsn not null,
  updated_at timestamptz not null default now()
);

-- Which table (by OID, not only by name: a rename swap keeps the name) was in the publication since when.
create table table_record (
  connector text not null,
  table_name text not null,
  oid oid not null,
  published_since_lsn pg_lsn not null,
  recorded_at timestamptz not null default now(),
  primary key (connector, table_name)
);

-- Events and changes set aside, with what waits behind them.
create table dead_letter (
  id bigint generated always as identity primary key,
  connector text not null,
  direction text not null check (direction in ('forward', 'reverse')),
  event_id text not null,
  -- Index in capture[] of the configuration; -1 where no entry is concerned.
  entry integer not null,
  -- Events of one group leave in order; a key update belongs to the group of the old key too.
  group_key text,
  previous_group text,
  table_name text not null,
  sequence text collate "C" not null,
  kind text not null,
  code text,
  message text not null,
  -- Nothing is wrong with it: it waits behind an earlier one of its group.
  behind boolean not null,
  -- JSON: source, detail-type, resources, detail as they are sent.
  event text,
  -- JSON: the row change, where no event could be made of it.
  change text,
  status text not null default 'parked' check (status in ('parked', 'redriven', 'discarded')),
  parked_at timestamptz not null default now(),
  settled_at timestamptz,
  check (event is not null or change is not null),
  unique (connector, direction, event_id, entry)
);
create index dead_letter_parked_group on dead_letter (connector, group_key, sequence) where status = 'parked';
create index dead_letter_parked_previous_group on dead_letter (connector, previous_group)
  where status = 'parked' and previous_group is not null;
create index dead_letter_parked_table on dead_letter (connector, table_name, sequence) where status = 'parked';

-- Tables whose mapping can not go on; their changes go to dead_letter meanwhile.
create table held_table (
  connector text not null,
  table_name text not null,
  kind text not null,
  message text not null,
  remedy text not null,
  since timestamptz not null default now(),
  primary key (connector, table_name)
);

-- What a command asks the worker to do. json, not jsonb: it keeps characters that the server's encoding has no form for.
create table request (
  id bigint generated always as identity primary key,
  connector text not null,
  command text not null,
  arguments json not null,
  requested_by text not null,
  requested_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  result json,
  error text
);
create index request_open on request (connector, id) where finished_at is null;

-- Where changes may be missing, since when, and who accepted that.
create table gap (
  id bigint generated always as identity primary key,
  connector text not null,
  kind text not null,
  subject text not null,
  report json not null,
  detected_at timestamptz not null default now(),
  accepted_at timestamptz,
  accepted_by text
);
create unique index gap_open on gap (connector, kind, subject) where accepted_at is null;
