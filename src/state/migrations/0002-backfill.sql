-- Runs that turn the rows of a table into events, and how far each part of the table is.

create table backfill_run (
  id bigint generated always as identity primary key,
  connector text not null,
  table_name text not null,
  status text not null default 'waiting'
    check (status in ('waiting', 'running', 'paused', 'completed', 'failed', 'replaced')),
  -- SQL condition of a run that reads part of the table.
  condition text,
  -- Of a run that reads one partition, attached when the rest had been read; null: the whole table.
  partition text,
  -- JSON array: name and type of each column that its cursors hold a value of.
  key json,
  requested_by text not null,
  requested_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  rows_estimated bigint,
  rows_sent bigint not null default 0,
  -- Why it waits, was paused, or failed.
  reason text
);
create unique index backfill_run_open on backfill_run (connector, table_name)
  where status in ('waiting', 'running', 'paused');
create index backfill_run_table on backfill_run (connector, table_name, id);

-- A table, or one leaf of a partitioned one.
create table backfill_part (
  run bigint not null references backfill_run on delete cascade,
  number integer not null,
  oid oid not null,
  relation text not null,
  -- Which attaching made it a leaf: detached and attached again it is read again. Null: no partition.
  attached text,
  -- pg_relation_filenode, where it is read by ctid: positions mean nothing in another file.
  filenode oid,
  -- JSON array: key of the last row whose chunk is settled, as PostgreSQL's text.
  cursor json,
  done boolean not null default false,
  primary key (run, number)
);
