"""Orders as the tables take them: rows of orders, order_items and payments, with amounts as exact text."""

from __future__ import annotations

import polars as pl

from .shop import Shop

TABLES: dict[str, dict[str, str]] = {
    "orders": {
        "order_id": "uuid", "customer_id": "uuid", "store_number": "integer", "created_at": "timestamptz",
        "subtotal": "numeric", "discount_amount": "numeric", "tax_amount": "numeric",
        "shipping_amount": "numeric", "total_amount": "numeric",
    },
    "order_items": {
        "order_id": "uuid", "line_number": "integer", "order_created_at": "timestamptz", "product_id": "uuid",
        "quantity": "integer", "unit_price": "numeric", "subtotal": "numeric", "discount_amount": "numeric",
        "tax_amount": "numeric", "total_amount": "numeric",
    },
    "payments": {
        "payment_id": "uuid", "order_id": "uuid", "order_created_at": "timestamptz", "method": "text",
        "amount": "numeric",
    },
}  # fmt: skip
"""The columns that placing an order writes, and their types."""
BLOCK = 1_000


class Placed:
    """The rows of neighbouring orders. Made a block ahead, so that asking for one at a time is cheap."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._low = self._high = 0
        self._tables: dict[str, pl.DataFrame] = {}

    def rows(self, low: int, high: int) -> dict[str, pl.DataFrame]:
        """Table -> rows of the orders from `low` to before `high`."""
        if low < self._low or high > self._high:
            self._low, self._high = low, min(max(high, low + BLOCK), self._shop.orders.height)
            self._tables = self._block()
        start, end, offset = self._first(low), self._first(high), self._first(self._low)
        places = {"order_items": (start - offset, end - start)}
        return {
            name: table.slice(*places.get(name, (low - self._low, high - low)))
            for name, table in self._tables.items()
        }

    def _first(self, order: int) -> int:
        """The first item of an order; of the one after the last, the end of the items."""
        orders = self._shop.orders
        return int(orders["first"][order]) if order < orders.height else self._shop.items.height

    def _block(self) -> dict[str, pl.DataFrame]:
        start = self._first(self._low)
        items = self._shop.items.slice(start, self._first(self._high) - start).with_columns(
            subtotal=pl.col("total") + pl.col("discount") - pl.col("tax")
        )
        sums = items.group_by("order").agg(pl.col("subtotal", "discount", "tax", "total").sum())
        heads = self._shop.orders.slice(self._low, self._high - self._low).with_columns(
            pl.int_range(self._low, self._high).alias("order"),
            pl.col("at").dt.replace_time_zone("UTC").alias("order_created_at"),
        )
        sold = heads.join(sums, on="order", how="left", maintain_order="left").with_columns(
            pl.col("total") + pl.col("shipping")
        )
        whose = heads.select("order", "order_id", "order_created_at")
        lines = items.join(whose, on="order", how="left", maintain_order="left")
        return {
            "orders": _orders(sold).select(*TABLES["orders"]),
            "order_items": _items(lines).select(*TABLES["order_items"]),
            "payments": sold.with_columns(amount=amount("total")).select(*TABLES["payments"]),
        }


def _orders(sold: pl.DataFrame) -> pl.DataFrame:
    return sold.with_columns(
        amount("subtotal"),
        created_at=pl.col("order_created_at"),
        discount_amount=amount("discount"),
        tax_amount=amount("tax"),
        shipping_amount=amount("shipping"),
        total_amount=amount("total"),
    )


def _items(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.with_columns(
        amount("subtotal"),
        unit_price=_unit_price(),
        discount_amount=amount("discount"),
        tax_amount=amount("tax"),
        total_amount=amount("total"),
    )


def amount(column: str) -> pl.Expr:
    """A column of whole cents, not negative, as the text of exact amounts."""
    cents = pl.col(column)
    return pl.format("{}.{}", cents // 100, (cents % 100).cast(pl.String).str.zfill(2)).alias(column)


def _unit_price() -> pl.Expr:
    """Price of one unit before discounts, to a hundredth of a cent; no quantity counts as one unit."""
    units = pl.max_horizontal("quantity", 1)
    fine = ((pl.col("total") + pl.col("discount")) * 200 + units) // (2 * units)
    return pl.format("{}.{}", fine // 10_000, (fine % 10_000).cast(pl.String).str.zfill(4))
