-- model: order_item_facts
-- doc: One row per order line whose order exists.
-- key: order_id, line
-- columns:
--   order_id        bigint
--   line            integer
--   order_date_key  integer
--   category        text
--   is_cancelled    boolean
--   quantity        integer
--   amount          decimal(18,2)
select
    i.order_id,
    i.line,
    f.order_date_key,
    p.category,
    f.is_cancelled,
    i.quantity,
    i.quantity * i.unit_price as amount
from silver.order_items i
join gold.order_facts f on f.order_id = i.order_id
left join gold.dim_product p on p.product_key = i.product_id
