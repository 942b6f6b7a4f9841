-- model: category_sales
-- doc: The key hangs on the nullable side of a left join: the hard case.
-- key: category, segment
-- columns:
--   category  text
--   segment   text
--   lines     bigint
--   amount    decimal(38,2)
with lines as (
    select i.order_id, i.product_id, i.quantity * i.unit_price as amount from silver.order_items i
)
select coalesce(p.category, 'none') as category, f.segment, count(*) as lines, sum(l.amount) as amount
from lines l
join gold.order_facts f on f.order_id = l.order_id
left join silver.products p on p.product_id = l.product_id
where not f.is_cancelled
group by all
