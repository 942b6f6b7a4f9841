-- model: dim_product
-- doc: Products as they are called now.
-- owner: analytics
-- key: product_key
-- columns:
--   product_key    text     The product's id
--   product_number integer  Number on the shelf
--   product_name   text     Its newest name
--   department     text     Department of the store
--   category       text     Category within the department
--   brand          text     National, or the shop's own (Private)
--   package_size   text     As printed on the package
--   is_active      boolean  Not deleted
select
    p.product_id as product_key,
    p.product_number,
    p.name as product_name,
    p.department,
    p.category,
    p.brand,
    p.package_size,
    p.deleted_at is null as is_active
from silver.products as p
