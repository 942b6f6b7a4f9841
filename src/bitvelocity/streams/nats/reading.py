"""One partition read by offset, and searched by time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import OffsetGoneError
from ..bus import Partition
from .alike import columns
from .coding import fetched, total, unpacked
from .line import Line
from .names import stream_of, subject_of
from .refusals import RefusedError, failed, no_topic
from .stored import COUNT, MAX_TIME, Layout, span, state
from .waiting import Answer

READ_BYTES = 8 << 20


async def read(
    line: Line, layout: Layout, partition: Partition, offset: int, *, limit: int, fresh: bool
) -> pa.Table:
    """Up to about `limit` records from `offset` on: what is there now.

    `fresh`: nothing has been read just before `offset`, so records below the first may be missing without a gap.
    """
    if not layout.packed:
        return await _read_singles(line, layout, partition, offset, limit=limit, fresh=fresh)
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
    return total(parts)


async def _read_singles(
    line: Line, layout: Layout, partition: Partition, offset: int, *, limit: int, fresh: bool
) -> pa.Table:
    wanted = layout.sequence(offset)
    table = await _records(line, layout, partition, wanted, limit=limit)
    if table["offset"][0].as_py() >= wanted if table.num_rows else fresh:
        await _refuse_gone(line, layout, partition, offset)
    return table


async def _records(line: Line, layout: Layout, partition: Partition, sequence: int, *, limit: int) -> pa.Table:
    """Of messages that are not packed, from a number on: by column, and one by one where they differ too much."""
    heap = await line.heap(*_question(layout, partition, sequence, limit))
    if heap.odd:
        return fetched(partition, await _messages(line, layout, partition, sequence, limit=limit))
    await _check_end(line, partition, heap.end)
    messages = heap.messages()
    table, known = columns(partition, messages)
    if known.all():
        return table
    others = np.flatnonzero(~known)
    rest = fetched(partition, [await heap.answer(*messages.one(int(row))) for row in others])
    places = np.concatenate([np.flatnonzero(known), others])
    return pa.concat_tables([table, rest]).take(np.argsort(places))


def _table(layout: Layout, partition: Partition, answers: Sequence[Answer]) -> pa.Table:
    if layout.packed:
        return total(unpacked(partition, answer) for answer in answers)
    return fetched(partition, answers)


async def _messages(
    line: Line, layout: Layout, partition: Partition, sequence: int, *, limit: int
) -> list[Answer]:
    """Stored messages from a number on, in order; asked for without a consumer that the server would have to remember."""
    *answers, end = await line.gather(*_question(layout, partition, sequence, limit))
    await _check_end(line, partition, end)
    return answers


def _question(layout: Layout, partition: Partition, sequence: int, limit: int) -> tuple[str, bytes]:
    """Subject and content."""
    wanted = {
        "seq": sequence, "next_by_subj": subject_of(partition), "max_bytes": READ_BYTES,
        "batch": 8 if layout.packed else max(1, limit),
    }  # fmt: skip
    return f"$JS.API.DIRECT.GET.{stream_of(partition)}", json.dumps(wanted).encode()


async def _check_end(line: Line, partition: Partition, end: Answer) -> None:
    """Whether the answers ended as they should."""
    if end.status == "503":
        try:
            await line.miss(subject_of(partition))
        except RefusedError as refused:
            raise no_topic(partition.topic) from refused
    if end.status not in ("204", "404"):
        raise failed(RefusedError(0, f"{end.status} {end.headers.get('Description')}"), partition.topic)


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
