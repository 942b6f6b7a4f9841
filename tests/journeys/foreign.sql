-- A database made by somebody else, who never heard of us.
create schema sales;
create schema "Odd Place";
create type sales.mood as enum ('sad', 'so-so', 'over the moon');
create domain sales.email as text check (value like '%@%');
create domain sales.share as numeric(5, 4);

create table sales.customers (
  id int generated always as identity primary key,
  "E-Mail" sales.email,
  "select" text,
  mood sales.mood,
  moods sales.mood[],
  tags text[],
  grid int[],
  balance numeric,
  share sales.share,
  ratio double precision,
  born date,
  seen timestamptz,
  wakes time,
  waits interval,
  profile jsonb,
  raw bytea,
  address inet,
  bits bit(3),
  whereabouts point,
  letter text,
  unique ("E-Mail")
);
comment on table sales.customers is 'People, mostly.';

create table sales.orders (
  id bigint not null,
  day date not null,
  customer_id int references sales.customers on delete cascade,
  amount numeric(12, 2) not null default 0,
  gross numeric(12, 2) generated always as (amount * 1.19) stored,
  primary key (id, day)
) partition by range (day);
create table sales.orders_early partition of sales.orders for values from (minvalue) to ('2024-01-01');
create table sales.orders_late partition of sales.orders for values from ('2024-01-01') to (maxvalue);

create table sales."Order Lines" (
  "Order Id" bigint,
  "Day" date,
  "Line No." smallint,
  "What?" varchar(30) not null,
  price real,
  primary key ("Line No.", "Order Id", "Day"),
  foreign key ("Order Id", "Day") references sales.orders (id, day) on delete cascade on update cascade
);

create table "Odd Place"."table" ("order" text collate "C" primary key, "Übergröße" boolean, _lsn bigint, "_OP" text);
create table "Odd Place".orders (id char(4) primary key, note text);
create table sales.nothing_known (id uuid primary key default gen_random_uuid(), a int, b text, c date, d numeric, e text[]);
create table sales.events (at timestamptz default now(), what text);
alter table sales.events replica identity full;

-- What cannot be captured as it is.
create table sales.journal (at timestamptz default now(), line text);
create unlogged table sales.sessions (id int primary key, token text);
create table sales.slots (n int primary key deferrable initially deferred);
create view sales.rich as select * from sales.customers where balance > 1000;
create materialized view sales.by_mood as select mood, count(*) from sales.customers group by mood;

insert into sales.customers ("E-Mail", "select", mood, moods, tags, grid, balance, share, ratio, born, seen, wakes, waits,
                             profile, raw, address, bits, whereabouts, letter)
select 'c' || n || '@example.org', 'it''s, "quoted"' || chr(10) || n, 'so-so', '{sad,"over the moon"}', array['a,b', 'c"d', null],
       '{{1,2},{3,4}}', n * 12345678901234567890.123456789, 0.12345678, n / 3.0, date '1970-01-01' + n, now() - n * interval '1 day',
       '23:59:59.999999', '1 year 2 mons -3 days 04:05:06.7', '{"a": [1, null, "\u00e9"]}', '\xdeadbeef00', '10.0.0.1/8',
       b'101', '(1,2)', repeat(md5(n::text), 400)
from generate_series(1, 200) as n;
insert into sales.customers ("E-Mail", balance, ratio, born, seen) values
  ('nan@example.org', 'NaN', 'NaN', 'infinity', '-infinity'), ('inf@example.org', 1e-30, '-Infinity', '0044-03-15 BC', 'infinity'),
  (null, null, null, null, null);
insert into sales.orders (id, day, customer_id, amount)
select n, date '2023-12-01' + n % 60, 1 + n % 200, n * 1.01 from generate_series(1, 500) as n;
insert into sales."Order Lines" select id, day, n, 'thing ' || n, n / 7.0 from sales.orders, generate_series(1, 3) as n;
insert into "Odd Place"."table" values ('a', true, 1, 'x'), ('', null, null, null), (E'tab\there', false, -1, E'\\N');
insert into "Odd Place".orders values ('ab', null), ('abcd', '');
insert into sales.nothing_known (a) select null from generate_series(1, 20);
insert into sales.events (what) select 'before ' || n from generate_series(1, 10) as n;
insert into sales.journal (line) values ('kept out');
