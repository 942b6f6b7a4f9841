"""Source -> bus -> bronze over each transport that can: workers compete, are fenced and killed, the server dies, and so
does the reader; each change is in bronze once, in order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from tests.conformance.buses import FENCED, Running, again
from tests.conformance.relay_child import SETS, TABLES, change_set
from tests.conformance.test_bus import needs
from tests.forked import Talking

from bitvelocity.changes import Batch
from bitvelocity.changes.formats import Decoder
from bitvelocity.contracts import Entity, Key, spec_of
from bitvelocity.errors import BusLostError, LakeError
from bitvelocity.lakehouse import Lake
from bitvelocity.streams import Bus
from bitvelocity.streams.relay import BusSource


class Order(Entity, table="orders", name="orders", audit=False):
    """What is ordered."""

    id: Annotated[int, Key()]
    text: str | None


class Item(Entity, table="items", name="items", audit=False):
    """A line of it."""

    id: Annotated[int, Key()]
    text: str | None


SPECS = [spec_of(Order), spec_of(Item)]


def decode(topic: str, records: pa.Table) -> tuple[Sequence[Batch], None]:
    found = Decoder("debezium").decode(records, topic)
    assert found.refused == ()
    return found.batches, None


class Reader:
    """Fills a lake from the bus, and loses its mind now and then before it has confirmed."""

    def __init__(self, root: Path, prefix: str, seed: int) -> None:
        self._root, self._prefix, self._dice = root, prefix, random.Random(seed)
        self.position = 0

    def some(self, bus: Bus) -> None:
        """A life of a reader: a few change sets, up to the end or a breakdown."""
        with closing(Lake(self._root, SPECS, sync=False, begun=True)) as lake:
            self.position = max(lake.horizon, 0)
            source = BusSource(
                bus, decode,
                boundaries=f"{self._prefix}.boundaries", position=self.position, notes=self._root / "notes.json",
            )  # fmt: skip
            for change_set in source.tail(0.2):
                for batch in change_set:
                    lake.stage(batch)
                if self._dice.random() < 0.1:
                    return  # staged, and never committed
                lake.commit(change_set.mark)
                self.position = change_set.mark.lsn
                if self._dice.random() < 0.1:
                    return  # committed, and never confirmed
                source.confirm(change_set.mark.resume)


def lines(child: Talking, count: int) -> Iterator[str]:
    for _ in range(count):
        yield child.stdout.readline()


def test_each_change_is_in_bronze_once(bus_engine: Running, bus: Bus, tmp_path: Path) -> None:
    needs(bus, dedup=True, replay=True)
    prefix = f"race{tmp_path.parent.name.replace('-', '')}{tmp_path.name.replace('-', '')}"[-40:]
    reader = Reader(tmp_path / "lake", prefix, seed=len(bus_engine.name))

    def worker(confirmations: int) -> Talking:
        child = bus_engine.child_of("tests.conformance.relay_child", prefix)
        assert all(lines(child, confirmations))
        return child

    zombie = worker(5)
    heir = worker(15)
    assert zombie.ended() == FENCED, "two have published at once"
    reader.some(bus)
    heir.kill()
    heir.ended()
    last = worker(10)
    reader.some(bus)
    bus_engine.kill()
    while last.running:
        try:
            reader.some(bus)
        except BusLostError:
            continue
    assert last.ended() == 0
    while reader.position < SETS * 10:
        again(lambda: reader.some(bus))
    with closing(Lake(reader._root, SPECS, begun=True)), pytest.raises(LakeError, match="has a writer already"):
        Lake(reader._root, SPECS)
    for relation, spec in zip(TABLES, SPECS, strict=True):
        found = DeltaTable(reader._root / "bronze" / spec.name).to_pyarrow_table(columns=["_lsn", "_ordinal", "after_text"]).to_pylist()
        assert sorted(tuple(row.values()) for row in found) == expected(relation)


def expected(relation: str) -> list[tuple[int, int, str]]:
    rows = [
        row
        for number in range(1, SETS + 1)
        for batch in change_set(number)
        if batch.relation == relation
        for row in batch.data.select(["_lsn", "_ordinal", "after_text"]).to_pylist()
    ]
    return [tuple(row.values()) for row in rows]
