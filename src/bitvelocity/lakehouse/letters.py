"""Dead letters: records that came over a bus and are no changes. The table `bronze/_dead_letters` of a lake.

They are appended with the commit of the set that they stood in, each once, and before all other tables: what is here
is never taken out of a set that comes again after a crash, even if its cause was mended in between. A key of which a record is parked is held: its later records are parked too, until the first is
replayed or dropped, for their order must hold. All that is known of that stands in the table itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitvelocity.changes import Passing, pass_by

from .delta import LocalTable, has_log
from .deltalog import APP, TableState
from .ending import ENDS, Ended, Expired, first_end, outcome
from .filed import fetched, filed, pieces
from .known import COLUMNS, NAME, Known
from .table import DataFile, Staged

LETTERS = "_dead_letters"
FOLLOWS = "Follows"
"""Code of a record that could be read, and stands behind a parked one of its key."""
_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("_lsn", pa.int64()), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("key", pa.binary()),
    ("value", pa.binary()), ("headers", pa.string()), ("timestamp", pa.timestamp("us", "UTC")), ("class", pa.string()),
    ("code", pa.string()), ("reason", pa.string()), ("schema_id", pa.string()), ("version", pa.string()), ("state", pa.string()),
    ("seen_at", pa.timestamp("us", "UTC")), ("holds", pa.bool_()), ("ended_at", pa.timestamp("us", "UTC")),
]  # fmt: skip
LETTERS_SCHEMA: pa.Schema = pa.schema(_COLUMNS)
"""`_lsn`: position in the source, NULL where the record tells none. `headers`: a JSON array of pairs, in order; a value
that is no text is `{"base64": ...}`. `class`: `undecodable`, `contract`, `sink` or `follows`. `state`: `parked`, `replayed`,
`dropped`; `ended_at`: since when, if it is not parked. `holds`: later records of its key wait for it."""
LETTER_NAME: pa.Schema = pa.schema([LETTERS_SCHEMA.field(name) for name in NAME])
"""What tells a letter from all others."""
AT_ONCE = 20_000
"""Letters of a row group, so that some of many can be read."""


class DeadLetters:
    """The dead letters of a lake. The table is made when there is a first one."""

    def __init__(self, root: Path, *, sync: bool = True, at: Passing = pass_by) -> None:
        self._path, self._sync, self._at = root / "bronze" / LETTERS, sync, at
        self.table = self._opened() if has_log(self._path) else None
        self._staged: list[Staged] = []
        self._ended: Ended | Expired | None = None
        self._first_end: int | None = None
        self._known = Known()
        self.load()

    def park(self, letters: pa.Table) -> pa.Table:
        """Stage rows of `LETTERS_SCHEMA`; those that were not here before. Keys that they hold are held from now on."""
        new = letters.filter(pa.array(self.fresh(letters)))
        if new.num_rows:
            self.table = self.table or self._opened()
            parts = [new.slice(begin, AT_ONCE) for begin in range(0, new.num_rows, AT_ONCE)]
            self._staged.append(self.table.stage(parts[0], parts[1:]))
            self._known.learn(new)
        return new

    def fresh(self, letters: pa.Table) -> npt.NDArray[np.bool_]:
        """Which of these are not here yet."""
        fresh, topics = np.ones(letters.num_rows, bool), letters["topic"]
        for topic in map(str, pc.unique(topics).to_pylist()):
            rows = np.flatnonzero(np.asarray(pc.equal(topics, pa.scalar(topic))))
            fresh[rows] = ~self._known.here(letters.take(rows), topic)
        return fresh

    def held(self, records: pa.Table, topic: str) -> npt.NDArray[np.bool_]:
        """Which records of a topic are here already, or stand behind a parked one of their key: rows of a topic as it is read."""
        return self._known.here(records, topic) | self._known.behind(records, topic)

    def end(self, names: pa.Table, state: str) -> None:
        """With the next commit these (rows of `LETTER_NAME`) are `replayed`, or `dropped`."""
        self._ended = Ended(names, state, time.time_ns() // 1000)

    def expire(self, before: int | None) -> None:
        """With the next commit those go that ended before this moment, in microseconds; None: none do.

        One that ended when this was not written down counts from now on.
        """
        due = before is not None and self._first_end is not None and self._first_end < before
        self._ended = Expired(before, time.time_ns() // 1000) if due and before is not None else None

    def commit(self, position: int) -> None:
        """Make what is staged visible: before the set that it stood in, or else that might be taken whole after a crash."""
        staged, self._staged = self._staged, []
        if staged and self.table is not None:
            if position > self.table.position():
                self.table.commit(staged, position)
            else:  # a shorter set than the one that was committed before a crash; all of its records are above those
                self.table.commit(staged, self.table.position(), replace=())

    def conclude(self, position: int) -> None:
        """Make visible what has ended, or is over: behind the set that it ended with."""
        ended, self._ended = self._ended, None
        if (table := self.table) is None or ended is None:
            return
        old, new = list[DataFile](), list[Staged]()
        for file in table.files():
            now = outcome(ended, table.path / file.path)
            if now.changes.any():
                old.append(file)
                parts = pieces(table.path / file.path, LETTERS_SCHEMA, now.applied)
                if (part := next(parts, None)) is not None:
                    new.append(table.stage(part, parts))
        if old:
            table.commit(new, max(position, table.position()), replace=old)
        self.load()

    def rollback(self) -> None:
        """Forget what is staged."""
        staged, self._staged, self._ended = self._staged, [], None
        if self.table is not None and staged:
            self.table.discard(staged)
            self.load()

    def heads(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of all letters as committed, some thousands at a time, in no order; and where each is filed."""
        if self.table is not None:
            yield from filed(self._paths(), LETTERS_SCHEMA, columns)

    def fetch(self, heads: pa.Table) -> pa.Table:
        """Whole letters, in the order of their `heads`. Reads no more of the others than stands beside them."""
        return fetched(self._paths(), LETTERS_SCHEMA, heads)

    def load(self) -> None:
        """Learn anew what is committed."""
        self._known, self._first_end = Known(), None
        for path in self._paths():
            with pq.ParquetFile(path) as content:
                self._known.learn(content.read(columns=list(COLUMNS), use_threads=False))
                self._first_end = first_end(content.read(columns=list(ENDS), use_threads=False), self._first_end)

    def _paths(self) -> list[Path]:
        return [] if self.table is None else [self.table.path / file.path for file in self.table.files()]

    def _opened(self) -> LocalTable:
        return LocalTable.open(self._path, LETTERS_SCHEMA, sync=self._sync, at=self._at)


def stored_letters(root: Path, columns: Sequence[str] = LETTERS_SCHEMA.names) -> Iterator[pa.Table]:
    """The letters of a lake that others may be writing, some thousands at a time; those of its newest version."""
    path = Path(root) / "bronze" / LETTERS
    if has_log(path):
        for piece in filed([path / name for name in TableState.load(path, APP).files], LETTERS_SCHEMA, columns):
            yield piece.select(columns)


def count_parked(root: Path) -> int:
    """How many letters of a lake are parked. Reads nothing else of them."""
    states = (piece["state"] for piece in stored_letters(root, ["state"]))
    return sum(int(np.count_nonzero(np.asarray(pc.equal(state, pa.scalar("parked"))))) for state in states)
