"""What a route asks for, held against what there is: entities, topics of its own, a transport that can do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ..changes.formats import Options, options_for
from ..changes.formats.naming import topic_of
from ..contracts import EntitySpec
from ..errors import SettingsError
from ..settings import RouteSettings, Settings
from ..streams import Abilities, Topic, abilities_of

SHOWN = 6
"""Topics of a route that are shown."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route that can be gone: of these entities, over this transport."""

    asked: RouteSettings
    specs: tuple[EntitySpec, ...]
    bus: str
    abilities: Abilities
    options: Options

    @property
    def sink(self) -> str:
        """Its name among the sinks beside the lake."""
        return f"route {self.asked.name}"

    def topic_of(self, relation: str) -> str:
        """Where the changes of a table go."""
        return self.asked.topic or topic_of(relation, self.options)

    @property
    def writer(self) -> str:
        """The publisher that writes it."""
        return f"{self.options.topic_prefix}-route-{self.asked.name}"

    def topic(self, name: str) -> Topic:
        """The topic as it is made."""
        asked = self.asked
        keeps = asked.retention_hours if self.abilities.retention and not asked.compacted else 0
        return Topic(
            name=name,
            partitions=asked.partitions,
            retention=timedelta(hours=keeps) if keeps else None,
            compacted=asked.compacted,
            replicas=asked.replicas,
            packed=asked.packed,
        )


def routes_of(settings: Settings, specs: Sequence[EntitySpec]) -> tuple[Route, ...]:
    """The project's routes; one that cannot be gone is an error."""
    routes = tuple(_route(settings, asked, specs) for asked in settings.routes)
    taken: dict[tuple[str, str], str] = {}
    for route in routes:
        if settings.streams.route == "bus" and (route.bus, route.options.topic_prefix) == (settings.streams.bus, settings.streams.prefix):
            raise _refused(
                route.asked, f"{settings.streams.prefix} is what the topics begin with over which the lake is fed.",
                "Give the route another prefix; [streams] prefix is the lake's own.",
            )  # fmt: skip
        for topic in {route.topic_of(spec.qualified) for spec in route.specs}:
            other = taken.setdefault((route.bus, topic), route.asked.name)
            if other != route.asked.name:
                raise _refused(
                    route.asked, f"{topic} is a topic of the route {other} already: one would drop what the other wrote.",
                    "Give one of them another prefix or topic, or other entities.",
                )  # fmt: skip
    return routes


def topics_shown(routes: Sequence[Route]) -> str:
    """Where a newcomer may look: the topics of each route behind its transport, the first of many."""
    shown = []
    for route in routes:
        topics = list(dict.fromkeys(route.topic_of(spec.qualified) for spec in route.specs))
        more = f" and {len(topics) - SHOWN} more" if len(topics) > SHOWN else ""
        shown.append(f"{route.bus}: {', '.join(topics[:SHOWN])}{more}")
    return "; ".join(shown)


def _route(settings: Settings, asked: RouteSettings, specs: Sequence[EntitySpec]) -> Route:
    chosen = tuple(_chosen(asked, specs))
    bus = asked.bus or settings.streams.bus
    abilities = abilities_of(bus)
    _check(asked, bus, abilities)
    if asked.compacted and (keyless := [spec.name for spec in chosen if not spec.key]):
        raise _refused(asked, f"{', '.join(keyless)} has no key, and a compacted topic keeps the last record of each.")
    for name in asked.options:
        if name in DECIDED:
            raise _refused(asked, f"{name} is no option of a route: {DECIDED[name]}.", f"Take {name} out of [routes.options].")
    options = replace(
        options_for(asked.format, asked.options),
        topic_prefix=asked.prefix or settings.project.name,
        skipped_operations=(),
        tombstones_on_delete=asked.order == "key",
        cloudevents=True,
    )
    return Route(asked, chosen, bus, abilities, options)


def _chosen(asked: RouteSettings, specs: Sequence[EntitySpec]) -> list[EntitySpec]:
    known = {spec.name for spec in specs}
    if unknown := sorted(set(asked.entities) - known - {"*"}):
        raise _refused(asked, f"There is no entity {', '.join(unknown)}.", f"There is: {', '.join(sorted(known))}.")
    return [spec for spec in specs if "*" in asked.entities or spec.name in asked.entities]


DECIDED = {
    "topic.prefix": "its `prefix` says it",
    "skipped.operations": "its `operations` says it",
    "tombstones.on.delete": "its `order` says it",
    "cloudevents": "it always has these headers",
    **dict.fromkeys(("heartbeat.interval.ms", "topic.heartbeat.prefix"), "it has no heartbeats"),
}
"""Options of the formats that would do nothing here, each with its reason."""
_Need = tuple[bool, Callable[[Abilities], bool], str]


def _check(asked: RouteSettings, bus: str, abilities: Abilities) -> None:
    """A route that needs more than its transport can do is refused in words."""
    needs: Sequence[_Need] = (
        (asked.order == "key", lambda can: can.order != "none",
         'keeps the changes of a row in order; if any order will do, say so: order = "none"'),
        (asked.order == "key", lambda can: can.dedup, 'drops repeats; if work may come twice, say so: order = "none"'),
        (asked.compacted, lambda can: can.compaction, "compacts topics (compacted = true)"),
        (asked.partitions > 1, lambda can: can.partitions, "divides topics (partitions)"),
    )  # fmt: skip
    for needed, has, what in needs:
        if needed and not has(abilities):
            raise _refused(asked, f"It needs a transport that {what}; {bus} does not.", "docs: reference/transports.md")


def _refused(asked: RouteSettings, what: str, remedy: str = "Change the route in bitvelocity.toml.") -> SettingsError:
    return SettingsError(f"[[routes]] {asked.name}: {what}", safe="Nothing was written.", remedy=remedy, code="RouteRefused")

__all__ = ["Route", "routes_of", "topics_shown"]
