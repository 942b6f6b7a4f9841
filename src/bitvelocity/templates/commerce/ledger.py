"""The replay's own books: what the database must hold after the steps that were committed.

Kept in columns of numbers, without a word of SQL, so that tests can hold PostgreSQL, silver and gold against
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl

from .fates import Kind, Step
from .shop import Ints, Shop, tax_within
from .telemetry import Telemetry

STATUSES = ("PENDING", "CONFIRMED", "PROCESSING", "SHIPPED", "DELIVERED", "CANCELLED", "REFUNDED")
BECOMES: dict[Kind, str] = {
    "confirm": "CONFIRMED",
    "process": "PROCESSING",
    "ship": "SHIPPED",
    "deliver": "DELIVERED",
    "cancel": "CANCELLED",
    "refund": "REFUNDED",
}
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day as `gold.daily_sales` must show it: neither cancelled, refunded nor deleted orders count."""

    day: date
    order_count: int
    unique_customers: int
    total_revenue: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Rows per table, and the orders' sums, soft-deleted rows included; `days` in order."""

    rows: dict[str, int]
    statuses: dict[str, int]
    soft_deleted: int
    subtotal: Decimal
    discount_amount: Decimal
    tax_amount: Decimal
    shipping_amount: Decimal
    total_amount: Decimal
    days: tuple[Day, ...]

    @property
    def revenue(self) -> Decimal:
        """All days together, as `gold.daily_sales` adds up."""
        return sum((day.total_revenue for day in self.days), Decimal(0))


class Ledger:
    """Takes each committed step once, in order."""

    def __init__(self, shop: Shop, telemetry: Telemetry) -> None:
        self._shop = shop
        self._telemetry = telemetry
        orders, items = shop.orders.height, shop.items.height
        self._order = shop.items["order"].to_numpy()
        self._first = np.append(shop.orders["first"].to_numpy(), items)
        self._taxed = shop.items["taxed"].to_numpy()
        self._item = np.zeros(items, dtype=bool)
        self._discount: Ints = shop.items["discount"].to_numpy()
        self._tax: Ints = shop.items["tax"].to_numpy().copy()
        self._total: Ints = shop.items["total"].to_numpy().copy()
        self._status = np.zeros(orders, dtype=np.int8)
        self._hidden = np.zeros(orders, dtype=bool)
        self.versions = np.zeros(orders, dtype=np.int32)
        """Version of each order, 0 when it is not there."""
        self.renames = np.zeros(shop.products.height, dtype=np.int32)
        self._imported: dict[str, int] = {"customers": 0, "products": 0, "device_telemetry": 0}
        self.lines = 0
        self.orders = 0
        """Items and orders that were ever written."""

    def apply(self, step: Step) -> None:
        """What the step changed, once it is committed."""
        match step.kind:
            case "customers" | "products":
                self._imported[step.kind] += len(step.rows)
            case "readings":
                self._imported["device_telemetry"] += self._telemetry.count
            case "rename":
                self.renames[step.rows] += 1
            case "place":
                self._place(step.rows)
            case "correct":
                self._correct(step.rows)
            case "drop":
                self._item[step.rows] = False
                self.versions[self.orders_of(step)] += 1
            case "hide":
                self._hidden[step.rows] = True
                self.versions[step.rows] += 1
            case "erase":
                self._item[self._items_of(step.rows)] = False
                self.versions[step.rows] = 0
            case _:
                self._status[step.rows] = STATUSES.index(BECOMES[step.kind])
                self.versions[step.rows] += 1

    def orders_of(self, step: Step) -> Ints:
        """The orders that a step touches."""
        return np.unique(self._order[step.rows]) if step.kind in {"correct", "drop"} else step.rows

    def corrected(self, rows: Ints) -> tuple[Ints, Ints]:
        """New total and tax of items whose price is corrected: a fifth less, to the cent."""
        total = self._total[rows] - self._total[rows] // 5
        return total, np.where(self._taxed[rows], tax_within(total), 0)

    def expected(self) -> Expected:
        """What SQL must find now."""
        here = self.versions > 0
        item = self._item
        shipping = self._shop.orders["shipping"].to_numpy()[here].sum()
        total, discount, tax = (a[item].sum() for a in (self._total, self._discount, self._tax))
        return Expected(
            rows={
                **self._imported,
                "orders": int(here.sum()),
                "order_items": int(item.sum()),
                "payments": int(here.sum()),
            },
            statuses=self._count_statuses(here),
            soft_deleted=int((here & self._hidden).sum()),
            subtotal=money(total + discount - tax),
            discount_amount=money(discount),
            tax_amount=money(tax),
            shipping_amount=money(shipping),
            total_amount=money(total + shipping),
            days=self._days(here),
        )

    def _place(self, orders: Ints) -> None:
        rows = self._items_of(orders)
        self._item[rows] = True
        self.versions[orders] = 1
        self.lines += len(rows)
        self.orders += len(orders)

    def _correct(self, rows: Ints) -> None:
        self._total[rows], self._tax[rows] = self.corrected(rows)
        self.versions[np.unique(self._order[rows])] += 1

    def _items_of(self, orders: Ints) -> Ints:
        return items_of(self._first, orders)

    def _count_statuses(self, here: npt.NDArray[np.bool_]) -> dict[str, int]:
        counts = np.bincount(self._status[here], minlength=len(STATUSES))
        return {name: int(n) for name, n in zip(STATUSES, counts, strict=True) if n}

    def _days(self, here: npt.NDArray[np.bool_]) -> tuple[Day, ...]:
        lost = np.isin(self._status, [STATUSES.index("CANCELLED"), STATUSES.index("REFUNDED")])
        sales = np.zeros(len(here), dtype=np.int64)
        np.add.at(sales, self._order[self._item], self._total[self._item])
        orders = self._shop.orders.select("customer_id", "shipping", pl.col("at").dt.date().alias("day"))
        kept = orders.with_columns(pl.Series("sales", sales)).filter(pl.Series(here & ~lost & ~self._hidden))
        days = kept.group_by("day").agg(
            pl.len().alias("n"),
            pl.col("customer_id").n_unique().alias("customers"),
            (pl.col("sales") + pl.col("shipping")).sum().alias("revenue"),
        )
        return tuple(
            Day(day=day, order_count=n, unique_customers=customers, total_revenue=money(revenue))
            for day, n, customers, revenue in days.sort("day").iter_rows()
        )


def items_of(first: Ints, orders: Ints) -> Ints:
    """The item rows of `orders`; `first` has one entry more than there are orders."""
    starts, sizes = first[orders], first[orders + 1] - first[orders]
    within: Ints = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return within + np.repeat(starts, sizes)


def money(cents: int | np.int64) -> Decimal:
    """Whole cents as an exact amount."""
    return Decimal(int(cents)).scaleb(-2)


def day_of(at: int) -> date:
    """The UTC day of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=at)
