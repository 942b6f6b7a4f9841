"""The shop's tables. Change them, then see by `bitvelocity apply --dry-run` what that means for the database.

Every table also gets the standard audit columns, stamped by the database: created_at, created_by, updated_at,
updated_by, version, deleted_at, deleted_by. `audit=False` leaves them out. `audit_trail=` keeps a table of every change.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from bitvelocity.contracts import (
    Bits,
    Default,
    Doc,
    Entity,
    Index,
    Key,
    Length,
    Numeric,
    Partition,
    Pattern,
    Pii,
    Range,
    Ref,
    Reference,
    Unique,
)

Money = Annotated[Decimal, Numeric(10, 2), Range(0, 10_000)]
NewId = Annotated[UUID, Key(), Default("gen_random_uuid()")]
Number = Annotated[int, Bits(32)]
Currency = Annotated[str, Length(3), Pattern("[A-Z]{3}"), Default("'USD'")]


class Customer(Entity, table="customers", owner="crm", retention="10 years"):
    """A household with a loyalty card."""

    customer_id: NewId
    customer_number: Annotated[Number, Unique(), Doc("Number of the loyalty card.")]
    name: Annotated[str, Length(200), Pii("name")]
    email: Annotated[str, Length(320), Pattern(r"[^@]+@[^@]+\.[^@]+"), Pii("email")]
    age_band: Annotated[str | None, Length(10)]
    income_band: Annotated[str | None, Length(20)]
    household_size: Annotated[str | None, Length(5)]
    home_ownership: Annotated[str | None, Length(30)]


class Product(Entity, table="products", owner="catalog"):
    """Something that the shop sells."""

    product_id: NewId
    product_number: Annotated[Number, Unique(), Doc("Number on the shelf.")]
    name: Annotated[str, Length(200)]
    department: Annotated[str, Length(50)]
    category: Annotated[str | None, Length(50)]
    brand: Annotated[Literal["National", "Private"] | None, Doc("Private: the shop's own.")]
    package_size: Annotated[str | None, Length(20)]


class Order(
    Entity,
    table="orders",
    owner="checkout",
    retention="7 years",
    audit_trail="cdc",
    partition=Partition(column="created_at", step="month", ahead=3, behind=1),
    indexes=[
        Index(
            name="idx_orders_customer_date",
            columns=("customer_id", "created_at desc"),
            where="deleted_at is null",
        ),
        Index(
            name="idx_orders_active_status",
            columns=("status", "created_at desc"),
            where="status in ('PENDING', 'CONFIRMED', 'PROCESSING')",
        ),
    ],
):
    """A purchase. total_amount = subtotal - discount_amount + tax_amount + shipping_amount."""

    order_id: NewId
    customer_id: Annotated[UUID, Ref("customers.customer_id")]
    store_number: Annotated[Number | None, Doc("The store that it was bought in or brought from.")]
    status: Annotated[
        Literal["PENDING", "CONFIRMED", "PROCESSING", "SHIPPED", "DELIVERED", "CANCELLED", "REFUNDED"],
        Default("'PENDING'"),
    ]
    subtotal: Annotated[Money, Doc("Shelf prices without tax.")]
    discount_amount: Annotated[Money, Default("0")]
    tax_amount: Annotated[Money, Default("0")]
    shipping_amount: Annotated[Money, Default("0")]
    total_amount: Annotated[Money, Doc("What the shop receives.")]
    currency: Currency


class OrderItem(
    Entity,
    table="order_items",
    owner="checkout",
    retention="7 years",
    references=[
        Reference(
            columns=("order_id", "order_created_at"), to="orders", to_columns=("order_id", "created_at")
        )
    ],
):
    """One line of an order. total_amount = subtotal - discount_amount + tax_amount."""

    order_id: Annotated[UUID, Key()]
    line_number: Annotated[Number, Key(), Range(1)]
    order_created_at: Annotated[datetime, Doc("Part of the order's key: orders are partitioned by it.")]
    product_id: Annotated[UUID, Ref("products.product_id")]
    quantity: Annotated[Number, Range(0), Doc("Pieces; thousandths of a gallon for fuel.")]
    unit_price: Annotated[
        Decimal, Numeric(12, 4), Range(0), Doc("Shelf price with tax, rounded; the amounts are exact.")
    ]
    subtotal: Money
    discount_amount: Annotated[Money, Default("0")]
    tax_amount: Annotated[Money, Default("0")]
    total_amount: Money


class Payment(
    Entity,
    table="payments",
    owner="payments",
    retention="7 years",
    references=[
        Reference(
            columns=("order_id", "order_created_at"), to="orders", to_columns=("order_id", "created_at")
        )
    ],
    indexes=[Index(name="idx_payments_order", columns=("order_id",))],
):
    """How an order is paid."""

    payment_id: NewId
    order_id: UUID
    order_created_at: datetime
    method: Literal["CARD", "CASH", "CHECK", "VOUCHER"]
    status: Annotated[Literal["AUTHORIZED", "CAPTURED", "VOIDED", "REFUNDED"], Default("'AUTHORIZED'")]
    amount: Money
    currency: Currency


class DeviceTelemetry(
    Entity,
    table="device_telemetry",
    owner="stores",
    retention="2 years",
    audit=False,
    indexes=[Index(name="idx_telemetry_timestamp_brin", columns=("timestamp",), method="brin")],
):
    """A reading of a sensor. Rows are never changed, so there is nothing to audit."""

    device_id: Annotated[UUID, Key()]
    sensor_type: Annotated[str, Length(50), Key()]
    timestamp: Annotated[datetime, Key()]
    sensor_value: float
