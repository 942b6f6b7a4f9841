-- model: dim_date
-- doc: Days on which an order was placed.
-- key: date_key
-- columns:
--   date_key  integer  The day as YYYYMMDD
--   day       date     The day
--   weekday   text     Its name
select
    cast(strftime(o.placed_at at time zone 'UTC', '%Y%m%d') as integer) as date_key,
    any_value(cast(o.placed_at at time zone 'UTC' as date)) as day,
    any_value(strftime(o.placed_at at time zone 'UTC', '%A')) as weekday
from silver.orders o
where o.placed_at is not null
group by cast(strftime(o.placed_at at time zone 'UTC', '%Y%m%d') as integer)
