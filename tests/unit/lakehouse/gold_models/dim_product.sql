-- model: dim_product
-- key: product_key
-- columns:
--   product_key  text
--   name         text
--   category     text
--   price        decimal(12,2)
select p.product_id as product_key, p.name, coalesce(p.category, 'unknown') as category, p.price
from silver.products p
