"""What comes over the bus and is no change: it stops the flow, or is set apart with the lake's own commit."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import __version__
from ..capture.debezium import ROW, SEQUENCE
from ..changes import Batch
from ..changes.formats import CONTRADICTED, NO_CHANGE, UNCLEAR, Decoder
from ..errors import BusError
from ..lakehouse import CONTRACT, FOLLOWS, LETTERS_SCHEMA, REFUSED, Lake, Misfit
from ..settings import StreamsSettings
from ..streams import (
    PLACE_HEADER,
    PLACED_SCHEMA,
    RECORD_SCHEMA,
    Bus,
    Place,
    Publisher,
    Topic,
    parse_place,
    places_of,
)
from ..streams.relay import Decode, Undecodable

FOREIGN = "Foreign"
"""A record that no publisher of ours wrote: it stands in nobody's order, and holds no key."""
LETTERS = ".dlq"
LASTING = (
    FOREIGN, FOLLOWS, "UnknownSchema", "UnreadableValue", NO_CHANGE, CONTRADICTED, UNCLEAR, "40401", "40402", "40403", *CONTRACT, REFUSED,
)  # fmt: skip
"""Codes that tell of the record. Any other tells of the registry, and the record may be good."""
_ERRORS = "__connect.errors."
_NOWHERE = 1 << 62


class Parking:
    """Decodes with regard to keys that are held, and takes what is refused. Used by one source.

    Not `placed`: records that have no place of ours, and whose batches name their rows.
    """

    def __init__(self, streams: StreamsSettings, bus: Bus, decode: Decode, lake: Lake, *, placed: bool = True) -> None:
        self._streams, self._bus, self._letters = streams, bus, lake.letters
        self._publisher: Publisher | None = None
        rules = streams.contract == "rules"
        fits = streams.dead_letters != "stop"
        self._decode = fitting(decode, lambda batch: lake.misfits(batch, rules=rules), placed=placed) if fits else decode

    def decode(self, topic: str, records: pa.Table) -> tuple[Sequence[Batch], Undecodable | None]:
        """As the decoder that was given; records behind a parked one of their key are refused too."""
        return apart(self._decode, topic, records, self._letters.held(records, topic))

    def refuse(self, found: Undecodable) -> None:
        """Set records apart, or stop before them."""
        for row, code in enumerate(found.codes):
            if not self.takes(code):
                raise _stop(found, row, asked=code in LASTING)
        new = self._letters.park(letters_of(found))
        if self._streams.dead_letters == "topic" and new.num_rows:
            self._publish(found.topic, new)

    def takes(self, code: str) -> bool:
        """A record that is refused with this code is set apart, and stops nothing."""
        return code in LASTING and (self._streams.dead_letters != "stop" or code == FOLLOWS)

    def close(self) -> None:
        """Let go of the topics of dead letters."""
        if self._publisher is not None:
            self._publisher.close()

    def _publish(self, topic: str, letters: pa.Table) -> None:
        """Each with a place once, where the transport can: what is published and not committed with the lake comes again."""
        name = topic + LETTERS
        if name not in self._bus.topics():
            self._bus.ensure(Topic(name=name, partitions=1, replicas=self._streams.replicas))
        rows = [_published(row, self._streams.prefix) for row in letters.to_pylist()]
        if self._bus.abilities.dedup:
            ours = sorted((row for row in rows if row["place"]), key=lambda row: row["place"])
            self._place(name, [row | row["place"]._asdict() for row in ours])
            rows = [row for row in rows if not row["place"]]
        if rows:
            self._bus.append(name, pa.Table.from_pylist([{**row, "headers": row["all"]} for row in rows], schema=RECORD_SCHEMA))

    def _place(self, name: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._publisher = self._publisher or self._bus.publisher(f"{self._streams.prefix}-dead-letters")
            self._publisher.publish({name: pa.Table.from_pylist(rows, schema=PLACED_SCHEMA)})


def reading(decoder: Decoder) -> Decode:
    """What the decoder gives, and the records that it refuses."""

    def decode(topic: str, records: pa.Table) -> tuple[Sequence[Batch], Undecodable | None]:
        found = decoder.decode(records, topic)
        if not found.refused:
            return found.batches, None
        rows = [one.row for one in found.refused]
        reasons, codes = ([getattr(one, name) for one in found.refused] for name in ("reason", "code"))
        return found.batches, Undecodable(topic, records.take(rows), tuple(reasons), tuple(codes))

    return decode


def fitting(decode: Decode, misfits: Callable[[Batch], Sequence[Misfit]], *, placed: bool = True) -> Decode:
    """Refuses also what can be read, and is not taken. Not `placed`: batches have the rows of their records (`ROW`)."""

    def fitted(topic: str, records: pa.Table) -> tuple[Sequence[Batch], Undecodable | None]:
        batches, refused = decode(topic, records)
        told = {(one.lsn, one.ordinal): one for batch in batches for one in misfits(batch if placed else by_row(batch))}
        if not told:
            return batches, refused
        why = _of_records(records, told) if placed else [told.get((_NOWHERE, row)) for row in range(records.num_rows)]
        wrong = pa.array([one is not None for one in why], pa.bool_())
        batches, refused = decode(topic, records.filter(pc.invert(wrong)))
        reasons, codes = (tuple(getattr(one, name) for one in why if one is not None) for name in ("reason", "code"))
        unfit = Undecodable(topic, records.filter(wrong), reasons, codes)
        return batches, unfit if refused is None else _both(refused, unfit)

    return fitted


def by_row(batch: Batch) -> Batch:
    """Changes at the rows of their records, above any position: as misfits name them."""
    data, rows = batch.data, batch.data[ROW].combine_chunks().cast(pa.int32())
    lsn, ordinal = (data.schema.get_field_index(name) for name in ("_lsn", "_ordinal"))
    data = data.set_column(lsn, "_lsn", pa.array(np.full(len(rows), _NOWHERE))).set_column(ordinal, "_ordinal", rows)
    return replace(batch, data=data.drop_columns([SEQUENCE, ROW]))


def _of_records(records: pa.Table, told: Mapping[tuple[int, int], Misfit]) -> list[Misfit | None]:
    """What is told of each record's change: one that gives its row another key has several."""
    lsn, ordinal, _ = places_of(records)
    return [told.get(place) for place in zip(lsn.tolist(), ordinal.tolist(), strict=True)]


def _both(one: Undecodable, other: Undecodable) -> Undecodable:
    return Undecodable(
        one.topic, pa.concat_tables([one.records, other.records]), one.reasons + other.reasons, one.codes + other.codes
    )


def apart(decode: Decode, topic: str, records: pa.Table, held: Any) -> tuple[Sequence[Batch], Undecodable | None]:
    """What can be read and stands behind nothing that cannot; and the rest. `held`: which stand behind a parked one."""
    batches, refused = decode(topic, records.filter(pa.array(~held)) if held.any() else records)
    if refused is None and not held.any():
        return batches, None
    if refused is not None and (more := _behind(refused, records) & ~held).any():
        held = held | more
        batches, refused = decode(topic, records.filter(pa.array(~held)))
    return batches, _joined(topic, refused, records.filter(pa.array(held)))


def letters_of(found: Undecodable) -> pa.Table:
    """Rows for the table of dead letters."""
    now = time.time_ns() // 1000
    rows = [
        {
            **{name: row[name] for name in ("partition", "offset", "key", "value", "timestamp")},
            "_lsn": place.lsn if (place := _place_in(row["headers"])) else None, "topic": found.topic, "headers": _printed(row["headers"]), "class": class_of(code),
            "code": code, "reason": reason, "schema_id": _schema_id(row["value"], row["headers"]), "version": __version__,
            "state": "parked", "seen_at": now, "holds": code != FOREIGN,
        }
        for row, reason, code in zip(found.records.to_pylist(), found.reasons, found.codes, strict=True)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LETTERS_SCHEMA)


def class_of(code: str) -> str:
    """What is wrong with a record: nothing but that it waits, its entity's contract, the lake's writing, or else its bytes."""
    known = {FOLLOWS: "follows", REFUSED: "sink", **dict.fromkeys(CONTRACT, "contract")}
    return known.get(code, "undecodable")


def headers_from(text: str) -> list[tuple[str, bytes | None]]:
    """Headers as they were."""
    return [(name, _bytes(value)) for name, value in json.loads(text)]


def _behind(refused: Undecodable, records: pa.Table) -> Any:
    """Which records stand behind a refused one of their key."""
    first: dict[bytes, int] = {}
    for key, offset in zip(*(refused.records[name].to_pylist() for name in ("key", "offset")), strict=True):
        if key is not None:
            first[key] = min(offset, first.get(key, offset))
    pairs = zip(*(records[name].to_pylist() for name in ("key", "offset")), strict=True)
    return np.array([key in first and offset > first[key] for key, offset in pairs], bool)


def _joined(topic: str, refused: Undecodable | None, held: pa.Table) -> Undecodable | None:
    reasons, codes = ("An earlier record of its key is parked.",) * held.num_rows, (FOLLOWS,) * held.num_rows
    if refused is None:
        return Undecodable(topic, held, reasons, codes) if held.num_rows else None
    return _both(refused, Undecodable(topic, held, reasons, codes))


def _stop(found: Undecodable, row: int, *, asked: bool) -> BusError:
    remedy = (
        'Mend it, or set such records apart: [streams] dead_letters = "table"; then start again.'
        if asked
        else "Mend what the reason names; the record itself may be good, so it is not set apart."
    )
    at = "partition {partition}, offset {offset}".format(**found.records.select(["partition", "offset"]).slice(row, 1).to_pylist()[0])
    return BusError(
        f"A record of a topic is no change: {found.reasons[row]}", entity=found.topic, position=at, code=found.codes[row],
        safe="Nothing of its set was taken, and nothing was passed over.", remedy=remedy,
    )  # fmt: skip


def _published(row: dict[str, Any], connector: str) -> dict[str, Any]:
    """A letter as a record, and its place; a publisher writes that itself, so `headers` is `all` but for it."""
    told = [*headers_from(row["headers"]), *_told(row, connector)]
    rest = [pair for pair in told if pair[0] != PLACE_HEADER]
    place = None if row["code"] == FOREIGN else _place_in(told)
    return {"key": row["key"], "value": row["value"], "timestamp": row["timestamp"], "headers": rest, "all": told, "place": place}


def _told(row: dict[str, Any], connector: str) -> list[tuple[str, bytes]]:
    """Headers as Kafka Connect writes them."""
    told = {
        "topic": row["topic"], "partition": row["partition"], "offset": row["offset"], "connector.name": connector,
        "task.id": 0, "stage": "VALUE_CONVERTER", "class.name": "bitvelocity.changes.formats.Decoder",
        "exception.class.name": row["code"], "exception.message": row["reason"],
    }  # fmt: skip
    return [(_ERRORS + name, str(value).encode()) for name, value in told.items()]


def _place_in(headers: list[tuple[str, bytes | None]] | None) -> Place | None:
    """Where a record says that it stands in the source, if it says so once and well."""
    places = [value for name, value in headers or () if name == PLACE_HEADER and value]
    try:
        return parse_place(places[0]) if len(places) == 1 else None
    except ValueError:
        return None


def _schema_id(value: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> str | None:
    guid = next((value for name, value in headers or () if name == "__value_schema_id" and value), None)
    if guid:
        return guid[1:].hex()
    return str(int.from_bytes(value[1:5], "big")) if value and value[0] == 0 and len(value) >= 5 else None


def _printed(headers: list[tuple[str, bytes | None]] | None) -> str:
    return json.dumps([[name, _text(value)] for name, value in headers or ()], ensure_ascii=False)


def _text(value: bytes | None) -> Any:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        assert value is not None
        return {"base64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()
