"""Batches of a few pieces as one: decoding likes small pieces, which fit the caches; what is written likes large ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from bitvelocity.changes import Batch, is_table

TOGETHER = 3
"""Pieces that are given together: a parquet file of 40 columns costs some milliseconds beside its rows. More of them need
more memory, and whoever writes waits longer for the first."""


class Together:
    """Pieces that are held until they are given as one.

    They go together while all are rows of tables, and those of each table of one shape: then nothing is told by where one
    ends.
    """

    def __init__(self) -> None:
        self.pieces = 0
        self._batches: list[Batch] = []
        self._looks: dict[str, object] | None = {}

    def take(self, batches: Sequence[Batch]) -> bool:
        """Hold one more piece. False: it does not go with what is held, which is to be given first."""
        looks = self._with(batches)
        if looks is None and self.pieces:
            return False
        self._looks = looks
        self._batches += batches
        self.pieces += 1
        return True

    def give(self) -> list[Batch]:
        """One batch for each table, in the order of their first rows, and nothing is held any more. Nothing is copied."""
        batches = _joined(self._batches) if self.pieces > 1 else self._batches
        self.pieces, self._batches, self._looks = 0, [], {}
        return batches

    def _with(self, batches: Sequence[Batch]) -> dict[str, object] | None:
        """How each table looks, with these; None where they do not go together. With many tables a look has its price."""
        if self._looks is None or not all(is_table(batch.relation) for batch in batches):
            return None
        looks = dict(self._looks)
        for batch in batches:
            look = (batch.columns, batch.shape, batch.data.schema)
            if looks.setdefault(batch.relation, look) != look:
                return None
        return looks


def _joined(batches: Sequence[Batch]) -> list[Batch]:
    tables: dict[str, list[Batch]] = {}
    for batch in batches:
        tables.setdefault(batch.relation, []).append(batch)
    return [
        replace(same[0], data=pa.concat_tables([batch.data for batch in same])) if len(same) > 1 else same[0]
        for same in tables.values()
    ]
