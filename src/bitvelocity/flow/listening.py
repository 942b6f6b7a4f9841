"""What must be right where a Debezium is the source: its topics, its records, its registry, its heartbeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

import pyarrow as pa

from ..changes import Batch
from ..errors import BitVelocityError
from ..oltp.checks import Check, bad, fine, warn
from ..oltp.ddl import qualified
from ..streams import Bus, Partition
from .buses import impatient, open_bus
from .project import Project
from .schemas import open_registry
from .upstream import check_same, heartbeat_age, last_records, remedy_for, table_topics, taken, topics_decoder
from .wires import registrar

SILENT_S = 300.0
"""A Debezium without a heartbeat for so long is not running."""
_LIVE = "Set heartbeat.interval.ms=10000 on the connector, so that its silence can be told from a quiet database."


def check_topics(project: Project) -> list[Check]:
    """Each check a verdict; the first thing that is missing hides what needs it."""
    settings, found = project.settings, list[Check]()
    try:
        with closing(open_bus(impatient(settings))) as bus:
            topics = table_topics(bus, settings.capture.topics)
            found += [_topics(project, bus, topics), _heartbeats(project, bus)]
            for one, offset in (taken(project) or {}).items():
                check_same(one, bus.spans(one.topic)[one.number], offset)
            samples = {one: records for topic in topics for one, records in last_records(bus, topic)}
        found += _records(project, samples)
    except BitVelocityError as error:
        found.append(bad("topics", error.what, error.remedy))
    return found


def _topics(project: Project, bus: Bus, topics: list[str]) -> Check:
    prefix = project.settings.capture.topics
    missing = [spec.qualified for spec in project.specs if f"{prefix}.{spec.qualified}" not in topics]
    if not bus.abilities.replay:
        what = f"what was read from {project.settings.streams.bus} cannot be read again, so a kill would lose it"
        return bad("topics", what, "Let Debezium write to another transport: [streams] bus")
    if not topics:
        what = f"there is no topic {prefix}.<schema>.<table>"
        return bad("topics", what, "Check that the connector runs, and that [capture] topics is its topic.prefix.")
    if missing:
        what = f"{len(topics)} topics; none yet for {', '.join(missing)}"
        return warn("topics", what, "Debezium makes a topic with its first record; check table.include.list.")
    return fine("topics", f"{len(topics)} of tables, {prefix}.*")


def _heartbeats(project: Project, bus: Bus) -> Check:
    age = heartbeat_age(bus, project.settings.capture.topics)
    if age is None:
        return warn("heartbeats", "Debezium writes none", _LIVE)
    what = f"Debezium's last is {age:,.0f} s old"
    if age > SILENT_S:
        return bad("heartbeats", what, "Look at the connector's status: it has stopped, or cannot write.")
    return fine("heartbeats", what)


def _records(project: Project, samples: Mapping[Partition, pa.Table]) -> Iterator[Check]:
    """The newest records of each topic can be read, and say what the lake wants to know."""
    count, bare = 0, set[str]()
    with open_registry(project.settings) as caller:
        decoder = topics_decoder(project, registrar(project.settings, caller).look_up)
        for partition, records in samples.items():
            found = decoder.decode(records, partition.topic)
            if found.refused:
                first = found.refused[0]
                where = f"{partition.topic}, partition {partition.number}, offset {records['offset'][first.row]}"
                yield bad("records", f"{where}: {first.reason}", remedy_for(first.code))
                return
            count += records.num_rows
            bare |= {batch.relation for batch in found.batches if _is_bare(batch)}
    if count:
        yield fine("records", f"the newest {count} can be read")
    for table in sorted(bare):
        what = f"updates of {table} come without the row as it was, so bronze has no before images"
        yield warn("replica identity", what, f"alter table {qualified(*table.split('.', 1))} replica identity full;")


def _is_bare(batch: Batch) -> bool:
    """No update tells what was there before."""
    updates = batch.data.filter(pa.array([op == "u" for op in batch.data["_op"].to_pylist()], pa.bool_()))
    images = [name for name in updates.column_names if name.startswith("before_")]
    return bool(updates.num_rows) and all(updates[name].null_count == updates.num_rows for name in images)


__all__ = ["SILENT_S", "check_topics"]
