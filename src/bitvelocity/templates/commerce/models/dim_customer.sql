-- model: dim_customer
-- doc: Customers as they are now. Name and e-mail address stay in silver: they are personal data.
-- owner: analytics
-- key: customer_key
-- columns:
--   customer_key    text         The customer's id
--   customer_number integer      Number of the loyalty card
--   age_band        text         Age of the head of the household
--   income_band     text         Income of the household
--   household_size  text         Persons in the household
--   home_ownership  text         Owner or renter
--   is_active       boolean      Not deleted
--   customer_since  timestamptz  When the customer was entered
select
    c.customer_id as customer_key,
    c.customer_number,
    c.age_band,
    c.income_band,
    c.household_size,
    c.home_ownership,
    c.deleted_at is null as is_active,
    c.created_at as customer_since
from silver.customers as c
