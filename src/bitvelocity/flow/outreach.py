"""Whether the routes can be gone: their servers answer, their topics are as they are wanted, the registry is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from typing import TypeVar

from ..errors import BitVelocityError, BusError
from ..oltp.checks import Check, bad, fine, warn
from ..streams import Topic
from .aside import Aside
from .beat import read_beat
from .buses import impatient, local_server, open_bus, place_of
from .hindrance import read_trouble
from .outbound import told_topics
from .project import Project
from .routes import Route, routes_of
from .schemas import open_registry

PATIENCE_S = 10.0
"""A server that says nothing is waited for no longer."""
Given = TypeVar("Given")


def look_at_routes(project: Project) -> list[Check]:
    """One verdict for each route and more where something is amiss; changes nothing."""
    lacking = list(_lacking(project))
    try:
        routes = routes_of(project.settings, project.specs)
    except BitVelocityError as error:
        return [*lacking, bad("routes", error.what, error.remedy)]
    checks = lacking + [check for route in routes for check in _of_route(project, route)]
    return [*checks, *_registry(project, routes)]


def _lacking(project: Project) -> Iterator[Check]:
    """Servers that `up` is to run, and whose programs are not here."""
    for name in project.settings.streams.run:
        server = local_server(project.settings, name)
        try:
            if server is not None and server.pid is None:
                server.look()
        except BitVelocityError as error:
            yield bad(f"server {name}", error.what, error.remedy)


def _of_route(project: Project, route: Route) -> Sequence[Check]:
    if why := _not_yet(project, route):
        return [fine(route.sink, why)]
    where = place_of(project.settings, route.bus)
    try:
        held = _within(lambda: _held(project, route), where)
    except BitVelocityError as error:
        told = error.what if where.partition(" at ")[2] in error.what else f"{where}: {error.what}"
        return [bad(route.sink, f"{told} The lake goes on; what the topics lack comes from there.", error.remedy)]
    wrong = [check for wanted, found in held if found for check in _differences(route, wanted, found)]
    missing = [wanted.name for wanted, found in held if found is None]
    if gone := sorted(told_topics(project, route) & set(missing)):
        wrong.append(_gone(route, gone))
    if (trouble := read_trouble(project, route.sink)) and not wrong:
        return [bad(route.sink, f"stands still: {trouble.what}", trouble.remedy)]
    made = len(held) - len(missing)
    what = f"{made} topics on {route.bus}, as they are wanted" if made else f"no topics on {route.bus} yet"
    return wrong or [fine(route.sink, f"{what}; a topic is made by its first record" if missing else what)]


def _held(project: Project, route: Route) -> list[tuple[Topic, Topic | None]]:
    """Each topic as it is wanted, and as it is."""
    wanted = [route.topic(name) for name in dict.fromkeys(route.topic_of(spec.qualified) for spec in route.specs)]
    with closing(open_bus(impatient(project.settings), route.bus)) as bus:
        return [(topic, bus.held(topic)) for topic in wanted]


def _not_yet(project: Project, route: Route) -> str:
    """Why there is nothing to ask yet; "": there is."""
    settings = project.settings
    if route.bus == "embedded" and not (settings.root / settings.streams.embedded.path / "topics").is_dir():
        return "no topics yet (bitvelocity up makes them)"  # opening the transport would make its folder
    server = local_server(settings, route.bus)
    if server is not None and server.pid is None and read_beat(project) is None:
        return f"{server.name} does not run (bitvelocity up starts it)" if server.name in settings.streams.run else ""
    return ""


def _differences(route: Route, wanted: Topic, found: Topic) -> Iterator[Check]:
    name, asked = route.sink, f"[[routes]] {route.asked.name}"
    if found.partitions != wanted.partitions:
        what = f"{wanted.name} has {found.partitions} partitions, and {wanted.partitions} are wanted: it keeps what it has"
        yield warn(name, what, f"Write partitions = {found.partitions} in {asked}, or give it another prefix or topic.")
    if found.compacted != wanted.compacted:
        what = f"{wanted.name} is {'' if found.compacted else 'not '}compacted, and {'should' if wanted.compacted else 'should not'} be"
        yield warn(name, what, "bitvelocity up, started anew, sets it.")
    if found.packed != wanted.packed:
        what = f"{wanted.name} is {'' if found.packed else 'not '}packed, which cannot change: the route stands still"
        yield bad(name, what, f"Write packed = {str(found.packed).lower()} in {asked}, or give it another prefix or topic.")
    if found.replicas < wanted.replicas:
        what = f"{wanted.name} has {found.replicas} of {wanted.replicas} wanted copies: a server that falls may take it along"
        yield warn(name, what, "Give it more with the tools of the transport (kafka-reassign-partitions, nats stream edit).")
    if (found.retention, found.retention_bytes) != (wanted.retention, wanted.retention_bytes):
        yield _keeps(route, wanted, found)


def _keeps(route: Route, wanted: Topic, found: Topic) -> Check:
    what = f"{wanted.name} keeps records {_how_long(found.retention)}, and {_how_long(wanted.retention)} is wanted"
    if route.bus == "rabbitmq":
        hours = int((found.retention or timedelta()) / timedelta(hours=1))
        mend = f"Write retention_hours = {hours} in [[routes]] {route.asked.name}, and set other bounds by a policy of RabbitMQ."
        return bad(route.sink, f"{what}: no client can change that, and the route stands still", mend)
    return warn(route.sink, what, "bitvelocity up, started anew, sets it.")


def _how_long(kept: timedelta | None) -> str:
    return "for good" if kept is None else f"for {kept / timedelta(hours=1):,.0f} hours"


def _gone(route: Route, gone: Sequence[str]) -> Check:
    what = f"gone from {route.bus}: {', '.join(gone)}; what they had does not come again by itself"
    return warn(route.sink, what, "Give the route another name: it begins anew with all that bronze has.")


def _registry(project: Project, routes: Sequence[Route]) -> Sequence[Check]:
    """The one in which the routes have their schemas."""
    if all(route.asked.wire == "json" for route in routes):
        return []
    url = project.settings.registry.url
    if not url:
        return [fine("registry", "the project's own (bitvelocity up serves it)")]
    try:
        _within(lambda: _ask_registry(project), url)
    except BitVelocityError as error:
        return [bad("registry", error.what, error.remedy)]
    return [fine("registry", f"{url} answers")]


def _ask_registry(project: Project) -> None:
    with open_registry(project.settings) as registry:
        registry.ask("GET", "subjects?limit=1")


def _within(work: Callable[[], Given], whom: str) -> Given:
    """What the work gives, unless somebody does not answer."""
    aside, given = Aside(f"doctor of {whom}"), list[Given]()
    in_time = aside.do(lambda: given.append(work()), PATIENCE_S)
    aside.close(lambda: None, 0.0)
    if not in_time:
        raise BusError(f"{whom} does not answer within {PATIENCE_S:.0f} s.", remedy="See whether the server runs.")
    return given[0]


__all__ = ["look_at_routes"]
