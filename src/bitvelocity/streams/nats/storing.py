"""The verbs of one partition: its stream is made, written in whole batches, read by offset, searched by time."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import BusError, OffsetGoneError
from ..bus import Partition, Span, Topic
from .coding import PACK_BITS, PACKED, Content, fetched, packs, singles, total, unpacked
from .line import Answer, Line, Message, RefusedError
from .names import mark_of, stream_of, subject_of

BATCH = 900
"""Messages written at once; the server takes up to 1000."""
BATCH_BYTES = 8 << 20
READ_BYTES = 8 << 20
MARKED = 16
"""An append of fewer records gets no mark: a search by time looks at such records one by one."""
WINDOW_NS = 120 * 10**9

NO_STREAM, NO_MESSAGE, WRONG_LAST = 10059, 10037, (10071, 10164)
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


class Batch(NamedTuple):
    """What is written at once, or not at all. `last_rows`: of them in the last message."""

    contents: Sequence[Content]
    rows: int
    mark: Mark
    last_rows: int
    packed: bool


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


async def read(
    line: Line, layout: Layout, partition: Partition, offset: int, *, limit: int, fresh: bool
) -> pa.Table:
    """Up to about `limit` records from `offset` on: what is there now.

    `fresh`: nothing has been read just before `offset`, so records below the first may be missing without a gap.
    """
    parts: list[pa.Table] = []
    rows, wanted = 0, layout.sequence(offset)
    while rows < limit:
        answers = await _messages(line, layout, partition, wanted, limit=limit - rows)
        if not parts and (_number(answers[0]) > wanted if answers else fresh):
            await _refuse_gone(line, layout, partition, offset)
        if not answers:
            break
        wanted = _number(answers[-1]) + 1
        part = _table(layout, partition, answers)
        if part["offset"][0].as_py() < offset:
            part = part.slice(int(np.searchsorted(part["offset"].to_numpy(), offset)))
        if part.num_rows:
            parts.append(part)
            rows += part.num_rows
        if not layout.packed:
            break
    return total(parts)


def _table(layout: Layout, partition: Partition, answers: Sequence[Answer]) -> pa.Table:
    if layout.packed:
        return total(unpacked(partition, answer) for answer in answers)
    return fetched(partition, answers)


async def _messages(
    line: Line, layout: Layout, partition: Partition, sequence: int, *, limit: int
) -> list[Answer]:
    """Stored messages from a number on, in order; asked for without a consumer that the server would have to remember."""
    wanted = {
        "seq": sequence, "next_by_subj": subject_of(partition), "max_bytes": READ_BYTES,
        "batch": 8 if layout.packed else max(1, limit),
    }  # fmt: skip
    *answers, end = await line.gather(
        f"$JS.API.DIRECT.GET.{stream_of(partition)}", json.dumps(wanted).encode()
    )
    if end.status == "503":
        raise no_topic(partition.topic)
    if end.status not in ("204", "404"):
        raise failed(RefusedError(0, f"{end.status} {end.headers.get('Description')}"), partition.topic)
    return answers


async def _refuse_gone(line: Line, layout: Layout, partition: Partition, offset: int) -> None:
    now = await state(line, partition)
    first = layout.after(now.first, 0)
    if offset < first and now.first > 1:
        raise OffsetGoneError(
            f"Records of partition {partition.number} are kept from offset {first} on.",
            entity=partition.topic, position=str(offset), safe="What is kept is untouched.",
            remedy=f"Go on from {first}, and have what is missing from the lake; or keep the topic's records longer.",
        )  # fmt: skip


async def forget(line: Line, layout: Layout, partition: Partition, offset: int) -> None:
    """Delete the messages before the one in which the record of an offset is."""
    try:
        await line.api(f"STREAM.PURGE.{stream_of(partition)}", seq=layout.sequence(offset))
    except RefusedError as refused:
        raise failed(refused, partition.topic) from refused


async def first_since(line: Line, layout: Layout, partition: Partition, at: int) -> int:
    """The offset of the first record whose time in microseconds is `at` or later; the end if there is none.

    Marks tell the newest time of their batches, so that only one batch has to be looked into, and what has no mark.
    """
    bounds = await span(line, layout, partition)
    seen = layout.sequence(bounds.first)
    async for number, mark in _marks(line, partition):
        found = await _scan(line, layout, partition, (seen, number), at=at)
        if found is None and int(mark.get(MAX_TIME, 0)) >= at:
            found = await _scan(line, layout, partition, (number, number + 1 + int(mark[COUNT])), at=at)
        if found is not None:
            return found
        seen = number + 1 + int(mark[COUNT])
    found = await _scan(line, layout, partition, (seen, layout.sequence(bounds.end) + 1), at=at)
    return bounds.end if found is None else found


async def _marks(line: Line, partition: Partition) -> Any:
    """All marks with their numbers, in order."""
    sequence = 1
    while True:
        wanted = {"seq": sequence, "next_by_subj": f"bv-mark.{subject_of(partition)}.*", "batch": 1000}
        *answers, _ = await line.gather(
            f"$JS.API.DIRECT.GET.{stream_of(partition)}", json.dumps(wanted).encode()
        )
        for answer in answers:
            yield _number(answer), answer.headers
        if not answers:
            return
        sequence = _number(answers[-1]) + 1


async def _scan(
    line: Line, layout: Layout, partition: Partition, numbers: tuple[int, int], *, at: int
) -> int | None:
    """The first such record in messages of these numbers."""
    wanted, end = numbers
    while wanted < end:
        answers = await _messages(line, layout, partition, wanted, limit=min(1000, end - wanted))
        inside = [answer for answer in answers if _number(answer) < end]
        if not inside:
            return None
        table = _table(layout, partition, inside)
        late = np.flatnonzero(table["timestamp"].cast(pa.int64()).to_numpy() >= at)
        if len(late):
            return int(table["offset"][int(late[0])].as_py())
        wanted = _number(inside[-1]) + 1
    return None


def _number(answer: Answer) -> int:
    return int(answer.headers["Nats-Sequence"])


def no_topic(topic: str) -> BusError:
    return BusError("There is no such topic.", entity=topic, code="NoTopic", remedy="Make it with `ensure`.")


def failed(refused: RefusedError, entity: str) -> BusError:
    """What JetStream refused, as our error."""
    return BusError(
        f"NATS refuses: {refused.what}.", entity=entity, remedy="See the server's log, and `nats stream info`.",
    )  # fmt: skip
