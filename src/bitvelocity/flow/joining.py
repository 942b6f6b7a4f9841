"""Where changes of Debezium's wait until their transactions are whole."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..capture.debezium import Reached, Transactions
from ..changes.formats import Decoder, sanitized
from ..streams import Bus, Partition

_ENDS, _PIECE, _SHORT_S = 50_000, 20_000, 0.5
_PARTED = 100
"""Of those that came in parts, so many are remembered: their END may come yet."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Up to the transaction of this commit the lake has all; of `parted` ones it may have some. `ends`: of their topic, by partition."""

    commit: int = 0
    parted: tuple[int, ...] = ()
    ends: Mapping[Partition, int] | None = None


class Gathering:
    """Records that were read and are not taken. They stay on their topics too: a lake that is killed reads them again.

    A transaction is waited for as long as there is room, and for some seconds after all that is on the topics was read;
    then it is let go in parts, and `words` says so. Where Debezium writes no topic of transactions, or nobody wants to wait, nothing is held.
    """

    def __init__(self, bus: Bus, decoder: Decoder, prefix: str, seconds: int) -> None:
        self._bus, self._prefix, self._seconds = bus, prefix, seconds
        self._decoder, self._told = decoder, Transactions(decoder)
        self._topic = sanitized(f"{prefix}.transaction")
        self._held: dict[Partition, pa.Table] = {}
        self._next: dict[Partition, int] = {}
        self._cuts: dict[Partition, int] = {}
        self._commit = 0
        self._since: dict[int, float] = {}
        self._words: list[str] = []
        self.joined = Joined()
        self.joins = False

    @property
    def rows(self) -> int:
        return sum(table.num_rows for table in self._held.values())

    @property
    def bytes(self) -> int:
        return sum(table.nbytes for table in self._held.values())

    def begin(self, joined: Joined) -> None:
        """Where the lake stands. What is held goes on from there, or is read again."""
        if joined != self.joined:
            self.joined, self._next = joined, dict(joined.ends or {})
            self._held, self._cuts, self._told = {}, {}, Transactions(self._decoder)

    def behind(self, partition: Partition, begin: int) -> int:
        """The offset to read on from."""
        held = self._held.get(partition)
        return int(held["offset"][-1].as_py()) + 1 if held is not None else begin

    def look(self) -> Collection[str]:
        """The topics that are there. The ends of transactions are read first: what they count is on topics that are there then."""
        if self._seconds and self.joins:
            self._read_endings()
        names = self._bus.topics()
        self.joins = bool(self._seconds) and self._topic in names
        return names

    def ready(self, fresh: Mapping[Partition, pa.Table], topics: Collection[str], *, taken: int, full: bool) -> Mapping[Partition, pa.Table]:
        """What may be taken, when these are there too. `taken`: a commit before what the lake has. `full`: no more can be held."""
        if not self._held and not self.joins:
            return fresh
        if not self._held and not fresh and not self._told.ends:
            return fresh
        for partition, table in fresh.items():
            self._hold(partition, table)
        begun, level = Reached(max(self.joined.commit, taken)), not fresh and not full
        for tries in itertools.count():
            found = self._told.reached(begun, parted=self.joined.parted, topics=topics, prefix=self._prefix)
            ready = self._cut(found.commit)
            if why := self._impatient(found, level=level, room=None if ready or not full else 1 << tries):
                self._part(*why)
                continue
            if not ready:  # transactions of other tables, or none
                self.took()
            break
        return ready

    def took(self) -> Joined:
        """What was ready is taken: where the lake will stand then."""
        for partition, end in self._cuts.items():
            table = self._held.pop(partition)
            rest = table.filter(pa.array(table["offset"].to_numpy() >= end))
            self._told.took(partition, end)
            if rest.num_rows:
                self._held[partition] = rest
        commit, self._cuts = max(self._commit, self.joined.commit), {}
        done = self._told.passed(commit)
        parted = tuple(one for one in self.joined.parted if one not in done)[-_PARTED:]
        again = {Partition(self._topic, number): offset for number, offset in self._told.first_ends().items()}
        self.joined = Joined(commit, parted, {**self._next, **again})
        return self.joined

    def words(self) -> Sequence[str]:
        """What a person may want to know, once."""
        said, self._words = self._words, []
        return said

    def _read_endings(self) -> None:
        for number, span in self._bus.spans(self._topic).items():
            partition = Partition(self._topic, number)
            at = self._next.get(partition, span.first)
            at = at if span.first <= at <= span.end else span.first  # it may have let go of some, or be made anew
            while at < span.end and self._told.ends < _ENDS:
                table = self._bus.read(partition, at, limit=_PIECE, timeout=_SHORT_S)
                if not table.num_rows:
                    break
                at = int(table["offset"][-1].as_py()) + 1
                self._told.end(table, self.joined.commit)
            self._next[partition] = at

    def _hold(self, partition: Partition, table: pa.Table) -> None:
        self._told.hold(partition, table)
        self._held[partition] = pa.concat_tables([self._held[partition], table]) if partition in self._held else table

    def _cut(self, commit: int) -> Mapping[Partition, pa.Table]:
        """What stands before the first that is to wait, in each partition."""
        self._cuts, ready = {}, dict[Partition, pa.Table]()
        self._commit = commit
        for partition, table in self._held.items():
            first = self._told.waits_from(partition, commit, self.joined.parted)
            offsets = table["offset"].to_numpy()
            part = table if first is None else table.filter(pa.array(offsets < first))
            if part.num_rows:
                self._cuts[partition] = int(offsets[-1]) + 1 if first is None else first
                ready[partition] = part
        return ready

    def _impatient(self, found: Reached, *, level: bool, room: int | None) -> tuple[Sequence[int], str] | None:
        """Which transactions are not waited for any more, and why. `level`: all was read. `room`: so many must go to make some."""
        if found.unended and len(self._next) == 1:
            return found.unended, "its END is not on the topic of transactions"
        if room and found.missing:
            return found.missing[:room], "it is larger than what is held at once"
        now = time.monotonic()
        self._since = {one: self._since.get(one, now) for one in found.missing if level or one in self._since}
        late = [one for one, since in self._since.items() if now - since >= self._seconds]
        return (late, f"its rest did not come within {self._seconds} s") if late else None

    def _part(self, transactions: Sequence[int], why: str) -> None:
        new = dict.fromkeys(one for one in transactions if one not in self.joined.parted)
        more = f" and {len(new) - 1} more are" if len(new) > 1 else " is"
        self._words.append(f"transaction {next(iter(new), 0)}{more} shown in parts: {why}")
        self.joined = Joined(self.joined.commit, (*self.joined.parted, *new), self.joined.ends)


__all__ = ["Gathering", "Joined"]
