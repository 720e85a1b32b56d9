-- The legacy database of compose.yaml: one table to watch.
create table orders (
  id bigint generated always as identity primary key,
  customer text not null,
  total numeric(10, 2) not null,
  status text not null default 'placed',
  placed_at timestamptz not null default now()
);
insert into orders (customer, total) values ('Ada', 12.50), ('Grace', 99.90);
