-- model: order_item_facts
-- doc: One row per line of an order that is not deleted, with the keys of its order.
-- owner: analytics
-- key: source_silver_order_id, line_number
-- columns:
--   source_silver_order_id text           The order in silver that this line belongs to
--   line_number            integer        Line of the order
--   order_date_key         integer        Day of the order as YYYYMMDD, UTC
--   customer_key           text           The customer: dim_customer
--   product_key            text           The product: dim_product
--   status                 text           Status of the order
--   is_sale                boolean        The order is neither cancelled nor refunded
--   quantity               integer        Pieces; thousandths of a gallon for fuel
--   subtotal               decimal(12,2)  Shelf price without tax
--   discount_amount        decimal(12,2)  Discounts and coupons
--   tax_amount             decimal(12,2)  Tax
--   total_amount           decimal(12,2)  What the shop receives
select
    i.order_id as source_silver_order_id,
    i.line_number,
    cast(strftime(cast(o.created_at at time zone 'UTC' as date), '%Y%m%d') as integer) as order_date_key,
    o.customer_id as customer_key,
    i.product_id as product_key,
    o.status,
    o.status not in ('CANCELLED', 'REFUNDED') as is_sale,
    i.quantity,
    i.subtotal,
    i.discount_amount,
    i.tax_amount,
    i.total_amount
from silver.order_items as i
join silver.orders as o on o.order_id = i.order_id and o.created_at = i.order_created_at
where o.deleted_at is null and i.deleted_at is null
