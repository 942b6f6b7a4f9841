-- model: daily_sales
-- doc: Sales per day of the order. Cancelled, refunded and deleted orders do not count.
-- owner: analytics
-- key: order_date_key
-- columns:
--   order_date_key   integer        Day of the orders as YYYYMMDD, UTC: dim_date
--   order_count      bigint         Orders of the day
--   unique_customers bigint         Customers with at least one of them
--   total_revenue    decimal(38,2)  Sum of total_amount
--   discount_amount  decimal(38,2)  Sum of discounts
--   tax_amount       decimal(38,2)  Sum of tax
--   shipping_amount  decimal(38,2)  Sum of shipping
--   avg_order_value  decimal(18,2)  total_revenue / order_count, to the cent
select
    f.order_date_key,
    count(*) as order_count,
    count(distinct f.customer_key) as unique_customers,
    sum(f.total_amount) as total_revenue,
    sum(f.discount_amount) as discount_amount,
    sum(f.tax_amount) as tax_amount,
    sum(f.shipping_amount) as shipping_amount,
    cast(cast(sum(f.total_amount) as double) / nullif(count(*), 0) as decimal(18, 2)) as avg_order_value
from gold.order_facts as f
where f.is_sale
group by f.order_date_key
