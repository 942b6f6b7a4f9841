"""Rows of a small gold table that no other model reads: kept as one Arrow table, without an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from .diff import matching
from .engine import Engine


class SmallRows:
    """As `Rows`, where nobody needs to query them: taking and adding rows costs no statement."""

    def __init__(self, engine: Engine, schema: pa.Schema, key: Sequence[str]) -> None:
        self.schema = schema
        self.key = tuple(key)
        self._engine = engine
        self._rows = schema.empty_table()

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._rows.num_rows

    def fill_from(self, select: str) -> None:
        """Add the rows that a SELECT gives; their keys are not there yet."""
        self.add(self._engine.rows(f"FROM ({select})").cast(self.schema))

    def add(self, rows: pa.Table) -> None:
        """Add rows whose keys are not there."""
        if rows.num_rows:
            self._rows = pa.concat_tables([self._rows, rows]).combine_chunks()

    def take(self, keys: pa.Table) -> pa.Table:
        """Remove the rows of these keys and give them."""
        asked = matching(self._rows, keys, self.key)
        taken = self._rows.filter(asked)
        if taken.num_rows:
            self._rows = self._rows.filter(pc.invert(asked))
        return taken

    def take_all(self) -> pa.Table:
        """Remove all rows and give them."""
        taken, self._rows = self._rows, self.schema.empty_table()
        return taken

    def all(self) -> pa.Table:
        """All rows."""
        return self._rows

    def pieces(self) -> Iterator[pa.Table]:
        """All rows, in one piece."""
        yield self._rows

    def keys(self) -> int:
        """How many different keys there are."""
        return self._rows.group_by(list(self.key)).aggregate([]).num_rows

    def tidy(self) -> None:
        """There is nothing to tidy."""
