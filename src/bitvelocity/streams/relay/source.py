"""A bus as a source of change sets: what a relay put in comes out with the same boundaries."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from bitvelocity.changes import Batch, ChangeSet, Mark, Passing, Twin, format_lsn, is_table, pass_by
from bitvelocity.errors import BusError, OffsetGoneError
from bitvelocity.files import replace_file

from ..bus import Bus, Partition
from ..placing import located
from ..spans import some_of
from .boundaries import Boundary, all_boundaries, message_batch, read_boundaries
from .merge import Piece, in_pieces

_ROWS = 200_000
"""Boundaries are taken together up to so many rows: tiny commits are dear."""
_PIECE = 20_000
_QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Records that are no changes: rows of `FETCHED_SCHEMA`, and why each of them is not."""

    topic: str
    records: pa.Table
    reasons: tuple[str, ...]
    codes: tuple[str, ...]


Decode = Callable[[str, pa.Table], tuple[Sequence[Batch], Undecodable | None]]
"""Records of a topic, those of each partition in order, to batches, whose rows are in the order of the source."""
Refuse = Callable[[Undecodable], None]
"""Takes records that are no changes. An error of it stops the stream before them."""


class BusSource:
    """Change sets from the topics of a relay; a `changes.Source`.

    - Once: `position` is the LSN up to which the sinks have everything; sets up to it are passed by. Offsets are looked up
      by it. The file `notes`, written behind each confirmation, only says where to begin to look.
    - Whole: each set ends at boundaries of the relay, and has as many rows as those say: a gap is an error.
    """

    def __init__(
        self,
        bus: Bus,
        decode: Decode,
        *,
        boundaries: str,
        position: int,
        notes: Path | None = None,
        refuse: Refuse | None = None,
        at: Passing = pass_by,
    ) -> None:
        self._bus, self._decode, self._boundaries, self._at = bus, decode, boundaries, at
        self._notes, self._refuse = notes, refuse or _refuse
        self._position = position
        self._offset: int | None = None
        self._next: dict[Partition, int] = {}
        self._current: _BusSet | None = None
        self.seen = 0
        """LSN up to which everything was taken from the bus and yielded."""

    def snapshot(self, twin: Twin | None = None) -> Iterator[ChangeSet]:
        """The tables as they stood where the relay began, if the sinks have nothing and the relay has published them."""
        if twin is not None:
            raise BusError(
                "What was missed cannot be found over a bus.", safe="Nothing was changed.",
                remedy="Take the bus out of [streams], run bitvelocity recover, and put it back.",
            )  # fmt: skip
        if self._position >= 0 or not self._locate():
            return
        for behind, boundary in self._read(0.0):
            if not boundary.snapshot:
                return
            yield self._set([(behind, boundary)])
            self._finish()
            return

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        """Change sets as the relay concluded them; several at once, so that they grow under load."""
        deadline = time.monotonic() + timeout
        while True:
            self._finish()
            found = self._read(max(0.0, deadline - time.monotonic())) if self._locate() else []
            if taken := _some(found):
                yield self._set(taken)
                deadline = time.monotonic() + timeout
            elif found:
                self._pass_silence(found)
            elif time.monotonic() >= deadline:
                return
            elif self._offset is None:
                time.sleep(min(0.1, max(0.0, deadline - time.monotonic())))

    def confirm(self, lsn: int) -> None:
        """All up to `lsn` is durable in the sinks."""
        if self._notes is None or self._offset is None or (self._current is not None and not self._current.done):
            return
        if self._current is not None and lsn < self._current.mark.resume:
            return
        offset, following, position = self._offset, self._next, self._position
        if self._current is not None:
            offset, following, position = self._current.offset, self._current.following, self._current.mark.lsn
        told = {"lsn": position, "offset": offset, "next": [[*each, at] for each, at in following.items()]}
        replace_file(self._notes, json.dumps(told), sync=False)

    @property
    def level(self) -> bool:
        """All that the relay has concluded was taken and confirmed."""
        if self._boundaries not in self._bus.topics():
            return True
        span = self._bus.spans(self._boundaries)[0]
        if span.first == span.end:
            return True
        if self._current is not None or self._offset is None:
            return False
        return self._offset >= span.end or not self._read(_QUIET_S)

    def close(self) -> None:
        """What is not confirmed comes again."""

    def _locate(self) -> bool:
        """Find the first boundary above our position; False while there is none at all."""
        if self._offset is not None:
            return True
        if self._boundaries not in self._bus.topics():
            return False
        first = self._bus.spans(self._boundaries)[0].first
        offset, following = self._noted(first) or (first, {})
        return self._search(offset, following)

    def _noted(self, first: int) -> tuple[int, dict[Partition, int]] | None:
        """Where to begin to look by the notes, if those are not of another lake's life."""
        if self._notes is None or self._position < 0:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(self._notes.read_bytes())
            if int(told["lsn"]) <= self._position and int(told["offset"]) >= first:
                return int(told["offset"]), {Partition(name, number): at for name, number, at in told["next"]}
        return None

    def _search(self, offset: int, following: dict[Partition, int]) -> bool:
        """Go through the boundaries from an offset on, to the first that is above our position."""
        found = offset > 0
        for behind, boundary in all_boundaries(self._bus, self._boundaries, offset):
            found = True
            if self._position < 0:
                if boundary.snapshot:  # the last one: what stands before it is of another life
                    offset, following = behind - 1, dict(boundary.begins or {})
            elif boundary.lsn > self._position:
                break
            else:
                offset, following = behind, boundary.behind(following)
        if found:
            self._offset, self._next = offset, following
        return found

    def _read(self, timeout: float) -> list[tuple[int, Boundary]]:
        assert self._offset is not None
        return read_boundaries(self._bus, self._boundaries, self._offset, timeout=timeout)

    def _set(self, taken: Sequence[tuple[int, Boundary]]) -> _BusSet:
        position, following, ends = self._position, dict(self._next), dict[Partition, int]()
        for _, boundary in taken:
            if boundary.after > position:
                raise self._gap(position, boundary)
            if boundary.begins is not None and not ends:
                following = dict(boundary.begins)
            ends.update(boundary.ends)
            position = max(position, boundary.lsn)
        firsts = {topic: self._bus.spans(topic) for topic in {each.topic for each in ends if following.get(each) is None}}
        begins = {each: firsts[each.topic][each.number].first if (at := following.get(each)) is None else at for each in ends}
        spans = {each: (begins[each], end) for each, end in ends.items()}
        messages = [row for _, boundary in taken for row in boundary.messages]
        last = taken[-1][1]
        mark = replace(last.mark, rows=sum(one.rows for _, one in taken), transactions=sum(one.transactions for _, one in taken))
        self._current = _BusSet(
            mark, self._batches(spans, messages), offset=taken[-1][0], following={**following, **ends}
        )
        return self._current

    def _batches(self, spans: Mapping[Partition, tuple[int, int]], messages: Sequence[Mapping[str, object]]) -> Iterator[Batch | Undecodable]:
        if messages:
            yield message_batch(messages)
        topics: dict[str, dict[Partition, tuple[int, int]]] = defaultdict(dict)
        for partition, span in spans.items():
            topics[partition.topic][partition] = span
        for topic, parts in topics.items():
            for records in in_pieces(self._fetch, parts):
                self._at("records read")
                batches, refused = self._decode(topic, records)
                yield from batches
                if refused is not None:
                    self._refuse(refused)
                    yield refused

    def _fetch(self, partition: Partition, offset: int, end: int) -> tuple[Piece, int]:
        """Some records below `end`. None only if the transport says that it has nothing there any more."""
        try:
            found, behind = some_of(self._bus, partition, offset, end, limit=_PIECE)
        except OffsetGoneError as error:
            raise self._gone(partition, offset) from error
        return self._ours(partition, found), behind

    def _ours(self, partition: Partition, records: pa.Table) -> Piece:
        """The records that a relay wrote; others are refused."""
        ours, places = located(records)
        if ours.all():
            return Piece(records, places)
        foreign = records.filter(pa.array(~ours))
        count = foreign.num_rows
        self._refuse(Undecodable(partition.topic, foreign, ("It has no place in a source.",) * count, ("Foreign",) * count))
        return Piece(records.filter(pa.array(ours)), places)

    def _finish(self) -> None:
        """The last set was taken whole."""
        if (current := self._current) is None:
            return
        if not current.done:
            raise BusError(
                "A change set was given up in the middle.", position=format_lsn(current.mark.lsn),
                safe="It was not confirmed, so it comes again.", remedy="Close this source and open a new one.",
            )  # fmt: skip
        self._offset, self._next = current.offset, current.following
        self._position = max(self._position, current.mark.lsn)
        self.seen = max(self.seen, current.mark.resume)
        self._current = None

    def _pass_silence(self, found: Sequence[tuple[int, Boundary]]) -> None:
        """Boundaries that tell of no change."""
        for behind, boundary in found:
            if boundary.after > self._position:
                raise self._gap(self._position, boundary)
            self._offset, self._next = behind, boundary.behind(self._next)
            self._position = max(self._position, boundary.lsn)
            self.seen = max(self.seen, boundary.resume)

    def _gap(self, position: int, boundary: Boundary) -> BusError:
        return BusError(
            f"The topics go on behind {format_lsn(max(boundary.after, 0))}, and the lake stands at {format_lsn(max(position, 0))}.",
            position=format_lsn(boundary.lsn),
            safe="Nothing was taken, and the lake is whole as of its position.",
            remedy="What is between them is gone from the topics: take the bus out of [streams], then bitvelocity recover.",
        )  # fmt: skip

    def _gone(self, partition: Partition, offset: int) -> BusError:
        return OffsetGoneError(
            f"Partition {partition.number} does not keep offset {offset} any more, which the lake has not taken.",
            entity=partition.topic, position=format_lsn(max(self._position, 0)),
            safe="The lake is whole as of its position.",
            remedy="Give the topics a longer retention; to heal, take the bus out of [streams], then bitvelocity recover.",
        )  # fmt: skip


class _BusSet:
    """A change set that is read while it is iterated."""

    def __init__(
        self, mark: Mark, batches: Iterator[Batch | Undecodable], *, offset: int, following: Mapping[Partition, int]
    ) -> None:
        self._mark, self._batches = mark, batches
        self.offset, self.following = offset, dict(following)
        self.done = False
        self._rows = 0

    @property
    def mark(self) -> Mark:
        return replace(self._mark, rows=self._rows)

    def __iter__(self) -> Iterator[Batch]:
        whole = True
        for batch in self._batches:
            if isinstance(batch, Undecodable):
                whole = False
                continue
            self._rows += batch.data.num_rows if is_table(batch.relation) else 0
            yield batch
        if whole and self._rows != self._mark.rows:
            raise BusError(
                f"The topics hold {self._rows} changes of a set that was published with {self._mark.rows}.",
                position=format_lsn(self._mark.lsn),
                safe="Nothing of the set was taken.",
                remedy="Records were deleted from the topics, or put in by others: take the bus out of [streams], then "
                "bitvelocity recover.",
            )  # fmt: skip
        self.done = True


def _some(found: Sequence[tuple[int, Boundary]]) -> Sequence[tuple[int, Boundary]]:
    """The first boundaries, as many as make a set; none if all of them tell of silence."""
    rows = 0
    for number, (_, boundary) in enumerate(found):
        if boundary.snapshot and number:
            return _some(found[:number])
        rows += boundary.rows
        if rows > _ROWS or boundary.snapshot:
            return found[: number + 1]
    return found if rows or any(boundary.messages for _, boundary in found) else ()


def _refuse(found: Undecodable) -> None:
    raise BusError(
        f"{found.records.num_rows} records cannot be read: {found.reasons[0]}",
        entity=found.topic, position=f"offset {found.records['offset'][0]}", code=found.codes[0],
        safe="Nothing of the set was taken.", remedy="Route what cannot be read to the dead letters.",
    )  # fmt: skip
