"""What waits in the queues of routes whose transport hands out work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BitVelocityError, BusError
from ..streams import abilities_of
from ..streams.lag import DEAD, Depth
from .aside import Aside
from .buses import depths_of, place_of
from .outbound import RouteStand
from .project import Project

LOOK_S = 3.0
"""So long a look waits for a transport."""


@dataclass(frozen=True, slots=True)
class Queued:
    """The queues of one route. `trouble` says why they could not be asked; then nothing is known of them."""

    route: str
    bus: str
    depths: tuple[Depth, ...] = ()
    trouble: str = ""

    @property
    def waiting(self) -> list[Depth]:
        """What a group was not given yet. What its members have, and have not acknowledged, is not in it."""
        return [one for one in self.depths if one.group != DEAD]

    @property
    def dead(self) -> list[Depth]:
        """What was set apart."""
        return [one for one in self.depths if one.group == DEAD]

    def as_dict(self) -> dict[str, Any]:
        waiting = [{"topic": one.topic, "group": one.group, "records": one.records} for one in self.waiting]
        dead = [{"topic": one.topic, "records": one.records} for one in self.dead]
        return {"route": self.route, "bus": self.bus, "waiting": waiting, "dead": dead, "trouble": self.trouble or None}


def queued_of(project: Project, routes: Sequence[RouteStand]) -> tuple[Queued, ...]:
    """Of each route that has begun and goes to queues. Each transport is asked once, and makes nothing."""
    asked = [route for route in routes if route.begun and abilities_of(route.bus).acknowledges]
    found: list[Queued] = []
    for bus in dict.fromkeys(route.bus for route in asked):
        found += _of_bus(project, bus, [route for route in asked if route.bus == bus])
    return tuple(found)


def _of_bus(project: Project, bus: str, routes: Sequence[RouteStand]) -> list[Queued]:
    owners = {topic.topic: route.name for route in routes for topic in route.topics}
    try:
        depths = _asked(project, bus, list(owners))
    except BitVelocityError as error:
        return [Queued(route.name, bus, trouble=error.what) for route in routes]
    return [Queued(route.name, bus, tuple(one for one in depths if owners[one.topic] == route.name)) for route in routes]


def _asked(project: Project, bus: str, topics: Sequence[str]) -> Sequence[Depth]:
    """Whoever does not answer in time is an error, however it is that he does not."""
    aside, found = Aside("bitvelocity-queued"), list[Depth]()
    try:
        if not aside.do(lambda: found.extend(depths_of(project.settings, bus, topics)), LOOK_S):
            raise BusError(f"{place_of(project.settings, bus)} does not answer within {LOOK_S:.0f} s.", code="BusSilent")
    finally:
        aside.close(lambda: None, 0)
    return found


__all__ = ["Queued", "queued_of"]
