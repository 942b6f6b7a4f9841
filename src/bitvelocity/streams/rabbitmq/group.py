"""What a group has committed: records of a stream, `bv-group-<group>`, written over the connection that holds the leases.

Each record names all partitions of its writer, so that none falls out of the stream while anybody of the group works.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from ...errors import BusError
from ..bus import Partition
from .cursor import span
from .decoding import decode
from .links import Links, chunks

ARGUMENTS = {"x-max-length-bytes": 20_000_000, "x-stream-max-segment-size-bytes": 2_000_000}
LOOK_BACK = 500
"""Records that are read from the end first; eight times as many at each further step."""


class Mark(NamedTuple):
    """Where a group stands in a partition: its next offset (-1: none yet), and how often the partition changed hands."""

    offset: int
    generation: int


def group_stream(group: str) -> str:
    return f"bv-group-{group}"


def encode_marks(member: str, marks: Mapping[Partition, Mark]) -> bytes:
    rows = [[*partition, *mark] for partition, mark in marks.items()]
    return json.dumps({"member": member, "marks": rows}).encode()


def committed_marks(links: Links, group: str, wanted: Collection[Partition]) -> Mapping[Partition, Mark]:
    """The last mark of each partition that is wanted; the higher generation, then the later one."""
    stream = group_stream(group)
    try:
        held = span(links, stream)
    except BusError as error:
        if error.code != "TopicMissing":
            raise
        return {}
    marks: dict[Partition, Mark] = {}
    upper, step = held.end, LOOK_BACK
    while upper > held.first and not set(wanted) <= set(marks):
        lower = max(held.first, upper - step)
        older = _between(links, stream, lower, upper)
        for part, mark in older.items():
            if part not in marks or mark.generation > marks[part].generation:
                marks[part] = mark
        upper, step = lower, step * 8
    return {part: mark for part, mark in marks.items() if part in wanted}


def _between(links: Links, stream: str, lower: int, upper: int) -> dict[Partition, Mark]:
    marks: dict[Partition, Mark] = {}
    for body in control_records(links, stream, lower, upper):
        for topic, number, offset, generation in json.loads(body)["marks"]:
            part, mark = Partition(topic, number), Mark(offset, generation)
            if part not in marks or mark.generation >= marks[part].generation:
                marks[part] = mark
    return marks


def control_records(links: Links, stream: str, lower: int, upper: int) -> list[bytes]:
    """The values of a stream of our own, from one offset to another."""
    found: list[bytes] = []
    for chunk in chunks(links.to(stream), stream, lower):
        records = decode([chunk])
        offsets = records["offset"].to_numpy()
        first, last = np.searchsorted(offsets, (lower, upper))
        found += [value or b"" for value in records["value"].slice(int(first), int(last - first)).to_pylist()]
        if chunk.end >= upper:
            break
    return found
