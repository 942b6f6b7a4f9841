"""How a partition lies on the server, and what the server says of it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from ..bus import Partition, Span, Topic
from .coding import PACK_BITS
from .line import Line
from .names import mark_of, stream_of, subject_of
from .refusals import NO_MESSAGE, NO_STREAM, RefusedError, failed, no_topic

WINDOW_NS = 120 * 10**9

PLACE, COUNT, LAST, END, MAX_TIME = "bv-place", "bv-count", "bv-last", "bv-end", "bv-max-time"

Mark = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a topic lies on the server."""

    topic: str
    partitions: int
    packed: bool

    @property
    def bits(self) -> int:
        return PACK_BITS if self.packed else 0

    def sequence(self, offset: int) -> int:
        """The message in which the record of an offset is, or would be."""
        return (max(0, offset) >> self.bits) + 1

    def after(self, sequence: int, rows: int) -> int:
        """The offset after the last of the records of a message."""
        return ((sequence - 1) << self.bits) + rows


class State(NamedTuple):
    """Numbers of the first message that is kept, and of the last that was written."""

    first: int
    last: int


def config_of(topic: Topic, number: int) -> dict[str, Any]:
    """The stream of one partition."""
    partition = Partition(topic.name, number)
    age = 0 if topic.retention is None else int(topic.retention.total_seconds() * 1e9)
    return {
        "name": stream_of(partition),
        "subjects": [subject_of(partition), f"bv-mark.{subject_of(partition)}.*"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": age,
        "max_bytes": topic.retention_bytes or -1,
        "duplicate_window": min(age, WINDOW_NS) or WINDOW_NS,
        "num_replicas": topic.replicas,
        "allow_direct": True,
        "allow_atomic": True,
        "metadata": {
            "bv-topic": topic.name,
            "bv-partition": str(number),
            "bv-partitions": str(topic.partitions),
            "bv-packed": str(topic.packed).lower(),
        },
    }


async def held(line: Line, wanted: Topic) -> Topic | None:
    """The topic by the stream of its first partition; None: there is none of ours."""
    info = await stream(line, Partition(wanted.name, 0))
    config = info["config"] if info else {}
    facts = config.get("metadata", {})
    if facts.get("bv-topic") != wanted.name:
        return None
    size = config["max_bytes"]
    return Topic(
        name=wanted.name,
        partitions=int(facts["bv-partitions"]),
        retention=timedelta(microseconds=config["max_age"] // 1000) or None,
        retention_bytes=size if size > 0 else None,
        replicas=config["num_replicas"],
        packed=facts["bv-packed"] == "true",
    )


async def stream(line: Line, partition: Partition) -> dict[str, Any] | None:
    """What the server says about the stream; None: it is not there."""
    try:
        return await line.api(f"STREAM.INFO.{stream_of(partition)}")
    except RefusedError as refused:
        if refused.number == NO_STREAM:
            return None
        raise failed(refused, partition.topic) from refused


async def state(line: Line, partition: Partition) -> State:
    info = await stream(line, partition)
    if info is None:
        raise no_topic(partition.topic)
    return State(max(1, info["state"]["first_seq"]), info["state"]["last_seq"])


async def last_mark(line: Line, partition: Partition, writer: str | None) -> tuple[int, Mark] | None:
    """The newest mark of a writer (None: of anybody), with its message's number, as the stream's leader has it."""
    subject = f"bv-mark.{subject_of(partition)}.*" if writer is None else mark_of(partition, writer)
    try:
        said = await line.api(f"STREAM.MSG.GET.{stream_of(partition)}", last_by_subj=subject)
    except RefusedError as refused:
        if refused.number == NO_MESSAGE:
            return None
        raise (
            no_topic(partition.topic) if refused.number == NO_STREAM else failed(refused, partition.topic)
        ) from refused
    lines = base64.b64decode(said["message"].get("hdrs", "")).decode().split("\r\n")
    pairs = (one.partition(": ") for one in lines if ": " in one)
    return int(said["message"]["seq"]), {name: value for name, _, value in pairs}


async def span(line: Line, layout: Layout, partition: Partition) -> Span:
    now, marked = await asyncio.gather(state(line, partition), last_mark(line, partition, None))
    first = layout.after(now.first, 0)
    if marked is None:
        return Span(first, layout.after(now.last + 1, 0))
    number, mark = marked
    count = int(mark[COUNT])
    if number + count != now.last:  # written to without a mark since
        return Span(first, layout.after(now.last + 1, 0))
    end = layout.after(now.last, int(mark[LAST])) if count else int(mark[END])
    return Span(min(first, end), end)
