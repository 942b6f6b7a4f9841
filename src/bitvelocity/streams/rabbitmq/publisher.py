"""A publisher on RabbitMQ's streams: each place once, and predecessors fenced by the server's own deduplication.

The server drops what a named publisher sends with an id at or below its highest. Ids are `epoch * 2^40 + n`, and an epoch
is won in a stream of the publisher's own, `bv-publisher-<name>`, by the same rule: of two who write the same epoch there,
the second is dropped. Before a publisher writes to a stream, it

1. sends a *fence*, a record with the first id of its epoch, unless its predecessor left in good order: from then on the
   server drops whatever a predecessor still sends;
2. looks at the stream's end for the last record with a place: nothing can come between any more;
3. writes what stands above that place.

A predecessor does not learn from the server that it was dropped; so it asks for the epoch before and after it writes, and
only then calls its records written.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import BusError
from ..bus import PLACE_HEADER, PLACED_SCHEMA, RECORD_SCHEMA, Partition, Place, Published
from ..placing import above, check_order, parse_place, partition_of, with_places
from ..refusals import another_publisher, spoilt
from .address import Address
from .amqp import Amqp
from .cursor import span, stream_of
from .decoding import FENCE, decode
from .encoding import encode
from .flows import Producer
from .group import control_records
from .links import Links, chunks, publish
from .topics import declare_stream

EPOCH = 1 << 40
ATTEMPTS = 50
LOOK_BACK = 500
ARGUMENTS = {"x-max-length-bytes": 4_000_000, "x-stream-max-segment-size-bytes": 500_000}


@dataclass(slots=True)
class Outlet:
    """One stream that is ours: how it is written to, the next id, and the highest place in it."""

    producer: Producer
    next_id: int
    place: Place | None


class StreamPublisher:
    """Writes each place once. Its connections are its own, and its streams are fenced when they are first needed."""

    def __init__(self, address: Address, amqp: Amqp, name: str) -> None:
        self._name = name
        self._control = f"bv-publisher-{name}"
        self._links = Links(address)
        self._outlets: dict[Partition, Outlet] = {}
        self._spoilt = False
        try:
            declare_stream(amqp, self._control, ARGUMENTS)
            self._epoch, self._clean = self._win()
        except BaseException:
            self._links.close()
            raise

    def publish(self, batches: Mapping[str, pa.Table]) -> Published:
        self._refuse_spoilt()
        counts = {topic: self._links.count(topic) for topic in batches}
        for topic, table in batches.items():
            check_order(topic, table)
        self._check_epoch()
        self._spoilt = True  # until all is known to be written
        fresh: dict[Partition, pa.Table] = {}
        for topic, table in batches.items():
            fresh |= self._fresh(topic, table.cast(PLACED_SCHEMA), counts[topic])
        self._send(fresh)
        ends = {part: span(self._links, stream_of(part)).end for part in fresh}
        self._check_epoch()
        for part, rows in fresh.items():
            self._outlets[part].place = _last(rows)
        self._spoilt = False
        written = sum(rows.num_rows for rows in fresh.values())
        return Published(ends, written, sum(table.num_rows for table in batches.values()) - written)

    def places(self, topic: str) -> Mapping[int, Place]:
        self._check_epoch()
        parts = [Partition(topic, number) for number in range(self._links.count(topic))]
        found = {part.number: self._outlet(part).place for part in parts}
        return {number: place for number, place in found.items() if place is not None}

    def close(self) -> None:
        """In good order it says which streams are its own, so that its successor needs no fence in them."""
        if not self._spoilt:
            with contextlib.suppress(BusError):
                if self._links.any().sequence(self._control, self._name) == self._epoch:
                    clean = self._clean | {stream_of(part): outlet.place for part, outlet in self._outlets.items()}
                    self._write_control("", 1, {"closed": self._epoch, "streams": clean})
        self._spoilt = True
        self._links.close()

    def _fresh(self, topic: str, table: pa.Table, count: int) -> dict[Partition, pa.Table]:
        """Rows above what their streams have, by partition."""
        numbers = partition_of(table["key"], count)
        fresh: dict[Partition, pa.Table] = {}
        for number in np.unique(numbers):
            part = Partition(topic, int(number))
            rows = above(table.filter(pa.array(numbers == number)), self._outlet(part).place)
            if rows.num_rows:
                fresh[part] = rows
        return fresh

    def _send(self, fresh: Mapping[Partition, pa.Table]) -> None:
        for part, rows in fresh.items():
            outlet = self._outlets[part]
            publish(outlet.producer, encode(with_places(rows)), outlet.next_id, topic=part.topic)
            outlet.next_id += rows.num_rows
        for part in fresh:
            self._outlets[part].producer.wait()

    def _outlet(self, part: Partition) -> Outlet:
        if part not in self._outlets:
            stream = stream_of(part)
            producer = self._links.to(stream).producer(stream, self._name)
            if self._epoch > 1 and stream not in self._clean:
                publish(producer, encode(_fence(self._name)), self._epoch * EPOCH, topic=part.topic)
                producer.wait()
            told = self._clean.get(stream)
            place = max(filter(None, (last_place(self._links, part), told and Place(*told))), default=None)
            self._outlets[part] = Outlet(producer, self._epoch * EPOCH + 1, place)
        return self._outlets[part]

    def _win(self) -> tuple[int, dict[str, Any]]:
        """An epoch that is ours alone, and the streams, with places, that the one before it left in good order."""
        token = uuid.uuid4().hex
        for _ in range(ATTEMPTS):
            epoch = self._links.any().sequence(self._control, self._name) + 1
            self._write_control(self._name, epoch, {"epoch": epoch, "token": token})
            held = span(self._links, self._control)
            recent = [json.loads(body) for body in control_records(
                self._links, self._control, max(held.first, held.end - LOOK_BACK), held.end)]  # fmt: skip
            if any(word.get("token") == token and word["epoch"] == epoch for word in recent):
                closed = [word["streams"] for word in recent if word.get("closed") == epoch - 1]
                return epoch, closed[-1] if closed else {}
        raise BusError(f"The name {self._name!r} is opened by others all the time.", entity=self._name)

    def _write_control(self, reference: str, number: int, word: Mapping[str, object]) -> None:
        table = pa.Table.from_pylist([{"value": json.dumps(word).encode()}], schema=RECORD_SCHEMA)
        producer = self._links.to(self._control).producer(self._control, reference)
        try:
            publish(producer, encode(table), number, topic=self._control)
            producer.wait()
        finally:
            producer.close()

    def _check_epoch(self) -> None:
        if self._links.to(self._control).sequence(self._control, self._name) != self._epoch:
            self._spoilt = True
            raise another_publisher(self._name, "What this one wrote and did not report is there, or was dropped; the other has found out which.")

    def _refuse_spoilt(self) -> None:
        if self._spoilt:
            raise spoilt(self._name)


def last_place(links: Links, part: Partition) -> Place | None:
    """The place of the last record that has one; looked for from the end, in growing steps."""
    held = span(links, stream_of(part))
    upper, step = held.end, LOOK_BACK
    while upper > held.first:
        lower = max(held.first, upper - step)
        found = _place_between(links, part, lower, upper)
        if found is not None:
            return found
        upper, step = lower, step * 8
    return None


def _place_between(links: Links, part: Partition, lower: int, upper: int) -> Place | None:
    """The last place from one offset to another, or a little beyond."""
    found: Place | None = None
    for chunk in chunks(links.to(stream_of(part)), stream_of(part), lower):
        headers: Any = decode([chunk])["headers"].combine_chunks()
        at = np.flatnonzero(np.asarray(pc.equal(headers.keys, pa.scalar(PLACE_HEADER))))
        if len(at):
            found = parse_place(headers.items[int(at[-1])].as_py())
        if chunk.end >= upper:
            break
    return found


def _last(rows: pa.Table) -> Place:
    return Place(*(int(rows[name][-1].as_py()) for name in ("lsn", "ordinal", "step")))


def _fence(name: str) -> pa.Table:
    headers: Sequence[tuple[str, bytes]] = [(FENCE, name.encode())]
    return pa.Table.from_pylist([{"value": b"", "headers": headers}], schema=RECORD_SCHEMA)
