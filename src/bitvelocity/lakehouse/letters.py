"""Dead letters: records that came over a bus and are no changes. The table `bronze/_dead_letters` of a lake.

They are appended with the commit of the set that they stood in, each once, and before all other tables: what is here
is never taken out of a set that comes again after a crash, even if its cause was mended in between. A key of which a record is parked is held: its later records are parked too, until the first is
replayed or dropped, for their order must hold. All that is known of that stands in the table itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitvelocity.changes import Passing, pass_by

from .delta import LocalTable, has_log
from .deltalog import APP, TableState
from .known import COLUMNS, Known
from .parquet import read
from .table import Staged

LETTERS = "_dead_letters"
FOLLOWS = "Follows"
"""Code of a record that could be read, and stands behind a parked one of its key."""
_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("_lsn", pa.int64()), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("key", pa.binary()),
    ("value", pa.binary()), ("headers", pa.string()), ("timestamp", pa.timestamp("us", "UTC")), ("class", pa.string()),
    ("code", pa.string()), ("reason", pa.string()), ("schema_id", pa.string()), ("version", pa.string()), ("state", pa.string()),
    ("seen_at", pa.timestamp("us", "UTC")), ("holds", pa.bool_()),
]  # fmt: skip
LETTERS_SCHEMA: pa.Schema = pa.schema(_COLUMNS)
"""`_lsn`: position in the source, NULL where the record tells none. `headers`: a JSON array of pairs, in order; a value
that is no text is `{"base64": ...}`. `class`: `undecodable`, `contract`, `sink` or `follows`. `state`: `parked`, `replayed`,
`dropped`. `holds`: later records of its key wait for it."""
Identity = tuple[str, int, int, int]
"""Topic, partition, offset, microseconds."""
_IDENTITY = ("topic", "partition", "offset", "timestamp")


class DeadLetters:
    """The dead letters of a lake. The table is made when there is a first one."""

    def __init__(self, root: Path, *, sync: bool = True, at: Passing = pass_by) -> None:
        self._path, self._sync, self._at = root / "bronze" / LETTERS, sync, at
        self.table = self._opened() if has_log(self._path) else None
        self._staged: list[Staged] = []
        self._ended: dict[Identity, str] = {}
        self._known = Known()
        self.load()

    def park(self, letters: pa.Table) -> pa.Table:
        """Stage rows of `LETTERS_SCHEMA`; those that were not here before. Keys that they hold are held from now on."""
        new = letters.filter(pa.array(self.fresh(letters)))
        if new.num_rows:
            self.table = self.table or self._opened()
            self._staged.append(self.table.stage(new))
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

    def end(self, letters: Iterable[Identity], state: str) -> None:
        """With the next commit these are `replayed`, or `dropped`."""
        self._ended |= dict.fromkeys(letters, state)

    def commit(self, position: int) -> None:
        """Make what is staged visible: before the set that it stood in, or else that might be taken whole after a crash."""
        staged, self._staged = self._staged, []
        if staged and self.table is not None:
            if position > self.table.position():
                self.table.commit(staged, position)
            else:  # a shorter set than the one that was committed before a crash; all of its records are above those
                kept = self.table.stage(pa.concat_tables([self.stored(), *(read(self.table.path / one.file.path) for one in staged)]))
                self.table.discard(staged)
                self.table.commit([kept], self.table.position(), replace=True)

    def conclude(self, position: int) -> None:
        """Make visible what has ended: behind the set that it ended with."""
        if self.table is not None and self._ended:
            kept, self._ended = self.table.stage(_ending(self.stored(), self._ended)), {}
            self.table.commit([kept], max(position, self.table.position()), replace=True)
            self.load()

    def rollback(self) -> None:
        """Forget what is staged."""
        staged, self._staged, self._ended = self._staged, [], {}
        if self.table is not None and staged:
            self.table.discard(staged)
            self.load()

    def stored(self) -> pa.Table:
        """All letters, as committed, in no order."""
        return LETTERS_SCHEMA.empty_table() if self.table is None else _read(self.table)

    def load(self) -> None:
        """Learn anew what is committed."""
        self._known = Known()
        if (table := self.table) is None:
            return
        for file in table.files():
            with pq.ParquetFile(table.path / file.path) as content:
                self._known.learn(content.read(columns=list(COLUMNS), use_threads=False))

    def _opened(self) -> LocalTable:
        return LocalTable.open(self._path, LETTERS_SCHEMA, sync=self._sync, at=self._at)


def identities(letters: pa.Table) -> list[Identity]:
    """What tells a letter from all others."""
    columns = [letters[name].cast(pa.int64()) if name == "timestamp" else letters[name] for name in _IDENTITY]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def _ending(letters: pa.Table, ended: Mapping[Identity, str]) -> pa.Table:
    states = [ended.get(one, now) for one, now in zip(identities(letters), letters["state"].to_pylist(), strict=True)]
    return letters.set_column(letters.schema.get_field_index("state"), "state", pa.array(states, pa.string()))


def stored_letters(root: Path) -> pa.Table:
    """The letters of a lake that others may be writing; those of its newest version."""
    path = Path(root) / "bronze" / LETTERS
    if not has_log(path):
        return LETTERS_SCHEMA.empty_table()
    return _of_files(path, [file.path for file in TableState.load(path, APP).files.values()])


def count_parked(root: Path) -> int:
    """How many letters of a lake are parked. Reads nothing else of them."""
    path = Path(root) / "bronze" / LETTERS
    if not has_log(path):
        return 0
    files = [path / file.path for file in TableState.load(path, APP).files.values()]
    states = (pq.read_table(file, columns=["state"])["state"] for file in files)
    return sum(int(np.count_nonzero(np.asarray(pc.equal(state, pa.scalar("parked"))))) for state in states)


def _read(table: LocalTable) -> pa.Table:
    return _of_files(table.path, [file.path for file in table.files()])


def _of_files(path: Path, files: Sequence[str]) -> pa.Table:
    return pa.concat_tables([LETTERS_SCHEMA.empty_table(), *(read(path / file).cast(LETTERS_SCHEMA) for file in files)])

