"""A publisher: batches behind marks, each expecting the last message that it knows.

The name's document in the bucket `bv-publishers` has a generation and the topics that the name has written to. Whoever
opens the name anew:

1. raises the generation (compare-and-set): from here on no predecessor can add a topic;
2. writes a mark into each partition of those topics, with the highest place that it finds: what a predecessor sends
   afterwards expects another last message, and is refused by the server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import BusError, BusLostError
from ..bus import PLACED_SCHEMA, Partition, Place, Published
from ..placing import above, check_order, parse_place, place_text, with_places
from ..refusals import another_publisher, spoilt
from . import stored, writing
from .buckets import Bucket
from .line import Line
from .names import stream_of, wake_of
from .refusals import WRONG_LAST, RefusedError, failed
from .stored import Layout
from .waiting import every
from .writing import Batch

TRIES = 50
"""How often a batch is tried again when others wrote to the partition in between."""

Work = tuple[Layout, Partition, pa.Table]
"""Rows of `PLACED_SCHEMA` for one partition."""


@dataclass(slots=True)
class Head:
    """What a publisher knows of a partition: the numbers of the last message there and of its own last mark (0: it has
    none), and its highest place."""

    last: int
    mark: int
    place: Place | None


class NatsPublisher:
    """Opened by `take_over`."""

    def __init__(
        self, line: Line, bucket: Bucket, name: str, generation: int,
        *, layout: Callable[[str], Layout], parts: Callable[[Layout, pa.Table], list[tuple[int, pa.Table]]],
    ) -> None:  # fmt: skip
        self._line, self._bucket, self._name, self._generation = line, bucket, name, generation
        self._layout, self._parts = layout, parts
        self._heads: dict[Partition, Head] = {}
        self._known: set[str] = set()
        self._spoilt = False

    def publish(self, batches: Mapping[str, pa.Table]) -> Published:
        layouts = {topic: self._layout(topic) for topic in batches}
        work: list[Work] = []
        for topic, table in batches.items():
            check_order(topic, table)
            work += [
                (layouts[topic], Partition(topic, number), part)
                for number, part in self._parts(layouts[topic], table.cast(PLACED_SCHEMA))
            ]
        if self._spoilt:
            raise spoilt(self._name)
        self._spoilt = True
        self._line.run(self._meet(list(layouts.values())))
        written = self._line.run(self._write_all(self._ready(work)))
        self._spoilt = False
        ends = {part: end for part, rows, end in written if rows}
        count = sum(rows for _, rows, _ in written)
        return Published(ends, count, sum(table.num_rows for table in batches.values()) - count)

    def places(self, topic: str) -> Mapping[int, Place]:
        layout = self._layout(topic)
        self._line.run(self._meet([layout]))
        heads = {number: self._heads[Partition(topic, number)] for number in range(layout.partitions)}
        return {number: head.place for number, head in heads.items() if head.place is not None}

    def close(self) -> None:
        """Keep the places where no retention reaches them; the name stays free for whoever opens it next."""
        if self._spoilt:
            return
        self._spoilt = True
        places = {stream_of(part): _text(head.place) for part, head in self._heads.items() if head.place}
        with contextlib.suppress(BusError):
            self._line.run(self._bucket.change(self._name, lambda document: self._keep(document, places)))

    def _keep(self, document: dict[str, Any], places: Mapping[str, str]) -> None:
        self._check(document)
        document.setdefault("places", {}).update(places)

    def _ready(self, work: list[Work]) -> list[tuple[Layout, Partition, list[Batch]]]:
        """What is new, cut into batches; a record that is too long is found before anything is written."""
        greatest = self._line.run(self._line.greatest())
        ready = []
        for layout, partition, table in work:
            rest = above(table, self._heads[partition].place)
            if rest.num_rows:
                batches = writing.cut(layout, with_places(rest), greatest, places=_places(rest))
                ready.append((layout, partition, list(batches)))
        return ready

    async def _write_all(self, ready: list[tuple[Layout, Partition, list[Batch]]]) -> list[tuple[Partition, int, int]]:
        found = await every(self._write(*one) for one in ready)
        await self._line.tell(wake_of(partition) for partition, _, _ in found)
        return found

    async def _write(
        self, layout: Layout, partition: Partition, batches: list[Batch]
    ) -> tuple[Partition, int, int]:
        """One batch after the other: a later one cannot pass an earlier one that fails."""
        head = self._heads[partition]
        for batch in batches:
            head.last = await self._insist(partition, batch, head)
            head.mark = head.last - len(batch.contents)
            head.place = parse_place(batch.mark[stored.PLACE])
        return partition, sum(batch.rows for batch in batches), layout.after(head.last, batches[-1].last_rows)

    async def _insist(self, partition: Partition, batch: Batch, head: Head) -> int:
        last = head.last
        for _ in range(TRIES):
            try:
                return await writing.write(self._line, partition, batch, writer=self._name, expected=last)
            except RefusedError as refused:
                if refused.number not in WRONG_LAST:
                    raise failed(refused, partition.topic) from refused
            now = await self._head(partition, {})  # somebody wrote; was it our successor?
            await self._check_again()
            if now.mark != head.mark:
                raise BusLostError(
                    f"A predecessor's records came to partition {partition.number} late.", entity=partition.topic,
                    safe="Nothing of this batch was written.", remedy="Open the publisher again: it finds them.",
                )  # fmt: skip
            last = now.last
        raise BusError(
            f"Others wrote to partition {partition.number} {TRIES} times while we tried.", entity=partition.topic,
            remedy="Give the change stream a topic of its own.",
        )  # fmt: skip

    async def _meet(self, layouts: list[Layout]) -> None:
        """Check that we are the last of our name, and learn the heads of topics that we have not written to yet."""
        new = [layout for layout in layouts if layout.topic not in self._known]
        names = sorted(layout.topic for layout in new)
        places = await self._bucket.change(self._name, lambda document: self._enter(document, names))
        for layout in new:
            parts = [Partition(layout.topic, number) for number in range(layout.partitions)]
            for part, head in zip(parts, await every(self._head(part, places) for part in parts), strict=True):
                self._heads[part] = head
        if new:  # a successor that came meanwhile left marks, and we must not take them for the last of our own
            await self._check_again()
            self._known.update(names)

    async def _check_again(self) -> None:
        self._check((await self._bucket.get(self._name))[1])

    def _enter(self, document: dict[str, Any], topics: list[str]) -> dict[str, str]:
        self._check(document)
        document["topics"] = sorted({*document["topics"], *topics})
        kept: dict[str, str] = document.get("places", {})
        return kept

    async def _head(self, partition: Partition, places: Mapping[str, str]) -> Head:
        now = await stored.state(self._line, partition)
        marked = await stored.last_mark(self._line, partition, self._name)
        texts = [marked[1].get(stored.PLACE, "") if marked else "", places.get(stream_of(partition), "")]
        place = parse_place(max(texts)) if any(texts) else None
        return Head(now.last, marked[0] if marked else 0, place)

    def _check(self, document: dict[str, Any]) -> None:
        if document.get("generation") != self._generation:
            raise another_publisher(self._name, "Nothing of this call was written to the partition that it had come to.")


async def take_over(
    line: Line, bucket: Bucket, name: str, layouts: Callable[[str], Awaitable[Layout | None]]
) -> int:
    """The new generation of a name, with a mark in every partition that a predecessor may still be writing to."""

    def raised(document: dict[str, Any]) -> tuple[int, list[str]]:
        document["generation"] = document.get("generation", 0) + 1
        return document["generation"], document.setdefault("topics", [])

    generation, topics = await bucket.change(name, raised)
    for topic in topics:
        if (layout := await layouts(topic)) is not None:
            await every(
                _fence(line, layout, Partition(topic, number), name) for number in range(layout.partitions)
            )
    return generation


async def _fence(line: Line, layout: Layout, partition: Partition, name: str) -> None:
    for _ in range(TRIES):
        now = await stored.state(line, partition)
        marked = await stored.last_mark(line, partition, name)
        end = (await stored.span(line, layout, partition)).end
        mark = {stored.COUNT: "0", stored.END: str(end)}
        if marked is not None and stored.PLACE in marked[1]:
            mark[stored.PLACE] = marked[1][stored.PLACE]
        try:
            await writing.write(line, partition, Batch([], 0, mark, 0, layout.packed), writer=name, expected=now.last)
        except RefusedError as refused:
            if refused.number not in WRONG_LAST:
                raise failed(refused, partition.topic) from refused
        else:
            return
    raise BusError(f"Partition {partition.number} is written to too fast.", entity=partition.topic)


def _text(place: Place) -> str:
    lsn, ordinal, step = place
    return str(place_text(np.array([lsn]), np.array([ordinal], np.int32), np.array([step], np.int8))[0])


def _places(table: pa.Table) -> list[str]:
    lsn, ordinal, step = (table[name].to_numpy() for name in ("lsn", "ordinal", "step"))
    return [str(place) for place in place_text(lsn, ordinal, step).to_pylist()]

