"""Whole batches into one partition: records are cut into what the server takes at once, and go behind a mark."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ..bus import Partition
from .coding import PACKED, Content, packs, singles
from .line import Line
from .names import mark_of, subject_of
from .stored import COUNT, LAST, MAX_TIME, PLACE, Layout, Mark
from .waiting import Message

BATCH = 900
"""Messages written at once; the server takes up to 1000."""
BATCH_BYTES = 8 << 20
MARKED = 16
"""An append of fewer records gets no mark: a search by time looks at such records one by one."""


class Batch(NamedTuple):
    """What is written at once, or not at all. `last_rows`: of them in the last message."""

    contents: Sequence[Content]
    rows: int
    mark: Mark
    last_rows: int
    packed: bool


def cut(
    layout: Layout, records: pa.Table, greatest: int, *, places: Sequence[str] | None = None
) -> Iterator[Batch]:
    """Rows of `RECORD_SCHEMA` as batches that the server takes at once; none is given if one record is too long."""
    now = pa.scalar(time.time_ns() // 1000, pa.int64()).cast(records.schema.field("timestamp").type)
    at = records.schema.get_field_index("timestamp")
    records = records.set_column(at, "timestamp", pc.fill_null(records["timestamp"], now))
    contents = (packs if layout.packed else singles)(records, greatest, layout.topic)
    row = 0
    for part in _parts(contents):
        rows = [int(head[PACKED]) for head, _ in part] if layout.packed else [1] * len(part)
        stamps = records["timestamp"].slice(row, sum(rows)).cast(pa.int64())
        row += sum(rows)
        mark = {COUNT: str(len(part)), LAST: str(rows[-1]), MAX_TIME: str(pc.max(stamps).as_py())}
        if places is not None:
            mark[PLACE] = places[row - 1]
        yield Batch(part, sum(rows), mark, rows[-1], layout.packed)


def _parts(contents: Sequence[Content]) -> Iterator[Sequence[Content]]:
    begun, size = 0, 0
    for number, (head, payload) in enumerate(contents):
        if number > begun and (number - begun == BATCH or size + len(payload) > BATCH_BYTES):
            yield contents[begun:number]
            begun, size = number, 0
        size += len(payload) + 32 * len(head)
    if contents:
        yield contents[begun:]


async def write(
    line: Line, partition: Partition, batch: Batch, *, writer: str | None, expected: int | None = None
) -> int:
    """Append a batch, whole or not at all, behind its mark; the number of its last message.

    `writer`: whose mark; None: no mark. `expected`: the number that the last message must have, else `RefusedError`.
    """
    subject = subject_of(partition)
    messages = [Message(subject, head, payload) for head, payload in batch.contents]
    if writer is not None:
        messages.insert(0, Message(mark_of(partition, writer), dict(batch.mark), b""))
    if expected is not None:
        first = messages[0]
        messages[0] = first._replace(headers={**first.headers, "Nats-Expected-Last-Sequence": str(expected)})
    if len(messages) > 1:
        messages = _together(messages)
    return int((await line.send(messages))["seq"])


def _together(messages: Sequence[Message]) -> list[Message]:
    """Messages of one atomic batch (ADR-50 of NATS): the last one commits them all."""
    name = uuid.uuid4().hex
    found = [
        Message(subject, {**head, "Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)}, payload)
        for number, (subject, head, payload) in enumerate(messages, 1)
    ]
    found[-1].headers["Nats-Batch-Commit"] = "1"
    return found
