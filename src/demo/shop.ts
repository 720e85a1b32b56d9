/** A shop's legacy database, as small as one can be and still have the shapes that real ones have. */
export const SCHEMA_SQL = `
create schema shop;
create type shop.order_status as enum ('placed', 'paid', 'shipped', 'delivered', 'cancelled');
create type shop.customer_tier as enum ('standard', 'silver', 'gold');
create type shop.payment_method as enum ('card', 'transfer', 'invoice');

create table shop.customers (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  email text not null unique,
  phone text,
  tier shop.customer_tier not null default 'standard',
  interests text[] not null default '{}',
  address jsonb not null,
  created_at timestamptz not null default now(),
  version integer not null default 1
);

create table shop.products (
  sku text primary key,
  name text not null,
  price numeric(10,2) not null check (price > 0),
  stock integer not null,
  attributes jsonb not null default '{}',
  version integer not null default 1
);
-- The mapping compares old and new price.
alter table shop.products replica identity full;

create table shop.orders (
  id bigint generated always as identity primary key,
  customer_id uuid not null,
  status shop.order_status not null default 'placed',
  currency char(3) not null default 'EUR',
  note text,
  placed_at timestamptz not null default now(),
  changed_at timestamptz not null default now(),
  version integer not null default 1
);
-- The mapping compares old and new status.
alter table shop.orders replica identity full;

create table shop.order_lines (
  order_id bigint not null references shop.orders (id),
  line_no smallint not null,
  sku text not null references shop.products (sku),
  quantity integer not null check (quantity > 0),
  unit_price numeric(10,2) not null,
  primary key (order_id, line_no)
);

create table shop.payments (
  id uuid primary key default gen_random_uuid(),
  order_id bigint not null references shop.orders (id),
  method shop.payment_method not null,
  amount numeric(12,2) not null,
  card_number text,
  received_at timestamptz not null default now()
);

-- What the new order service decides comes back here. A clerk may still change it: \`rescheduled\` is the clerk's, \`tracking\` the service's.
-- Columns that the service does not write have no default: one that fills itself in would make each of its rows a correction.
create table shop.deliveries (
  order_id bigint primary key references shop.orders (id),
  promised_on date not null,
  slot text not null,
  promised_by text not null,
  tracking text,
  rescheduled integer
);

create table shop.order_log (
  id bigint generated always as identity primary key,
  order_id bigint not null references shop.orders (id),
  entry text not null,
  written_by text not null default current_setting('application_name'),
  written_at timestamptz not null default now()
);
create index on shop.order_log (order_id);

-- As legacy databases have them: a rule of the house that nobody told the new service about, and a log that writes itself.
create function shop.not_at_weekends() returns trigger language plpgsql as $$
begin
  if extract(isodow from new.promised_on) >= 6 then
    new.promised_on := date_trunc('week', new.promised_on)::date + 7;
  end if;
  return new;
end $$;
create trigger not_at_weekends before insert or update of promised_on on shop.deliveries
  for each row execute function shop.not_at_weekends();

create function shop.log_delivery() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    insert into shop.order_log (order_id, entry) values (old.order_id, 'delivery withdrawn');
  else
    insert into shop.order_log (order_id, entry)
      values (new.order_id, 'delivery on ' || new.promised_on || ', ' || new.slot || coalesce(', ' || new.tracking, ''));
  end if;
  return null;
end $$;
create trigger log_delivery after insert or update or delete on shop.deliveries
  for each row execute function shop.log_delivery();
`;

/** What stands on the shelves when the shop opens: sku, name, price, attributes. Nobody asks for a backfill of it. */
export const PRODUCTS: readonly (readonly [sku: string, name: string, price: string, attributes: object])[] = [
  ['TEA-ASSAM-250', 'Assam, 250 g', '9.80', { origin: 'India', caffeine: true }],
  ['TEA-MINT-100', 'Moroccan mint, 100 g', '6.40', { origin: 'Morocco', caffeine: false }],
  ['TEA-OOLONG-100', 'Oolong, 100 g', '14.20', { origin: 'Taiwan', caffeine: true, steep: { seconds: 180 } }],
  ['COFFEE-YIRGA-500', 'Yirgacheffe, 500 g', '18.90', { origin: 'Ethiopia', roast: 'light' }],
  ['COFFEE-HUILA-1000', 'Huila, 1 kg', '29.50', { origin: 'Colombia', roast: 'medium' }],
  ['CUP-GLASS-2', 'Two double-walled glasses', '19.00', { material: 'glass', millilitres: 250 }],
  ['POT-IRON-08', 'Cast-iron pot, 0.8 l', '64.00', { material: 'iron', colours: ['black', 'moss'] }],
  ['FILTER-PAPER-100', 'Paper filters, 100', '3.75', { material: 'paper' }],
  ['GRINDER-HAND-1', 'Hand grinder', '89.90', { material: 'steel', settings: 24 }],
  ['HONEY-LIME-500', 'Lime-blossom honey, 500 g', '8.60', { origin: 'Hungary' }],
];

const FIRST =
  'Ada Bruno Chidi Dalia Emil Farah Goran Hana Ines Jonas Kemal Lena Mira Noor Otto Priya Quinn Rosa Sami Tove'.split(
    ' ',
  );
const LAST =
  'Adler Bianchi Castro Dubois Eriksen Fischer Garcia Horvat Ito Jansen Kowalski Lindt Moreau Novak Okafor Petit'.split(
    ' ',
  );
const CITIES = ['Ghent', 'Porto', 'Graz', 'Bergen', 'Lyon', 'Gdansk', 'Trieste', 'Tartu'];
const INTERESTS = ['tea', 'coffee', 'gifts', 'kitchen', 'sale'];

export interface Person {
  readonly name: string;
  readonly email: string;
  readonly phone: string;
  readonly interests: readonly string[];
  readonly address: { readonly street: string; readonly city: string };
}

/** Somebody who does not exist; `number` keeps the address of the mailbox unique. */
export function person(number: number): Person {
  const first = pick(FIRST);
  const last = pick(LAST);
  return {
    name: `${first} ${last}`,
    email: `${first}.${last}.${number}@example.org`.toLowerCase(),
    phone: `+44 1632 960${`${between(0, 999)}`.padStart(3, '0')}`,
    interests: INTERESTS.filter(() => Math.random() < 0.4),
    address: { street: `${between(1, 140)} Mill Lane`, city: pick(CITIES) },
  };
}

/** A card number from the range that is only for tests. */
export function cardNumber(): string {
  return `400000${`${between(0, 9_999_999_999)}`.padStart(10, '0')}`;
}

export function pick<T>(values: readonly T[]): T {
  const value = values[Math.floor(Math.random() * values.length)];
  if (value === undefined) throw new RangeError('nothing to pick from');
  return value;
}

/** A whole number from `low` to `high`, both included. */
export function between(low: number, high: number): number {
  return low + Math.floor(Math.random() * (high - low + 1));
}
