"""Handing tables to a producer without one Python statement per record, and without running its queue over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Producer

from ..bus import Partition
from ..garbage import collection_paused
from .client import unsure
from .columns import outgoing

Report = Callable[[Any, Any], object]
PIECE_ROWS = 20_000
PIECE_BYTES = 32 << 20
QUEUED_BYTES = 256 << 20


class Feeder:
    """Gives records to one producer. Used by one thread."""

    def __init__(self, producer: Producer, patience: float) -> None:
        self._producer = producer
        self._patience = patience
        self._bytes = 0
        self.ends: dict[Partition, int] = {}
        """Next offset of each partition, once the records are acknowledged."""

    def give(
        self, topic: str, table: pa.Table, partitions: npt.NDArray[np.int32], *, report: Report | None = None
    ) -> None:
        """Queue the rows in their order. `report` hears of each record; without it only of the last of a partition."""
        step = max(1, min(PIECE_ROWS, PIECE_BYTES * len(table) // max(1, table.nbytes)))
        reports: list[Report | None] = [report] * len(table)
        for row in _last_rows(partitions):
            reports[row] = self._noting(report)
        for begin in range(0, len(table), step):
            piece = table.slice(begin, step)
            self._make_room(piece.nbytes)
            where, whose = partitions[begin : begin + step].tolist(), reports[begin : begin + step]
            produce = self._producer.produce
            with collection_paused():
                keys, values, stamps, headers = outgoing(piece)
                deque(map(produce, repeat(topic), values, keys, where, whose, repeat(None), stamps, headers), maxlen=0)

    def flush(self) -> None:
        """Wait until each record was acknowledged or refused."""
        deadline = time.monotonic() + self._patience
        while self._producer.flush(max(0.0, min(1.0, deadline - time.monotonic()))):
            if time.monotonic() > deadline:
                raise unsure(f"Kafka has not acknowledged the records within {self._patience:.0f} s.")
        self._bytes = 0

    def _make_room(self, coming: int) -> None:
        self._bytes += coming
        if self._bytes > QUEUED_BYTES or len(self._producer) > 20 * PIECE_ROWS:
            self.flush()
            self._bytes = coming

    def _noting(self, report: Report | None) -> Report:
        def note(error: Any, message: Any) -> None:
            if error is None:
                self.ends[Partition(message.topic(), message.partition())] = message.offset() + 1
            if report is not None:
                report(error, message)

        return note


def _last_rows(partitions: npt.NDArray[np.int32]) -> list[int]:
    """The row that is the last of its partition, for each of them."""
    if not len(partitions):
        return []
    _, from_behind = np.unique(partitions[::-1], return_index=True)
    return [int(row) for row in len(partitions) - 1 - from_behind]


def last_of(partitions: npt.NDArray[np.int32]) -> Mapping[int, int]:
    """Each partition's last row."""
    return {int(partitions[row]): row for row in _last_rows(partitions)}
