"""How far each route is: by the lake and by what the pipeline keeps on disk, without asking a transport."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..changes import format_lsn
from ..lakehouse import read_watermark
from ..serving import told_above
from ..serving.query import Reader
from ..streams import Lag, Partition
from ..streams.lag import WHOLE
from .hindrance import Trouble, read_trouble
from .project import Project
from .reading import open_reader
from .routes import Route, routes_of


@dataclass(frozen=True, slots=True)
class TopicStand:
    """What the lake has and a topic lacks: changes, and the age of the first of them."""

    topic: str
    position: int
    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RouteStand:
    """One route: where it goes, how far it is, what is in its way."""

    name: str
    bus: str
    topics: tuple[TopicStand, ...]
    begun: bool
    """It has written, or was level, before."""
    trouble: Trouble | None = None

    @property
    def position(self) -> int:
        """Commit LSN up to which all its topics are complete; -1: nothing yet."""
        return min((topic.position for topic in self.topics), default=-1)

    @property
    def records(self) -> int:
        return sum(topic.records for topic in self.topics)

    @property
    def state(self) -> str:
        """`level`, `behind`, or `stands still`: there was trouble, and nothing came through since."""
        if self.trouble:
            return "stands still"
        return "behind" if self.records else "level"

    @property
    def lags(self) -> list[Lag]:
        """As those of a group of readers of the lake."""
        group = f"route {self.name}"
        return [Lag(group, Partition(one.topic, WHOLE), one.records, one.seconds) for one in self.topics]

    def as_dict(self) -> dict[str, Any]:
        topics = [
            {"topic": one.topic, "position": _lsn(one.position), "records": one.records, "seconds": one.seconds}
            for one in self.topics
        ]
        return {
            "name": self.name, "bus": self.bus, "state": self.state, "begun": self.begun, "position": _lsn(self.position),
            "topics": topics, "trouble": self.trouble.as_dict() if self.trouble else None,
        }  # fmt: skip


def route_stands(project: Project) -> tuple[RouteStand, ...]:
    """Of all routes, at what readers see of the lake now; `SettingsError` when one of them cannot be gone."""
    routes = routes_of(project.settings, project.specs)
    if not routes:
        return ()
    mark = read_watermark(project.lake)
    if mark is None:
        return tuple(_stand(project, route, {}, published=-1) for route in routes)
    with open_reader(project) as reader:
        return tuple(
            _stand(project, route, kept_positions(project, route), published=mark.position, reader=reader)
            for route in routes
        )


def kept_file(project: Project, route: Route) -> Path:
    """Where a route keeps its positions."""
    return project.settings.state_folder / "routes" / f"{route.asked.name}.json"


def kept_positions(project: Project, route: Route) -> dict[str, int]:
    """How far each table of a route was told; empty for one that is new."""
    file = kept_file(project, route)
    kept: dict[str, int] = json.loads(file.read_text())["positions"] if file.exists() else {}
    return kept


def positions_of(route: Route, kept: Mapping[str, int], published: int) -> dict[str, int]:
    """Those of all its tables: one that is new begins as the route says, or where a topic that it shares is."""
    begin = -1
    if route.asked.topic and kept:
        begin = max(kept.values())
    elif route.asked.start == "now":
        begin = published
    return {spec.qualified: kept.get(spec.qualified, begin) for spec in route.specs}


def told_topics(project: Project, route: Route) -> set[str]:
    """Topics that have been told something of what bronze has."""
    kept = kept_positions(project, route)
    if not kept or route.asked.start == "now" or read_watermark(project.lake) is None:
        return set()
    with open_reader(project) as reader:

        def count(name: str, above: int) -> int:
            return told_above(reader, name, above, route.asked.operations)[0]

        return {
            route.topic_of(spec.qualified)
            for spec in route.specs
            if count(spec.name, -1) > count(spec.name, kept.get(spec.qualified, -1))
        }


def _stand(
    project: Project, route: Route, kept: Mapping[str, int], *, published: int, reader: Reader | None = None
) -> RouteStand:
    positions, stands = positions_of(route, kept, published), []
    for spec in route.specs:
        at = positions[spec.qualified]
        records, since = told_above(reader, spec.name, at, route.asked.operations) if reader else (0, None)
        age = (datetime.now(UTC) - since).total_seconds() if since else 0.0
        stands.append(TopicStand(route.topic_of(spec.qualified), at, records, max(0.0, age)))
    trouble = read_trouble(project, route.sink)
    return RouteStand(route.asked.name, route.bus, tuple(_by_topic(stands)), bool(kept), trouble)


def _by_topic(stands: Iterable[TopicStand]) -> Iterable[TopicStand]:
    """One for each topic, also where tables share one."""
    found: dict[str, TopicStand] = {}
    for one in stands:
        held = found.get(one.topic, TopicStand(one.topic, one.position, 0, 0.0))
        least = min(held.position, one.position)
        found[one.topic] = TopicStand(one.topic, least, held.records + one.records, max(held.seconds, one.seconds))
    return found.values()


def _lsn(position: int) -> str | None:
    return format_lsn(position) if position >= 0 else None


__all__ = ["RouteStand", "TopicStand", "kept_file", "kept_positions", "positions_of", "route_stands", "told_topics"]
