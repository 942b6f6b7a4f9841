-- model: daily_sales
-- doc: Sales per day, cancelled orders left out.
-- key: order_date_key
-- columns:
--   order_date_key    integer
--   order_count       bigint
--   unique_customers  bigint
--   total_revenue     decimal(38,2)
--   avg_order_value   decimal(18,2)
select
    f.order_date_key,
    count(*) as order_count,
    count(distinct f.customer_key) as unique_customers,
    sum(f.total_amount) as total_revenue,
    cast(cast(sum(f.total_amount) as double) / nullif(count(*), 0) as decimal(18, 2)) as avg_order_value
from gold.order_facts f
where not f.is_cancelled
group by f.order_date_key
