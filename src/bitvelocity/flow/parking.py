"""What comes over the bus and is no change: it stops the flow, or is set apart with the lake's own commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..capture.debezium import ROW, SEQUENCE
from ..changes import Batch
from ..changes.formats import Decoder
from ..errors import BusError
from ..lakehouse import FOLLOWS, Lake, Misfit
from ..settings import StreamsSettings
from ..streams import (
    Bus,
    places_of,
)
from ..streams.relay import Decode, Undecodable
from .lettering import LASTING, letters_of
from .posting import Posting, by_place

_NOWHERE = 1 << 62


class Parking:
    """Decodes with regard to keys that are held, and takes what is refused. Used by one source.

    Not `placed`: records that have no place of ours, and whose batches name their rows.
    """

    def __init__(self, streams: StreamsSettings, bus: Bus, decode: Decode, lake: Lake, *, placed: bool = True) -> None:
        self._streams, self._letters = streams, lake.letters
        self._topics = Posting(streams, bus)
        rules = streams.contract == "rules"
        fits = streams.dead_letters != "stop"
        self._decode = fitting(decode, lambda batch: lake.misfits(batch, rules=rules), placed=placed) if fits else decode

    def decode(self, topic: str, records: pa.Table) -> tuple[Sequence[Batch], Undecodable | None]:
        """As the decoder that was given; records behind a parked one of their key are refused too."""
        return apart(self._decode, topic, records, self._letters.held(records, topic))

    def refuse(self, found: Undecodable) -> None:
        """Set records apart, or stop before them."""
        if wrong := {code for code in set(found.codes) if not self.takes(code)}:
            row = next(row for row, code in enumerate(found.codes) if code in wrong)
            raise _stop(found, row, asked=found.codes[row] in LASTING)
        letters, publishes = letters_of(found), self._streams.dead_letters == "topic"
        new = self._letters.park(letters.take(by_place(found.records)) if publishes else letters)
        if publishes and new.num_rows:
            self._topics.post(found.topic, new)

    def takes(self, code: str) -> bool:
        """A record that is refused with this code is set apart, and stops nothing."""
        return code in LASTING and (self._streams.dead_letters != "stop" or code == FOLLOWS)

    def close(self) -> None:
        """Let go of the topics of dead letters."""
        self._topics.close()



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


def _behind(refused: Undecodable, records: pa.Table) -> npt.NDArray[np.bool_]:
    """Which records stand behind a refused one of their key."""
    keyed = refused.records.select(["key", "offset"]).filter(pc.is_valid(refused.records["key"]))
    first = keyed.group_by("key").aggregate([("offset", "min")])
    at = pc.index_in(records["key"], value_set=first["key"].combine_chunks())
    later: Any = pc.greater(records["offset"], first["offset_min"].take(at))
    return np.asarray(pc.fill_null(later, False), np.bool_)


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
