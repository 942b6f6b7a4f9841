"""What lies in a partition from one offset up to another."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from ..errors import BusLostError
from .bus import Bus, Partition

_PATIENCE_S, _QUIET_S = 30.0, 1.0


def some_of(bus: Bus, partition: Partition, offset: int, end: int, *, limit: int) -> tuple[pa.Table, int]:
    """Some records from an offset on, all below `end`, and the offset to go on from.

    None only if the transport says that it has nothing there any more; to go on from is `end` then.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        found = bus.read(partition, offset, limit=min(limit, end - offset), timeout=_QUIET_S)
        offsets = found["offset"].to_numpy()
        below = int(np.searchsorted(offsets, end))
        if below:
            return found.slice(0, below), int(offsets[below - 1]) + 1
        if found.num_rows or bus.spans(partition.topic)[partition.number].end >= end:
            return found.slice(0, 0), end
        if time.monotonic() > deadline:
            raise BusLostError(
                f"The transport does not give what it had up to offset {end}.", entity=partition.topic, position=str(offset),
                safe="Nothing behind it was taken.",
            )  # fmt: skip
