"""Commit boundaries on a topic of their own: which records of the other topics belong together.

A boundary is published when all records up to it are durable. Whoever reads it may take the records up to its `ends`, and
has all transactions up to its `lsn`, whole, and nothing of those above it. Boundaries stand in the order of their LSNs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from bitvelocity.changes import AFTER, MESSAGES, SYSTEM_FIELDS, Batch, Mark
from bitvelocity.errors import BusError

from ..bus import PLACED_SCHEMA, Bus, Partition

_LAST = (2**31 - 1, 127)
"""Ordinal and step of a boundary: behind all records of its transaction."""
_CHUNK = 1_000
_PATIENCE_S = 10.0
"""A transport that has something gives it sooner."""
_MESSAGE = ("prefix", "content", "transactional")
Ends = Mapping[Partition, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """One commit boundary on the bus.

    - `lsn`, `resume`, `committed_at`, `transactions`, `rows`: as in `changes.Mark`.
    - `after`: the set holds all transactions above this LSN; -1: it begins with the tables as they stand.
    - `ends`: next offset of each partition that grew since the last boundary.
    - `begins`: next offset of every partition before this set, now and then and where a relay's life begins; else None.
      A partition that is not in it begins at its first offset.
    - `snapshot`: the set is a first snapshot: what stood on the topics before `begins` is of another life.
    - `messages`: logical messages of the source that our own stations need, as rows of `MESSAGES` batches.
    """

    lsn: int
    resume: int
    after: int
    committed_at: int = 0
    transactions: int = 0
    rows: int = 0
    ends: Ends = field(default_factory=dict)
    begins: Ends | None = None
    snapshot: bool = False
    messages: Sequence[Mapping[str, Any]] = ()

    @property
    def mark(self) -> Mark:
        return Mark(self.lsn, self.resume, self.committed_at, self.transactions, self.rows)

    def behind(self, ends: Ends) -> dict[Partition, int]:
        """The next offsets behind this set, where `ends` are those before it."""
        return {**(ends if self.begins is None else self.begins), **self.ends}

    def as_record(self) -> pa.Table:
        """A row of `PLACED_SCHEMA`."""
        told = asdict(self) | {
            "ends": _listed(self.ends),
            "begins": None if self.begins is None else _listed(self.begins),
        }
        ordinal, step = _LAST
        row = {
            "key": None,
            "value": json.dumps(told, separators=(",", ":")).encode(),
            "headers": None,
            "timestamp": self.committed_at,
            "lsn": self.resume,  # grows also where nothing but silence is told
            "ordinal": ordinal,
            "step": step,
        }
        return pa.Table.from_pylist([row], schema=PLACED_SCHEMA)


def boundary_of(value: bytes, topic: str, offset: int) -> Boundary:
    """The boundary that a record tells."""
    try:
        told = json.loads(value)
        begins = told.pop("begins")
        return Boundary(
            **told | {"ends": _mapped(told["ends"]), "begins": None if begins is None else _mapped(begins)}
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BusError(
            f"A record is no boundary of change sets: {error}",
            entity=topic,
            position=str(offset),
            safe="What the lake has stays; nothing behind this record was taken.",
            remedy="Somebody else writes to this topic: give the project a topic prefix of its own ([streams] prefix).",
        ) from error


def read_boundaries(
    bus: Bus, topic: str, offset: int, *, timeout: float = 0.0, limit: int = _CHUNK
) -> list[tuple[int, Boundary]]:
    """Boundaries from an offset on, each with the offset behind it."""
    found = bus.read(Partition(topic, 0), offset, limit=limit, timeout=timeout)
    offsets = found["offset"].to_numpy().tolist()
    return [
        (at + 1, boundary_of(value or b"", topic, at))
        for at, value in zip(offsets, found["value"].to_pylist(), strict=True)
    ]


def all_boundaries(bus: Bus, topic: str, first: int, end: int | None = None) -> Iterator[tuple[int, Boundary]]:
    """All from an offset on, oldest first; up to an end, or to that of now.

    A transport may give fewer at a time than it has, and its end may stand behind records that are none of ours.
    """
    end = bus.spans(topic)[0].end if end is None else end
    while first < end and (found := read_boundaries(bus, topic, first, timeout=_PATIENCE_S)):
        yield from (pair for pair in found if pair[0] <= end)
        first = found[-1][0]


def last_boundary(bus: Bus, topic: str) -> tuple[Boundary, Ends] | None:
    """The newest boundary, and the next offset of every partition behind it; None when there is none."""
    first, end = bus.spans(topic).get(0, (0, 0))
    found: list[tuple[int, Boundary]] = []
    while end > first and not any(one.begins is not None for _, one in found):
        start = max(first, end - _CHUNK)
        found[:0] = all_boundaries(bus, topic, start, end)
        end = start
    if not found:
        return None
    ends: dict[Partition, int] = {}
    for _, boundary in found:
        ends = boundary.behind(ends)
    return found[-1][1], ends


def messages_of(batch: Batch) -> list[dict[str, Any]]:
    """The rows of a `MESSAGES` batch."""
    names = [name for name, _ in SYSTEM_FIELDS]
    rows = batch.data.select([*names, *(AFTER + name for name in _MESSAGE)])
    at = rows.schema.get_field_index("_committed_at")
    return rows.set_column(at, "_committed_at", rows["_committed_at"].cast(pa.int64())).to_pylist()


def message_batch(rows: Sequence[Mapping[str, Any]]) -> Batch:
    """The inverse of `messages_of`."""
    fields = [*SYSTEM_FIELDS, *((AFTER + name, pa.string()) for name in _MESSAGE)]
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in fields]
    return Batch(MESSAGES, _MESSAGE, pa.Table.from_arrays(columns, names=[name for name, _ in fields]))


def _listed(ends: Ends) -> list[list[Any]]:
    return [[*partition, offset] for partition, offset in ends.items()]


def _mapped(listed: Sequence[Sequence[Any]]) -> dict[Partition, int]:
    return {Partition(topic, int(number)): int(offset) for topic, number, offset in listed}
