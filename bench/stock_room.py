"""An application that does at random everything that a transaction can be, while `kills.py` strikes."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import audit, connect

PATIENCE = 120.0
FLOOD_ROWS = 4_000
FILL = """
insert into stock select n, 'shelf ' || mod(n, 50), n * 1.125 from generate_series(%s::bigint, %s::bigint) as n"""


class StockRoom:
    """Everything that a transaction can be, at random; an act whose connection is lost is not done again."""

    def __init__(self, dsn: str, dice: random.Random) -> None:
        self._dsn, self._dice = dsn, dice
        self._numbers = itertools.count(1, FLOOD_ROWS)
        self._connection: psycopg.Connection[Any] | None = None

    def act(self) -> None:
        acts = [self._copy, self._change_mind, self._move, self._remove, self.flood, self._flood_in_vain, self._empty]
        act = self._dice.choices(acts, weights=[4, 4, 2, 2, 2, 1, 1])[0]
        try:
            act()
        except psycopg.OperationalError:
            self._connection = None

    def flood(self) -> None:
        """A transaction that is streamed long before it commits, with a part taken back."""
        connection = self._open()
        with connection.transaction(), audit(connection, user="stock:flood"):
            first = self._fill(connection, FLOOD_ROWS // 2)
            with connection.transaction(force_rollback=True):
                self._fill(connection, FLOOD_ROWS)
            connection.execute("update stock set pieces = pieces + 1 where sku between %s and %s", [first, first + 500])

    def _flood_in_vain(self) -> None:
        connection = self._open()
        with connection.transaction(force_rollback=True):
            self._fill(connection, FLOOD_ROWS)

    def _copy(self) -> None:
        connection = self._open()
        first = next(self._numbers)
        with connection.cursor().copy("copy stock from stdin") as copy:
            for sku in range(first, first + 200):
                copy.write_row((sku, None if sku % 7 == 0 else f"bin\t{sku}\n", sku % 1000 or None))

    def _change_mind(self) -> None:
        connection = self._open()
        with connection.transaction(), audit(connection, user="stock:mind", source="stock room"):
            first = self._fill(connection, 20)
            with connection.transaction(force_rollback=True):
                connection.execute("update stock set place = 'nowhere'")
                connection.execute("delete from stock where sku >= %s", [first])
            connection.execute("update stock set place = null where sku >= %s", [first])

    def _move(self) -> None:
        self._open().execute(
            "update stock set sku = -sku where sku in (select sku from stock where sku > 0 order by random() limit 50)"
        )

    def _remove(self) -> None:
        self._open().execute("delete from stock where sku in (select sku from stock order by random() limit 100)")

    def _empty(self) -> None:
        connection = self._open()
        with connection.transaction():
            self._fill(connection, 5)
            connection.execute("truncate stock")
            self._fill(connection, 10)

    def _fill(self, connection: psycopg.Connection[Any], rows: int) -> int:
        first = next(self._numbers)
        connection.execute(FILL, [first, first + rows - 1])
        return first

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            found: list[psycopg.Connection[Any]] = []
            wait_until(lambda: found or self._try(found), lambda: None)
            self._connection = found[0]
        return self._connection

    def _try(self, found: list[psycopg.Connection[Any]]) -> None:
        try:
            found.append(connect(self._dsn, autocommit=True, application_name="stock room"))
        except DatabaseError:
            return


def wait_until(reached: Callable[[], object], check: Callable[[], None]) -> None:
    """Look again and again, for up to two minutes."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        check()
        if time.monotonic() > deadline:
            raise TimeoutError("it does not come")
        time.sleep(0.02)
