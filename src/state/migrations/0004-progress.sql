-- How far each table has moved, and the facts that say how far it may.

-- Until now a table without a record took events; from now on it has to be moved. What took some goes on.
insert into table_stage (connector, table_name, stage, changed_by)
select distinct connector, table_name, 'dual', 'banyan' from applied_version
on conflict do nothing;

alter table table_stage add constraint table_stage_known
  check (stage in ('mapped', 'backfilling', 'shadow', 'dual', 'new-primary', 'retired'));

-- Every move of a table. A message about it is in the WAL of the legacy database.
create table stage_change (
  id bigint generated always as identity primary key,
  connector text not null,
  table_name text not null,
  from_stage text not null,
  to_stage text not null,
  actor text not null,
  changed_at timestamptz not null default now(),
  -- JSON: the gates as they stood. Null: it went by itself.
  verdict json,
  -- False: the state is in another database than the message, and nobody has sent it yet.
  announced boolean not null
);
create index stage_change_table on stage_change (connector, table_name, id);

-- What a person put instead of evidence. The last one of a gate that is not revoked counts, until it ends.
create table gate_waiver (
  id bigint generated always as identity primary key,
  connector text not null,
  table_name text not null,
  gate text not null,
  reason text not null,
  waived_by text not null,
  waived_at timestamptz not null default now(),
  until timestamptz not null,
  revoked_at timestamptz,
  revoked_by text
);
create index gate_waiver_table on gate_waiver (connector, table_name, gate, id);

-- Row changes by who made them, per minute of their commit; older ones per hour. Only periods in which something happened.
create table traffic (
  connector text not null,
  table_name text not null,
  period_seconds integer not null check (period_seconds in (60, 3600)),
  starts_at timestamptz not null,
  legacy bigint not null default 0,
  reverse bigint not null default 0,
  trigger bigint not null default 0,
  foreign_origin bigint not null default 0,
  events bigint not null default 0,
  primary key (connector, table_name, period_seconds, starts_at)
) with (fillfactor = 70);
create index traffic_time on traffic (connector, period_seconds, starts_at);

-- Up to where the WAL is counted: what is received again is not counted again. Written with the counts, in one transaction.
create table traffic_position (
  connector text primary key,
  epoch integer not null,
  timeline bigint not null,
  -- Of the last commit that is counted.
  counted_lsn pg_lsn not null,
  -- One more with every write: an attempt that was repeated, or another worker's, is known by it.
  version bigint not null default 0,
  counting_since timestamptz not null default now(),
  -- Everything that was committed before it is counted. Null: not known. Written with what is written anyway, and at a clean stop.
  counted_until timestamptz
);

-- Who wrote, where a statement trigger of ours says so.
create table writer_traffic (
  connector text not null,
  table_name text not null,
  period_seconds integer not null check (period_seconds in (60, 3600)),
  starts_at timestamptz not null,
  role text not null,
  application text not null,
  changes bigint not null default 0,
  primary key (connector, table_name, period_seconds, starts_at, role, application)
) with (fillfactor = 70);

-- What the connector as a whole was like: the worst of a period, and sums. Only periods in which something happened.
create table health (
  connector text not null,
  period_seconds integer not null check (period_seconds in (60, 3600)),
  starts_at timestamptz not null,
  lag_seconds double precision,
  lag_bytes bigint,
  held_bytes bigint,
  accepted bigint not null default 0,
  throttled bigint not null default 0,
  parked bigint not null default 0,
  applied bigint not null default 0,
  primary key (connector, period_seconds, starts_at)
) with (fillfactor = 70);

-- The server's counters of reads, as they were when they moved last: while they stand still, nobody reads, also while nobody looks.
create table read_watch (
  connector text not null,
  table_name text not null,
  oid oid not null,
  -- Since when it is watched without a reset of the statistics in between.
  watched_since timestamptz not null default now(),
  -- When the counters were found moved, and written down here.
  moved_at timestamptz not null default now(),
  -- When a read was seen last; null: none was.
  read_at timestamptz,
  -- When the counters moved last and it can not be told who read.
  unclear_at timestamptz,
  scans bigint not null,
  -- The table and its partitions: the scans of one that is gone are not in the sum any more.
  relations oid[] not null,
  -- Of the server: a standby that was promoted has counters of its own.
  timeline bigint not null,
  scans_reset timestamptz,
  -- Calls in pg_stat_statements by other roles, and by ours; null: it can not be read.
  calls bigint,
  own_calls bigint,
  calls_reset timestamptz,
  -- Evictions from pg_stat_statements.
  evicted bigint,
  primary key (connector, table_name)
);
