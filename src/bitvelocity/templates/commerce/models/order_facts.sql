-- model: order_facts
-- doc: One row per order, as it stands now: an update replaces it, a delete (also a soft one) takes it away.
--      Cancelled and refunded orders stay, with is_sale false.
-- owner: analytics
-- key: source_silver_order_id, ordered_at
-- columns:
--   source_silver_order_id text           The order in silver that this row comes from
--   ordered_at             timestamptz    When it was placed
--   order_date_key         integer        Day of the order as YYYYMMDD, UTC
--   customer_key           text           The customer: dim_customer
--   store_number           integer        The store
--   status                 text           Its status now
--   is_sale                boolean        Neither cancelled nor refunded
--   order_count            integer        1, so that sums count
--   subtotal               decimal(12,2)  Shelf prices without tax
--   discount_amount        decimal(12,2)  Discounts and coupons
--   tax_amount             decimal(12,2)  Tax
--   shipping_amount        decimal(12,2)  Delivery
--   total_amount           decimal(12,2)  What the shop receives
--   currency               text           ISO 4217
select
    o.order_id as source_silver_order_id,
    o.created_at as ordered_at,
    cast(strftime(cast(o.created_at at time zone 'UTC' as date), '%Y%m%d') as integer) as order_date_key,
    o.customer_id as customer_key,
    o.store_number,
    o.status,
    o.status not in ('CANCELLED', 'REFUNDED') as is_sale,
    1 as order_count,
    o.subtotal,
    o.discount_amount,
    o.tax_amount,
    o.shipping_amount,
    o.total_amount,
    o.currency
from silver.orders as o
where o.deleted_at is null
