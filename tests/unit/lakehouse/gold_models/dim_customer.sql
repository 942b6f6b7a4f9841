-- model: dim_customer
-- doc: One row per customer.
-- key: customer_key
-- columns:
--   customer_key  bigint  The customer's number
--   email         text    Lower case
--   segment       text
select customer_id as customer_key, lower(email) as email, segment
from silver.customers
