"""How far the lake is behind the topics that feed it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from ..changes.formats import Options, topic_of
from ..errors import BitVelocityError
from ..streams import Lag, Partition, lags
from .buses import impatient, open_bus
from .carrying import boundaries_topic, came_over_a_bus, notes_file
from .project import Project
from .upstream import check_same, heartbeat_age, table_topics, taken

LAKE = "lake"
"""The lake as a group of readers: it keeps its offsets itself, and the transport knows of none."""


@dataclass(frozen=True, slots=True)
class Way:
    """The bus that changes come over. `trouble` says why it could not be asked; then there are no lags."""

    route: str
    """As the settings have it now. `direct`: what is on the topics yet is taken first. `debezium`: another's topics."""
    bus: str
    boundaries: str
    topics: tuple[str, ...] = ()
    lags: tuple[Lag, ...] = ()
    trouble: str = ""
    heartbeat_age: float | None = None
    """Seconds since Debezium's last sign of life on its topic of heartbeats; None where there is none."""

    @property
    def level(self) -> bool:
        """All records of the topics are in the lake."""
        return not self.trouble and all(lag.records == 0 for lag in self.lags)

    def as_dict(self) -> dict[str, Any]:
        behind = [
            {"topic": lag.partition.topic, "partition": lag.partition.number, "records": lag.records, "seconds": lag.seconds}
            for lag in self.lags
        ]
        told = {"route": self.route, "bus": self.bus, "boundaries": self.boundaries, "topics": self.topics}
        return {**told, "lag": behind, "debezium_heartbeat_age_seconds": self.heartbeat_age, "trouble": self.trouble or None}


def way_of(project: Project) -> Way | None:
    """None: changes go straight from the source to the lake."""
    streams = project.settings.streams
    by_debezium = project.settings.capture.source == "debezium"
    if not by_debezium and streams.route != "bus" and not came_over_a_bus(project.lake):
        return None
    way = Way("debezium", streams.bus, "") if by_debezium else Way(streams.route, streams.bus, boundaries_topic(project))
    if streams.bus == "embedded" and not (project.root / streams.embedded.path / "topics").is_dir():
        return way  # opening it would make it
    return _answered(project, way, _of_debezium if by_debezium else _asked)


def _answered(project: Project, way: Way, ask: Callable[[Project, Way], Way]) -> Way:
    try:
        return ask(project, way)
    except BitVelocityError as error:
        return replace(way, trouble=error.what)


def _of_debezium(project: Project, way: Way) -> Way:
    """Offsets that the lake notes itself; a partition that it has not seen yet is taken from its beginning."""
    prefix, known = project.settings.capture.topics, taken(project)
    with closing(open_bus(impatient(project.settings))) as bus:
        topics = tuple(table_topics(bus, prefix))
        if known is not None:
            spans = {Partition(name, at): span for name in topics for at, span in bus.spans(name).items()}
            known = {one: span.first for one, span in spans.items()} | dict(known)
            for one, span in spans.items():
                check_same(one, span, known[one])
        found = tuple(lags(bus, LAKE, topics, committed=known or {}))
        return replace(way, topics=topics, lags=found, heartbeat_age=heartbeat_age(bus, prefix))


def _asked(project: Project, way: Way) -> Way:
    taken = _taken(project)
    options = Options(topic_prefix=project.settings.streams.prefix)
    wanted = {topic_of(spec.qualified, options) for spec in project.specs} | {one.topic for one in taken or ()}
    with closing(open_bus(impatient(project.settings))) as bus:
        topics = tuple(sorted(wanted & set(bus.topics())))
        if taken is not None:  # what the lake does not tell of it takes from its first record on
            taken = {Partition(name, at): span.first for name in topics for at, span in bus.spans(name).items()} | taken
        return replace(way, topics=topics, lags=tuple(lags(bus, LAKE, topics, committed=taken or {})))


def _taken(project: Project) -> dict[Partition, int] | None:
    """The lake's next offsets as of its last confirmation; None when it never took anything."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told: Mapping[str, Any] = json.loads(notes_file(project).read_bytes())
        return {Partition(str(name), int(number)): int(at) for name, number, at in told["next"]}
    return None

