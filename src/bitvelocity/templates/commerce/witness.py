"""How a replay finds out, from the tables alone, which of its steps are in the database.

Every step has one row that shows it: an order at a certain version, a customer that exists. So nothing has to
be stored beside the shop's own data, and a step cut off by a lost connection is never written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import Connection

from .fates import Step
from .ledger import Ledger
from .shop import Shop
from .telemetry import Telemetry

LOOK_UPS = {
    "orders": "select version from orders where order_id = %s and created_at = %s",
    "products": "select version from products where product_id = %s",
    "customers": "select version from customers where customer_id = %s",
    "device_telemetry": """
select 1 from device_telemetry where device_id = %s and sensor_type = %s and "timestamp" = %s""",
}


@dataclass(frozen=True, slots=True)
class Witness:
    """The row that shows a step, and its version right after it (0: it is gone).

    `lasting` is false where the row is erased later in the story: then its absence says nothing.
    """

    table: str
    row: int
    """Its row in the shop's table; of readings, the start of their window."""
    version: int
    lasting: bool


class Witnesses:
    """Looks for the steps of one story in a database."""

    def __init__(self, shop: Shop, telemetry: Telemetry, story: Sequence[Step]) -> None:
        self._shop = shop
        self._telemetry = telemetry
        ledger = Ledger(shop, telemetry)
        erased = np.zeros(shop.orders.height, dtype=bool)
        for step in story:
            if step.kind == "erase":
                erased[step.rows] = True
        self._witnesses = tuple(self._witness(step, ledger, erased) for step in story)

    def is_written(self, connection: Connection[Any], step: int) -> bool:
        """Whether a step was committed, when all before it were and none after it."""
        witness = self._witnesses[step]
        return self._version(connection, witness) == witness.version

    def written(self, connection: Connection[Any]) -> int:
        """How many steps, from the first on, the database holds."""
        lasting = [n for n, witness in enumerate(self._witnesses) if witness.lasting]
        found = _bisect(lasting, lambda n: self._reached(connection, self._witnesses[n]))
        return 0 if found == 0 else lasting[found - 1] + 1

    def _reached(self, connection: Connection[Any], witness: Witness) -> bool:
        return self._version(connection, witness) >= witness.version

    def _version(self, connection: Connection[Any], witness: Witness) -> int:
        found = connection.execute(LOOK_UPS[witness.table], self._key(witness)).fetchone()
        return 0 if found is None else int(found[0])

    def _key(self, witness: Witness) -> tuple[Any, ...]:
        row, shop = witness.row, self._shop
        if witness.table == "orders":
            return shop.orders["order_id"][row], shop.orders["at"].dt.replace_time_zone("UTC")[row]
        if witness.table == "products":
            return (shop.products["product_id"][row],)
        if witness.table == "customers":
            return (shop.customers["customer_id"][row],)
        return self._telemetry.readings(row).row(0)[:3]

    def _witness(self, step: Step, ledger: Ledger, erased: npt.NDArray[np.bool_]) -> Witness:
        """The step's witness; takes `ledger` past the step."""
        ledger.apply(step)
        row = int(step.rows[0])
        match step.kind:
            case "customers" | "products":
                return Witness(step.kind, row, 1, lasting=True)
            case "rename":
                return Witness("products", row, 1 + int(ledger.renames[row]), lasting=True)
            case "readings":
                return Witness("device_telemetry", row, 1, lasting=True)
        orders = ledger.orders_of(step)
        lasting = orders[~erased[orders]]
        order = int(lasting[0] if len(lasting) else orders[0])
        return Witness("orders", order, int(ledger.versions[order]), lasting=len(lasting) > 0)


def _bisect(steps: Sequence[int], reached: Callable[[int], bool]) -> int:
    """How many of `steps`, from the first on, are reached; they are reached in order."""
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if reached(steps[middle]) else (low, middle)
    return low
