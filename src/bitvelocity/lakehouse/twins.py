"""The lake as the twin of the source: silver of the entities that have a key, bronze of those that have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitvelocity.changes import Batch, Sums, Twin

from .keyless import BronzeTwin
from .twin import SilverTwin


class LakeTwin:
    """A `Twin` over a lake, as committed. Nobody commits meanwhile."""

    def __init__(self, silver: SilverTwin, bronze: BronzeTwin) -> None:
        self._silver, self._bronze = silver, bronze
        self._now: Twin = silver

    def sums(self, relation: str, columns: Sequence[str]) -> Sums | None:
        """Of silver, or of bronze."""
        self._now = self._bronze if relation in self._bronze else self._silver
        return self._now.sums(relation, columns)

    def open(self, relation: str, buckets: Sequence[int]) -> None:
        """The table whose sums were taken last."""
        self._now.open(relation, buckets)

    def changed(self, batch: Batch) -> Batch:
        """Rows that are told at once."""
        return self._now.changed(batch)

    def gone(self) -> Iterator[Batch]:
        """What is told when all rows were seen."""
        return self._now.gone()

    def close(self) -> None:
        """Let the engines go."""
        self._silver.close()
        self._bronze.close()
