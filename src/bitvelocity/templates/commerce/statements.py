"""The shop's SQL: how the application writes each kind of step.

Small steps are arrays unnested by one statement per table, sent in one round trip; bulk steps are COPY.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from psycopg import Connection, sql

from .fates import COPY_FROM, Step
from .ledger import BECOMES, Ledger, money
from .placed import TABLES, Placed
from .shop import Ints, Shop
from .telemetry import Telemetry

OF_ORDERS = """
  from unnest(%(ids)s::uuid[], %(at)s::timestamptz[]) as k (order_id, created_at)
 where o.order_id = k.order_id and o.created_at = k.created_at
   and o.created_at between %(low)s and %(high)s"""
"""The two bounds let the planner leave out the partitions of other months."""
SET_STATUS = "update orders as o set status = %(status)s" + OF_ORDERS
HIDE = "update orders as o set deleted_at = now()" + OF_ORDERS
TOTAL = """
update orders as o
   set subtotal = s.subtotal, discount_amount = s.discount_amount, tax_amount = s.tax_amount,
       total_amount = s.total_amount + o.shipping_amount
  from (select order_id, order_created_at, sum(subtotal) as subtotal, sum(discount_amount) as discount_amount,
               sum(tax_amount) as tax_amount, sum(total_amount) as total_amount
          from order_items where order_id = any(%(ids)s::uuid[]) group by order_id, order_created_at) as s
 where o.order_id = s.order_id and o.created_at = s.order_created_at
   and o.created_at between %(low)s and %(high)s"""
AMOUNT = """
update payments as p set amount = o.total_amount from orders as o
 where o.order_id = any(%(ids)s::uuid[]) and o.created_at between %(low)s and %(high)s
   and p.order_id = o.order_id and p.order_created_at = o.created_at"""
SET_PAYMENT = "update payments set status = %(status)s where order_id = any(%(ids)s::uuid[])"
CORRECT = """
update order_items as i
   set unit_price = k.unit_price, subtotal = k.subtotal, tax_amount = k.tax_amount,
       total_amount = k.total_amount
  from unnest(%(ids)s::uuid[], %(lines)s::integer[], %(prices)s::numeric[], %(subtotals)s::numeric[],
              %(taxes)s::numeric[], %(totals)s::numeric[])
       as k (order_id, line_number, unit_price, subtotal, tax_amount, total_amount)
 where i.order_id = k.order_id and i.line_number = k.line_number"""
DROP = """
delete from order_items as i using unnest(%(ids)s::uuid[], %(lines)s::integer[]) as k (order_id, line_number)
 where i.order_id = k.order_id and i.line_number = k.line_number"""
ERASE = (
    "delete from payments where order_id = any(%(ids)s::uuid[])",
    "delete from order_items where order_id = any(%(ids)s::uuid[])",
    "delete from orders where order_id = any(%(ids)s::uuid[]) and created_at between %(low)s and %(high)s",
)
RENAME = """
update products as p set name = k.name from unnest(%(ids)s::uuid[], %(names)s::text[]) as k (product_id, name)
 where p.product_id = k.product_id"""
PAID = {"ship": "CAPTURED", "cancel": "VOIDED", "refund": "REFUNDED"}


class Writer:
    """Carries steps out on a connection, inside the transaction that the caller began."""

    def __init__(self, shop: Shop, telemetry: Telemetry) -> None:
        self._shop = shop
        self._telemetry = telemetry
        self._placed = Placed(shop)
        self._at = shop.orders["at"].dt.replace_time_zone("UTC")

    def is_bulk(self, step: Step) -> bool:
        """It is a COPY, which cannot share its round trip with other statements."""
        return step.kind in {"customers", "products", "readings"} or (
            step.kind == "place" and len(step.rows) >= COPY_FROM
        )

    def write(self, connection: Connection[Any], step: Step, ledger: Ledger) -> None:
        """The statements of a step; `ledger` stands before it."""
        match step.kind:
            case "customers" | "products":
                table = self._shop.customers if step.kind == "customers" else self._shop.products
                copy(connection, step.kind, table[step.rows].drop("at"))
            case "readings":
                copy(connection, "device_telemetry", self._telemetry.readings(step.at))
            case "place":
                self._place(connection, step)
            case "rename":
                names = [f"{name} (new recipe)" for name in self._shop.products["name"][step.rows]]
                ids = self._shop.products["product_id"][step.rows].to_list()
                connection.execute(RENAME, {"ids": ids, "names": names})
            case "correct" | "drop":
                self._change_items(connection, step, ledger)
            case _:
                self._change_orders(connection, step)

    def _place(self, connection: Connection[Any], step: Step) -> None:
        for name, frame in self._placed.rows(int(step.rows[0]), int(step.rows[-1]) + 1).items():
            if self.is_bulk(step):
                copy(connection, name, frame)
            else:
                insert(connection, name, frame)

    def _change_orders(self, connection: Connection[Any], step: Step) -> None:
        which = self._which(step.rows)
        if step.kind == "erase":
            for statement in ERASE:
                connection.execute(statement, which)
        elif step.kind == "hide":
            connection.execute(HIDE, which)
        else:
            connection.execute(SET_STATUS, {**which, "status": BECOMES[step.kind]})
            if step.kind in PAID:
                connection.execute(SET_PAYMENT, {"ids": which["ids"], "status": PAID[step.kind]})

    def _change_items(self, connection: Connection[Any], step: Step, ledger: Ledger) -> None:
        items = self._shop.items[step.rows]
        ids = self._shop.orders["order_id"][items["order"]].to_list()
        lines = items["line_number"].to_list()
        if step.kind == "drop":
            connection.execute(DROP, {"ids": ids, "lines": lines})
        else:
            total, tax = ledger.corrected(step.rows)
            prices = _corrected(items, total, tax)
            connection.execute(CORRECT, {"ids": ids, "lines": lines, **prices})
        which = self._which(ledger.orders_of(step))
        connection.execute(TOTAL, which)
        connection.execute(AMOUNT, which)

    def _which(self, orders: Ints) -> dict[str, Any]:
        """Parameters that name orders."""
        at = self._at[orders]
        ids = self._shop.orders["order_id"][orders].to_list()
        return {"ids": ids, "at": at.to_list(), "low": at.min(), "high": at.max()}


def copy(connection: Connection[Any], table: str, frame: pl.DataFrame) -> None:
    """All rows of `frame` by one COPY."""
    names = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(sql.Identifier(table), names)
    text = frame.write_csv(include_header=False, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(text)


def insert(connection: Connection[Any], table: str, frame: pl.DataFrame) -> None:
    """All rows of `frame` by one INSERT of unnested arrays."""
    columns = TABLES[table]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    arrays = sql.SQL(", ").join(sql.SQL("%s::" + kind + "[]") for kind in columns.values())
    statement = sql.SQL("insert into {} ({}) select * from unnest({})").format(
        sql.Identifier(table), names, arrays
    )
    connection.execute(statement, [frame[name].to_list() for name in columns])


def _corrected(items: pl.DataFrame, total: Ints, tax: Ints) -> dict[str, Sequence[str]]:
    """What an item's new price makes of its amounts."""
    gross = total + items["discount"].to_numpy()
    units = np.maximum(items["quantity"].to_numpy(), 1)
    prices = (gross * 200 + units) // (2 * units)
    return {
        "prices": [f"{fine // 10_000}.{fine % 10_000:04}" for fine in prices.tolist()],
        "subtotals": [str(money(cents)) for cents in (gross - tax).tolist()],
        "taxes": [str(money(cents)) for cents in tax.tolist()],
        "totals": [str(money(cents)) for cents in total.tolist()],
    }
