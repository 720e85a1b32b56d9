-- Events of the new system on their way back into the legacy tables.

-- Keys the hashes of tags and of written values: whoever can emit a message into the WAL must not be able to make an event vanish.
create table reverse_secret (
  connector text primary key,
  secret bytea not null check (octet_length(secret) = 32)
);

-- Each event once per target. Purged behind a horizon.
create table inbox (
  connector text not null,
  producer text not null,
  event_id text not null,
  target text not null,
  outcome text not null default 'applied' check (outcome in ('applied', 'stale', 'refused', 'skipped')),
  -- What capture saw of it; null: nothing yet.
  verdict text check (verdict in ('echo', 'correction', 'unchanged')),
  received_at timestamptz not null default now(),
  event_time timestamptz,
  observed_at timestamptz,
  primary key (connector, producer, event_id, target)
);
create index inbox_received on inbox (connector, received_at);

-- How far each row is, and what we last left in it. Its row is also the lock of the key. Never purged, or a late event overwrites a newer one.
create table applied_version (
  connector text not null,
  table_name text not null,
  key text[] not null,
  -- Of the last write that made or held the whole row.
  created_version numeric,
  -- Tombstone: older events must not bring the row back. Kept when the row comes back.
  delete_version numeric,
  last_version numeric,
  -- {column: [version or null, hash of what we left there or null, text of a patch that outlived a delete]}
  columns jsonb not null default '{}',
  -- The producer was told how the row stands, and may have sent events before it heard that.
  told boolean not null default false,
  applied_at timestamptz not null default now(),
  primary key (connector, table_name, key)
) with (fillfactor = 80);

-- The last change of each key that was not ours, for `basedOn`.
create table legacy_change (
  connector text not null,
  table_name text not null,
  key text[] not null,
  sequence text collate "C" not null,
  primary key (connector, table_name, key)
) with (fillfactor = 80);

-- Both sides changed what the other did not know. Rows are masked and excluded as in the table's events.
create table conflict (
  id bigint generated always as identity primary key,
  connector text not null,
  table_name text not null,
  key json not null,
  kind text not null,
  policy text not null check (policy in ('new-wins', 'legacy-wins', 'park')),
  resolution text not null check (resolution in ('new-wins', 'legacy-wins', 'parked')),
  producer text not null,
  event_id text not null,
  target text not null,
  -- json, not jsonb: it keeps characters that the server's encoding has no form for.
  expected json,
  proposed json,
  current json,
  detected_at timestamptz not null default now(),
  -- Null: a person has to decide.
  resolved_at timestamptz,
  resolved_by text,
  note text,
  unique (connector, producer, event_id, target)
);
create index conflict_table on conflict (connector, table_name, id);
create index conflict_open on conflict (connector, id) where resolved_at is null;

-- How far a table has moved; no row: dual.
create table table_stage (
  connector text not null,
  table_name text not null,
  stage text not null,
  changed_at timestamptz not null default now(),
  changed_by text not null,
  primary key (connector, table_name)
);

-- Null: it waits for a person. Else it is tried again by itself until then.
alter table dead_letter add column waits_until timestamptz;
