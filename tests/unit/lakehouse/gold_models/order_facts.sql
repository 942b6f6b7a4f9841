-- model: order_facts
-- doc: One row per order.
-- key: order_id
-- columns:
--   order_id        bigint
--   order_date_key  integer
--   customer_key    bigint
--   segment         text           Of the customer today, NULL when unknown
--   is_cancelled    boolean
--   total_amount    decimal(12,2)
select
    o.order_id,
    cast(strftime(o.placed_at at time zone 'UTC', '%Y%m%d') as integer) as order_date_key,
    o.customer_id as customer_key,
    c.segment,
    coalesce(o.status = 'CANCELLED', false) as is_cancelled,
    coalesce(o.total_amount, 0) as total_amount
from silver.orders o
left join gold.dim_customer c on c.customer_key = o.customer_id
