"""Dead letters on topics: each is there once, whoever was killed when."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..changes.formats.heads import header_columns
from ..settings import StreamsSettings
from ..streams import (
    PLACE_HEADER,
    PLACED_SCHEMA,
    RECORD_SCHEMA,
    Bus,
    Partition,
    Place,
    Publisher,
    Topic,
    located,
    parse_place,
)
from ..streams.migration import filled
from .lettering import headers_from

LETTERS = ".dlq"
_ERRORS = "__connect.errors."
_ORIGIN = tuple(_ERRORS + name for name in ("connector.name", "topic", "partition", "offset"))
_NUMBER = "^[0-9]{1,14}$"
_AT_ONCE = 5_000
"""Letters that are published together: as records they need much memory."""
_PARTITION_BIT = 48
"""Above it stands the partition of what tells a record: offsets do not reach it."""

Origins = npt.NDArray[np.int64]
"""Partition and offset of records of one topic, each as one number."""


class Posting:
    """Writes letters to the topics beside those that they came from. Used by one source.

    What is published and not committed with the lake comes again. A letter with a place is dropped by the publisher then,
    where the transport can. Of the others, those that are on the topic already are left out, where it can be read again:
    their headers say from where they are.
    """

    def __init__(self, streams: StreamsSettings, bus: Bus) -> None:
        self._streams, self._bus = streams, bus
        self._publisher: Publisher | None = None
        self._there: dict[str, Origins] = {}

    def post(self, topic: str, letters: pa.Table) -> None:
        name = topic + LETTERS
        if name not in self._bus.topics():
            self._bus.ensure(Topic(name=name, partitions=1, replicas=self._streams.replicas))
        for begin in range(0, letters.num_rows, _AT_ONCE):
            piece = letters.slice(begin, _AT_ONCE)
            rows = [_published(row, self._streams.prefix) for row in piece.to_pylist()]
            once = np.array([bool(row["place"]) and self._bus.abilities.dedup for row in rows], np.bool_)
            if placed := list(compress(rows, once)):
                self._publisher = self._publisher or self._bus.publisher(f"{self._streams.prefix}-dead-letters")
                told = [row | row["place"]._asdict() for row in placed]
                self._publisher.publish({name: pa.Table.from_pylist(told, schema=PLACED_SCHEMA)})
            if not once.all():
                self._append(topic, piece, rows, ~once)

    def close(self) -> None:
        """Let go of the publisher."""
        if self._publisher is not None:
            self._publisher.close()

    def _append(self, topic: str, letters: pa.Table, rows: list[dict[str, Any]], which: npt.NDArray[np.bool_]) -> None:
        origins = _origins(letters["partition"], letters["offset"])
        if self._bus.abilities.replay:
            if topic not in self._there:
                self._there[topic] = np.concatenate([np.zeros(0, np.int64), *self._posted(topic)])
            which = which & ~np.isin(origins, self._there[topic])
        if rest := [{**row, "headers": row["all"]} for row in compress(rows, which)]:
            self._bus.append(topic + LETTERS, pa.Table.from_pylist(rest, schema=RECORD_SCHEMA))
            if topic in self._there:
                self._there[topic] = np.concatenate([self._there[topic], origins[which]])

    def _posted(self, topic: str) -> Iterator[Origins]:
        """Where those of our letters are from that are on the topic."""
        for number, span in self._bus.spans(topic + LETTERS).items():
            for records in filled(self._bus, Partition(topic + LETTERS, number), span.first, span.end):
                columns: Any = header_columns(records["headers"], _ORIGIN).values()
                who, whence, partition, offset = (column.to_arrow().cast(pa.binary()) for column in columns)
                mine, its = (pa.scalar(text.encode()) for text in (self._streams.prefix, topic))
                ours = pc.and_(pc.equal(who, mine), pc.equal(whence, its))
                for numbers in (partition, offset):  # anybody may write there, whatever he likes
                    ours = pc.and_(ours, pc.match_substring_regex(numbers, _NUMBER))
                yield _origins(*(texts.filter(ours).cast(pa.string()).cast(pa.int64()) for texts in (partition, offset)))


def _origins(partition: Any, offset: Any) -> Origins:
    found: Origins = (partition.to_numpy() << _PARTITION_BIT) | offset.to_numpy()
    return found


def by_place(records: pa.Table) -> pa.Array[Any]:
    """The order in which records are published: by their places, and those that have none by partition and offset."""
    ours, places = located(records)
    keys = np.full((3, records.num_rows), -1, np.int64)
    keys[:, ours] = np.array([places.step, places.ordinal, places.lsn], np.int64)
    return pa.array(np.lexsort((records["offset"].to_numpy(), records["partition"].to_numpy(), *keys)))


def _published(row: dict[str, Any], connector: str) -> dict[str, Any]:
    """A letter as a record, and its place; a publisher writes that itself, so `headers` is `all` but for it."""
    told = [*headers_from(row["headers"]), *_told(row, connector)]
    place = _place_in(told) if row["_lsn"] is not None else None
    rest = [pair for pair in told if pair[0] != PLACE_HEADER]
    return {"key": row["key"], "value": row["value"], "timestamp": row["timestamp"], "headers": rest, "all": told, "place": place}


def _place_in(headers: list[tuple[str, bytes | None]]) -> Place | None:
    """Where a record says that it stands in the source, if it says so once and well."""
    places = [value for name, value in headers if name == PLACE_HEADER and value]
    try:
        return parse_place(places[0]) if len(places) == 1 else None
    except ValueError:
        return None


def _told(row: dict[str, Any], connector: str) -> list[tuple[str, bytes]]:
    """Headers as Kafka Connect writes them."""
    told = {
        "topic": row["topic"], "partition": row["partition"], "offset": row["offset"], "connector.name": connector,
        "task.id": 0, "stage": "VALUE_CONVERTER", "class.name": "bitvelocity.changes.formats.Decoder",
        "exception.class.name": row["code"], "exception.message": row["reason"],
    }  # fmt: skip
    return [(_ERRORS + name, str(value).encode()) for name, value in told.items()]
