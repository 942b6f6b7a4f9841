-- model: dim_date
-- doc: The calendar: one row for each UTC day on which an order was placed.
-- owner: analytics
-- key: date_key
-- columns:
--   date_key   integer   The day as YYYYMMDD
--   date       date      The day
--   year       integer   Calendar year
--   quarter    integer   1 to 4
--   month      integer   1 to 12
--   day        integer   Day of the month
--   weekday    integer   ISO: 1 is Monday, 7 is Sunday
--   iso_week   integer   ISO week, 1 to 53
--   is_weekend boolean   Saturday or Sunday
select
    cast(strftime(cast(o.created_at at time zone 'UTC' as date), '%Y%m%d') as integer) as date_key,
    min(cast(o.created_at at time zone 'UTC' as date)) as date,
    min(year(cast(o.created_at at time zone 'UTC' as date))) as year,
    min(quarter(cast(o.created_at at time zone 'UTC' as date))) as quarter,
    min(month(cast(o.created_at at time zone 'UTC' as date))) as month,
    min(day(cast(o.created_at at time zone 'UTC' as date))) as day,
    min(isodow(cast(o.created_at at time zone 'UTC' as date))) as weekday,
    min(weekofyear(cast(o.created_at at time zone 'UTC' as date))) as iso_week,
    min(isodow(cast(o.created_at at time zone 'UTC' as date))) >= 6 as is_weekend
from silver.orders as o
group by cast(strftime(cast(o.created_at at time zone 'UTC' as date), '%Y%m%d') as integer)
