"""A first snapshot in parts: durable before it is whole, and seen by nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .bronze import Bronze
from .delta import LocalTable
from .silver import Silver


class Parts:
    """What a lake can do to its tables before its first watermark.

    All rows of a first snapshot have one position, and a table takes a position once. So parts are counted instead,
    from 0; no source has positions so small, and `end` puts the true one in their place.
    """

    def __init__(
        self,
        bronze: Mapping[str, Bronze],
        silver: Mapping[str, Silver],
        tables: Sequence[LocalTable],
        *,
        wait: Callable[[], None],
    ) -> None:
        self._bronze, self._silver, self._tables, self._wait = bronze, silver, tables, wait

    def keep(self) -> None:
        """Make what is staged durable, all of it; more rows with the same position may come."""
        self._wait()
        for bronze in self._bronze.values():
            bronze.commit(bronze.table.position() + 1)
        for silver in self._silver.values():
            silver.commit(silver.layers.log.position() + 1)

    def end(self, lsn: int) -> None:
        """No more rows come at `lsn`: tables that have parts stand there now."""
        for table in self._logs():
            if -1 < table.position() < lsn:
                table.commit((), lsn, info={"reason": "the first snapshot's parts"})

    def begin_anew(self) -> None:
        """What was committed and never published is part of a snapshot that did not finish, or of a first change set.

        The position goes with the rows: a snapshot comes again above it, but a stream that nobody confirmed comes again at it.
        """
        for table in self._tables:
            if table.files() or table.position() >= 0:
                table.commit((), -1, replace=True, info={"reason": "the lake begins anew"})

    def _logs(self) -> Iterator[LocalTable]:
        for bronze in self._bronze.values():
            yield bronze.table
        for silver in self._silver.values():
            yield silver.layers.log
