"""A partition from one offset to another, and where a copy of it has come to."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ...errors import BusError, BusLostError
from ..bus import Bus, Partition
from .marks import offsets_before

PIECE = 10_000
_LOOK_BACK = 500
_PATIENCE_S, _QUIET_S = 30.0, 1.0


def filled(bus: Bus, partition: Partition, offset: int, end: int) -> Iterator[pa.Table]:
    """Records from an offset up to an end, piece by piece. An error if the transport does not give what it has."""
    deadline = time.monotonic() + _PATIENCE_S
    while offset < end:
        found = bus.read(partition, offset, limit=min(PIECE, end - offset), timeout=_QUIET_S)
        offsets = found["offset"].to_numpy()
        below = int(np.searchsorted(offsets, end))
        if below:
            offset, deadline = int(offsets[below - 1]) + 1, time.monotonic() + _PATIENCE_S
            yield found.slice(0, below)
        elif found.num_rows or bus.spans(partition.topic)[partition.number].end >= end:
            return
        elif time.monotonic() > deadline:
            raise BusLostError(f"The transport does not give what it had up to offset {end}.", entity=partition.topic, position=str(offset))


def come_to(bus: Bus, partition: Partition) -> int:
    """The offset to go on from by what the copy has; 0 for none. Looked for from its end, in growing steps."""
    span = bus.spans(partition.topic)[partition.number]
    upper, step = span.end, _LOOK_BACK
    while upper > span.first:
        lower = max(span.first, upper - step)
        last = None
        for piece in filled(bus, partition, lower, upper):
            last = int(offsets_before(piece)[-1])
        if last is not None and last < 0:
            raise BusError(
                f"Partition {partition.number} holds records that were not copied.", entity=partition.topic, code="TopicInUse",
                safe="Nothing was written to it.", remedy="Copy to a transport that does not have the topic, or delete it there.",
            )  # fmt: skip
        if last is not None:
            return last + 1
        upper, step = lower, step * 8
    return 0
