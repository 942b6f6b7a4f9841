"""Debezium's topics as they are found: which they are, how far the lake has them, and what their records tell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from ..capture.debezium import State
from ..changes.formats import CONTRADICTED, NO_CHANGE, UNCLEAR, UNDECLARED, Bare, Decoder, Lookup
from ..errors import BusError, LakeError, OffsetGoneError, SettingsError
from ..lakehouse import read_watermark
from ..streams import Bus, Partition, Span
from .posting import LETTERS
from .project import Project

NOTES = ".debezium.json"
HEARTBEATS = "__debezium-heartbeat"
_TAIL, _PATIENCE_S = 20, 5.0
MODES = (
    "decimal.handling.mode", "time.precision.mode", "binary.handling.mode", "interval.handling.mode", "hstore.handling.mode",
    "field.name.adjustment.mode", "unavailable.value.placeholder",
)  # fmt: skip
"""Debezium's options that say how values are written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one position of the lake consists of: written before anybody sees it, read again after a kill."""

    lsn: int
    after: int
    begins: list[tuple[str, int, int]]
    ends: list[tuple[str, int, int]]
    records: int
    before: State
    seen: State


def read_plan(project: Project) -> Plan | None:
    """The last one that was made."""
    file = project.lake / NOTES
    if not file.exists():
        return None
    try:
        return Plan(**json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
        raise LakeError(
            f"{file} cannot be read: {error}", safe="Nothing was changed.",
            remedy="Restore it from a backup of the lake, or begin a new lake.",
        ) from error  # fmt: skip


def placed_at(offsets: list[tuple[str, int, int]]) -> dict[Partition, int]:
    """Offsets as a plan has them, by partition."""
    return {Partition(topic, number): offset for topic, number, offset in offsets}


def taken(project: Project) -> Mapping[Partition, int] | None:
    """The lake's next offsets; None: it has nothing yet."""
    plan, mark = read_plan(project), read_watermark(project.lake)
    if plan is None or mark is None:
        return None
    return placed_at(plan.ends if mark.position >= plan.lsn else plan.begins)


def check_same(partition: Partition, span: Span, offset: int) -> None:
    """Refuse a topic that ends before what the lake took of it: it is another one, and would be passed over up to there."""
    if span.end < offset:
        raise OffsetGoneError(
            f"The topic ends at offset {span.end} of partition {partition.number}, and the lake has taken it up to {offset}.",
            entity=partition.topic, safe="The lake is whole as of its position.",
            remedy="It was made anew, or its servers lost records: let Debezium write to topics of another prefix, and begin a new lake.",
            code="SourceForeign",
        )  # fmt: skip


def table_topics(bus: Bus, prefix: str) -> list[str]:
    """Topics of tables. Those of messages and of transactions have no schema in their names; dead letters are ours."""
    begin, names = prefix + ".", bus.topics()
    found = (name for name in names if name.startswith(begin) and "." in name.removeprefix(begin))
    return sorted(name for name in found if not (name.endswith(LETTERS) and name.removesuffix(LETTERS) in names))


def heartbeat_age(bus: Bus, prefix: str) -> float | None:
    """Seconds since Debezium's last heartbeat was written; None: there is none."""
    try:  # names that begin so are not among the topics that Kafka shows
        stamps = [records["timestamp"][-1].as_py() for _, records in last_records(bus, f"{HEARTBEATS}.{prefix}")]
    except BusError as error:
        if error.retry == "itself":
            raise
        return None
    known = [stamp.timestamp() for stamp in stamps if stamp is not None]
    return max(0.0, time.time() - max(known)) if known else None


def last_records(bus: Bus, topic: str, limit: int = _TAIL) -> Iterator[tuple[Partition, pa.Table]]:
    """The newest records of each partition that has any."""
    for number, span in bus.spans(topic).items():
        if span.end > span.first:
            partition = Partition(topic, number)
            records = bus.read(partition, max(span.first, span.end - limit), limit=limit, timeout=_PATIENCE_S)
            if records.num_rows:
                yield partition, records


def topics_decoder(project: Project, look_up: Lookup) -> Decoder:
    """Reads the envelope of Debezium, and nothing else; JSON without schemas by what is declared."""
    capture = project.settings.capture
    for name in capture.debezium:
        if name not in MODES:
            raise SettingsError(
                f"[capture.debezium] {name} does not say how values are written.", remedy=f"Known are: {', '.join(MODES)}.",
            )  # fmt: skip
    bare = Bare(project.specs, capture.debezium, prefix=capture.topics)
    placeholder = bare.options.unavailable_value_placeholder
    return Decoder("debezium", look_up, sequence=True, only_changes=True, placeholder=placeholder, bare=bare)


def remedy_for(code: str) -> str:
    """What to tell Debezium, when its records cannot be taken."""
    if code == NO_CHANGE:
        return "Take ExtractNewRecordState (transforms) out of the connector: the lake needs the envelope."
    if code.isdecimal():
        return "Check [registry] url: it must be the registry that the connector's converter writes to, by its Confluent-compatible API."
    if code == CONTRADICTED:
        return "Say in [capture.debezium] what the connector has, and declare the columns as they are (bitvelocity adopt); or let it write schemas.enable=true."
    if code == UNCLEAR:
        return "Say in [capture.debezium] what the connector has; for times let it have time.precision.mode=microseconds. Or let it write schemas.enable=true."
    if code == UNDECLARED:
        return "Declare the column (bitvelocity adopt), then start again: its records wait on the topic. Or let Debezium write schemas.enable=true."
    return "Let Debezium write its envelope in Avro with a registry ([registry] url), or in JSON."


__all__ = [
    "NOTES", "Plan", "check_same", "heartbeat_age", "last_records", "placed_at", "read_plan", "remedy_for", "table_topics", "taken",
    "topics_decoder",
]  # fmt: skip
