"""A year of retail written into the shop's tables as an application does it, with books kept beside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any

import polars as pl
import psycopg
from psycopg import Connection

from ...errors import DatabaseError
from ...oltp import audit, connect
from .fates import SOURCES, Rates, Step, write_story
from .ledger import Expected, Ledger, day_of
from .retail import WINDOW, Retail, load_retail
from .shop import correlation, open_shop
from .statements import Writer
from .telemetry import install_devices
from .witness import Witnesses

PATIENCE = 60.0
"""Seconds to wait for a database that went away."""
TRIES = 20
"""Connections that one step may lose: then something is wrong with the step, not with the connection."""
SESSION = "-c plan_cache_mode=force_generic_plan"
"""Checking a foreign key to partitioned orders then costs a fifth: else it is planned anew for each row."""
VERSIONS = "select order_id::text, version from orders where order_id = any(%s::uuid[])"
PARTITIONS = "select bv.ensure_partitions('orders', 'month', %s, %s)"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is, after one committed transaction."""

    phase: str
    """"customers" and "products" before the first order is placed, then "orders"."""
    day: date
    lines: int
    of_lines: int
    orders: int
    transactions: int


class Replay:
    """Writes real life into a database that has the tables of `entities.py`.

        replay = Replay(dsn, lines=302_000)
        for progress in replay.run():
            print(progress.day, progress.lines)
        replay.expected()

    - Each step is one transaction with its own user and correlation id; leave the loop at any moment and the
      database is consistent, with `expected()` telling what it holds. Iterate `run()` again to go on.
    - The same data, seed and rates write the same rows, and fewer lines are the beginning of more. On a
      database that holds the beginning of this replay, `run()` goes on from there, also in a new process.
    - A lost connection is opened again for up to a minute, and the step at hand is repeated if it was not
      committed.
    """

    def __init__(
        self,
        dsn: str,
        *,
        lines: int | None = 302_000,
        seed: int = 7,
        synthetic: bool = False,
        rates: Rates | None = None,
        retail: Retail | None = None,
    ) -> None:
        self._dsn = dsn
        self._seed = seed
        self.shop = open_shop(retail or load_retail(lines, seed=seed, synthetic=synthetic))
        self._telemetry = install_devices(self.shop, WINDOW)
        self._story = tuple(write_story(self.shop, rates or Rates(), seed))
        self._writer = Writer(self.shop, self._telemetry)
        self._ledger = Ledger(self.shop, self._telemetry)
        self._witnesses: Witnesses | None = None
        self._done = 0

    @property
    def source(self) -> str:
        """Where the lines come from: "The Complete Journey" or "synthetic"."""
        return self.shop.source

    @property
    def of_lines(self) -> int:
        """Order lines that the whole replay writes."""
        return self.shop.items.height

    @property
    def finished(self) -> bool:
        """Every step is committed."""
        return self._done == len(self._story)

    @property
    def corrected(self) -> str | None:
        """An order whose price support corrected and which is still there; None before the first."""
        gone = {int(order) for step in self._story if step.kind in {"erase", "hide"} for order in step.rows}
        for step in self._story[: self._done]:
            if step.kind == "correct" and len(step.rows) == 1:
                order = int(self._ledger.orders_of(step)[0])
                if order not in gone:
                    return str(self.shop.orders["order_id"][order])
        return None

    def expected(self) -> Expected:
        """What the database must hold now, by the replay's own books."""
        return self._ledger.expected()

    def run(self) -> Iterator[Progress]:
        """Write what is not written yet; one event for each committed transaction."""
        connection = self._connect()
        lost = 0
        try:
            self._catch_up(connection)
            while not self.finished:
                try:
                    if connection.closed:
                        connection = self._connect()
                        written = self._look().is_written(connection, self._done)
                    else:
                        self._write(connection, self._story[self._done])
                        written = True
                except psycopg.OperationalError as error:
                    lost += 1
                    if error.sqlstate is None:  # the client's own word, such as of a pipeline that was cut: what was written is looked up
                        connection.close()
                    if not connection.closed or lost == TRIES:
                        raise
                    continue
                if written:
                    lost = 0
                    yield self._commit()
        finally:
            connection.close()

    def _write(self, connection: Connection[Any], step: Step) -> None:
        """One step as one transaction; all but bulk ones in a single round trip."""
        journey = nullcontext() if self._writer.is_bulk(step) else connection.pipeline()
        cause = correlation(self._seed, self._done)
        with (
            journey,
            connection.transaction(),
            audit(connection, user=step.user, correlation_id=cause, source=SOURCES.get(step.kind, "shop")),
        ):
            self._writer.write(connection, step, self._ledger)

    def _commit(self) -> Progress:
        """Enter the step at hand into the books."""
        step = self._story[self._done]
        self._ledger.apply(step)
        self._done += 1
        return Progress(
            phase="orders" if self._ledger.lines else step.kind,
            day=day_of(step.at),
            lines=self._ledger.lines,
            of_lines=self.of_lines,
            orders=self._ledger.orders,
            transactions=self._done,
        )

    def _catch_up(self, connection: Connection[Any]) -> None:
        """Make room for the data's months, and take the books to what the database holds already."""
        self._make_room(connection)
        if self._done == 0 and connection.execute("select from customers limit 1").rowcount:
            for _ in range(self._look().written(connection)):
                self._commit()
            self._check(connection)
        elif self._done and not self.finished and self._look().is_written(connection, self._done):
            self._commit()  # the loop was left between the commit and its answer

    def _make_room(self, connection: Connection[Any]) -> None:
        span = (self.shop.orders["at"][0], self.shop.orders["at"][-1])
        try:
            connection.execute(PARTITIONS, [at.replace(tzinfo=UTC) for at in span])
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise DatabaseError(
                "The database does not have the shop's tables.",
                entity="orders",
                safe="Nothing was written.",
                remedy="Make them first: bitvelocity apply, in the folder of the commerce project.",
            ) from error

    def _check(self, connection: Connection[Any]) -> None:
        """Refuse orders of the same data that the books do not know, or know further on in their lives."""
        ids = self.shop.orders["order_id"]
        rows = connection.execute(VERSIONS, [ids.to_list()]).fetchall()
        found = pl.DataFrame(rows, schema={"order_id": pl.String, "found": pl.Int32}, orient="row")
        books = pl.DataFrame({"order_id": ids, "known": self._ledger.versions})
        strange = found.join(books, on="order_id").filter(
            (pl.col("known") == 0) | (pl.col("found") < pl.col("known"))
        )
        if strange.height:
            raise DatabaseError(
                f"The database holds another replay: {strange.height} of its {found.height} orders differ.",
                entity="orders",
                safe="Nothing was written.",
                remedy="Replay with the seed and the rates of the first time, or into an empty project.",
            )

    def _look(self) -> Witnesses:
        if self._witnesses is None:
            self._witnesses = Witnesses(self.shop, self._telemetry, self._story)
        return self._witnesses

    def _connect(self) -> Connection[Any]:
        """A connection; a server that is starting or restarting is waited for."""
        deadline = time.monotonic() + PATIENCE
        pause = 0.05
        while True:
            try:
                return connect(self._dsn, autocommit=True, application_name="shop", options=SESSION)
            except DatabaseError:
                if time.monotonic() > deadline or not self._done:
                    raise
                time.sleep(pause)
                pause = min(1.0, pause * 2)
