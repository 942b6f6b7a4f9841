"""Copies of topics: what is mixed, what is refused, and which offset became which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.errors import BusError
from bitvelocity.streams import PLACED_SCHEMA, RECORD_SCHEMA, Partition, Place, Topic, partition_of
from bitvelocity.streams.embedded import EmbeddedBus
from bitvelocity.streams.migration import Copying, Offsets, carry_over, compared, reading

T0 = Partition("t", 0)


@pytest.fixture
def buses(tmp_path: Path) -> Iterator[tuple[EmbeddedBus, EmbeddedBus]]:
    source, target = EmbeddedBus(tmp_path / "a"), EmbeddedBus(tmp_path / "b")
    yield source, target
    source.close()
    target.close()


def rows(*numbers: int, key: Callable[[int], bytes | None] = lambda n: b"%d" % n) -> pa.Table:
    made: list[Any] = [
        {"key": key(n), "value": None if n % 3 else b"v%d" % n, "headers": [("h", b"%d" % n)] * (n % 3), "timestamp": 10**15 + n,
         "lsn": n, "ordinal": n % 2, "step": 0}
        for n in numbers
    ]  # fmt: skip
    return pa.Table.from_pylist(made, schema=PLACED_SCHEMA)


def copy(source: EmbeddedBus, target: EmbeddedBus) -> None:
    with Copying(source, target, lambda _: "p") as copying:
        for _ in copying.copy("t"):
            pass


def test_records_with_places_and_without_stay_in_one_order(
    buses: tuple[EmbeddedBus, EmbeddedBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the publisher goes on in the copy; a second copy from there has the offsets of the first one, not those before."""
    monkeypatch.setattr(reading, "PIECE", 7)
    source, target = buses
    for bus in buses:
        bus.ensure(Topic(name="t", partitions=2))
    publisher = source.publisher("p")
    for begin in range(0, 100, 20):
        publisher.publish({"t": rows(*range(begin, begin + 10))})
        source.append("t", rows(*range(begin + 10, begin + 20)).select(RECORD_SCHEMA.names))
    copy(source, target)
    copy(source, target)  # nothing is new
    for number, span in source.spans("t").items():
        part = Partition("t", number)
        found = compared(source, target, part, span)
        assert [found.to(at) for at in range(span.end + 2)] == [*range(span.end + 1), span.end]
        assert target.spans("t")[number] == span
        here, there = (headers_in(bus, part) for bus in buses)
        assert [one["bv-offset"] for one in there] == [b"%d" % at for at in range(span.end)]
        assert [one.get("bv-place") for one in there] == [one.get("bv-place") for one in here]
    heir = target.publisher("p")
    assert max(heir.places("t").values()) == Place(89, 1, 0)
    assert heir.publish({"t": rows(*range(85, 95))}).dropped == 5


def headers_in(bus: EmbeddedBus, partition: Partition) -> list[dict[str, bytes]]:
    found: list[Any] = bus.read(partition, 0)["headers"].to_pylist()
    return [dict(headers or ()) for headers in found]


def test_what_cannot_be_copied_is_refused(buses: tuple[EmbeddedBus, EmbeddedBus]) -> None:
    source, target = buses
    source.ensure(Topic(name="t", partitions=2))
    source.append("t", rows(*range(10)).select(RECORD_SCHEMA.names))
    target.ensure(Topic(name="t", partitions=3))
    with pytest.raises(BusError, match="has 2 partitions here and 3 there"):
        copy(source, target)
    target.ensure(Topic(name="u", partitions=2))
    source.ensure(Topic(name="u", partitions=2))
    source.append("u", rows(*range(10)).select(RECORD_SCHEMA.names))
    target.append("u", rows(1, 2, 3, 4).select(RECORD_SCHEMA.names))
    with Copying(source, target, str) as copying, pytest.raises(BusError, match="were not copied"):
        list(copying.copy("u"))


def test_a_copy_that_differs_is_found_out(buses: tuple[EmbeddedBus, EmbeddedBus]) -> None:
    source, target = buses
    for bus in buses:
        bus.ensure(Topic(name="t"))
    source.append("t", rows(*range(10)).select(RECORD_SCHEMA.names))
    copy(source, target)
    source.append("t", rows(10).select(RECORD_SCHEMA.names))
    with pytest.raises(BusError, match="lacks records"):
        compared(source, target, T0, source.spans("t")[0])
    copy(source, target)
    twice = target.read(T0, 10).select(RECORD_SCHEMA.names)
    target.append("t", twice)
    with pytest.raises(BusError, match="a record more"):
        compared(source, target, T0, source.spans("t")[0])


def test_a_group_goes_on_and_is_never_set_back(buses: tuple[EmbeddedBus, EmbeddedBus]) -> None:
    _, target = buses
    target.ensure(Topic(name="t", partitions=2))
    target.append("t", rows(*range(20)).select(RECORD_SCHEMA.names))
    assert len(np.unique(partition_of(rows(*range(20))["key"], 2))) == 2
    assert carry_over(target, "g", {T0: 3}) == {T0: 3}
    assert carry_over(target, "g", {T0: 2, Partition("t", 1): 1}) == {Partition("t", 1): 1}
    assert target.committed("g", "t") == {0: 3, 1: 1}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=30), st.integers(0, 5), st.data())
def test_every_offset_leads_behind_the_records_that_were_read(steps: list[tuple[int, int]], first: int, data: st.DataObject) -> None:
    """Both may have gaps: then it is the place behind the last record below the offset."""
    pairs = np.cumsum([(0, first), *steps], axis=0)
    sources, targets = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
    found, cut = Offsets(first), data.draw(st.integers(0, len(sources)))
    found.add(sources[:cut], targets[:cut])
    found.add(sources[cut:], targets[cut:])
    assert found.records == len(sources)
    for offset in range(int(sources[-1]) + 3):
        below = np.flatnonzero(sources < offset)
        assert found.to(offset) == (int(targets[below[-1]]) + 1 if len(below) else first)
