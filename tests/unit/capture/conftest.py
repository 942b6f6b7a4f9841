"""A real source for the tests of capture: a database, statements to run in it, and change sets read from
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.crash.judge import places

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.changes import ChangeSet, Source, format_lsn

ORDERS = "create table orders (id bigint primary key, name text, note text)"


@dataclass
class Bench:
    """A database and the sources that were opened on it. Slots carry the database's name: they are the
    cluster's.
    """

    dsn: str
    spill: Path
    connection: psycopg.Connection[tuple[Any, ...]]
    opened: list[WalSource] = field(default_factory=list)

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement.encode())

    def one(self, query: str, *args: object) -> Any:
        row = self.connection.execute(query.encode(), args).fetchone()
        assert row is not None
        return row[0]

    def fill(self, first: int, last: int) -> None:
        self.run(
            f"insert into orders select i, 'name ' || i, repeat('x', i % 90) from generate_series({first}, {last}) i"
        )

    @property
    def slot(self) -> str:
        return "slot_" + self.connection.info.dbname

    def open(self, *, dsn: str | None = None, slot: str | None = None, has_position: bool = False,
             start_lsn: int = 0, tuning: Tuning | None = None) -> WalSource:  # fmt: skip
        source = WalSource(dsn or self.dsn, slot=slot or self.slot, spill=self.spill, has_position=has_position,
                           start_lsn=start_lsn, tuning=tuning)  # fmt: skip
        self.opened.append(source)
        return source

    def snapshot(self, source: Source) -> list[dict[str, Any]]:
        return [row for change_set in source.snapshot() for row in self.take(source, change_set)]

    def take(self, source: Source, change_set: ChangeSet) -> list[dict[str, Any]]:
        rows = []
        for batch in change_set:
            batch.data.validate(full=True)
            rows += [
                {"relation": batch.relation, "columns": batch.columns, **row}
                for row in batch.data.to_pylist()
            ]
        assert change_set.mark.rows == len(rows)
        source.confirm(change_set.mark.resume)
        return rows

    def tail(self, source: WalSource) -> list[dict[str, Any]]:
        """All that is committed by now."""
        end, deadline = self.one("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn"), time.monotonic() + 60
        rows = []
        while source.seen < end:
            assert time.monotonic() < deadline, f"seen {format_lsn(source.seen)}: {source.stats}"
            for change_set in source.tail(0.02):
                rows += self.take(source, change_set)
        return rows

    def places(self) -> list[tuple[int, int]]:
        """Where every change stands since the slot `judge_...` was made, as the server itself decodes it."""
        query = """
        select data from pg_logical_slot_peek_binary_changes(%s, null, null, 'proto_version', '1',
                                                             'publication_names', 'bitvelocity')"""
        with self.connection.cursor(binary=True) as cursor:
            cursor.execute(query, ["judge_" + self.slot])
            return list(places(data for (data,) in cursor))

    def until(self, claim: Callable[[], object]) -> None:
        """Wait for something that happens in another thread or process."""
        deadline = time.monotonic() + 60
        while not claim():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def source_db(database: str, tmp_path: Path) -> Iterator[Bench]:
    with psycopg.connect(database, autocommit=True) as connection:
        bench = Bench(database, tmp_path, connection)
        try:
            yield bench
        finally:
            for source in bench.opened:
                source.close()
