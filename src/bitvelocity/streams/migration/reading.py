"""A partition from one offset to another, and where a copy of it has come to."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from ...errors import BusError
from ..bus import Bus, Partition
from ..spans import some_of
from .marks import offsets_before

PIECE = 10_000
_LOOK_BACK = 500


def filled(bus: Bus, partition: Partition, offset: int, end: int) -> Iterator[pa.Table]:
    """Records from an offset up to an end, piece by piece. An error if the transport does not give what it has."""
    while offset < end:
        found, offset = some_of(bus, partition, offset, end, limit=PIECE)
        if found.num_rows:
            yield found


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
