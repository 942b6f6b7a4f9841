"""A project's topics from one transport to another: `bitvelocity bus migrate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from ..errors import BusError, SettingsError
from ..files import replace_file
from ..streams import Bus, Partition, Topic, abilities_of
from ..streams.migration import Copying, Offsets, carry_over, compared
from ..streams.relay import boundary_of
from ..streams.servers import SERVERS, Tell
from .beat import read_beat
from .buses import local_servers, open_bus
from .carrying import boundaries_topic, notes_file, relay_name, topic_wanted
from .posting import LETTERS
from .project import Project
from .routes import Route, routes_of

OTHERS = "bitvelocity-migrate"
"""Writes records with places whose publisher is none of ours."""
_PASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What is wanted. No `topics`: all of the project. `groups`: whose positions go along; embedded ones all do."""

    source: str
    target: str
    topics: Sequence[str] = ()
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """A topic that is copied, or will be. `copied`: records of the copy, of which some may have been there."""

    topic: Topic
    records: int
    copied: int = 0


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done, record by record compared. `groups`: the partitions of each whose position was carried over."""

    topics: tuple[Moved, ...]
    groups: Mapping[str, int]
    lake: bool
    """The lake's own place went along."""


Progress = Callable[[str, int, int], object]
"""Told of a topic, of how many of its records are copied, and of how many it has."""


@contextmanager
def migration(project: Project, move: Move, tell: Tell) -> Iterator[Migration]:
    """Both transports opened; servers that `up --with` would run are started, or joined."""
    _check(project, move)
    with ExitStack() as stack:
        local = [name for name in (move.source, move.target) if name in SERVERS and not _configured(project, name)]
        stack.enter_context(local_servers(project.settings, local, tell))
        source, target = (stack.enter_context(closing(open_bus(project.settings, name))) for name in (move.source, move.target))
        yield Migration(project, move, source, target)


class Migration:
    """Copies, compares, and carries positions over. Killed at any moment, the next run goes on with it."""

    def __init__(self, project: Project, move: Move, source: Bus, target: Bus) -> None:
        self._project, self._move, self._source, self._target = project, move, source, target
        self._routes = [one for one in routes_of(project.settings, project.specs) if one.bus == move.source]
        self._maps: dict[Partition, Offsets] = {}

    def plan(self) -> tuple[Moved, ...]:
        """The topics and their records, the boundaries last. Nothing is written."""
        there = self._source.topics()
        if missing := sorted(set(self._move.topics) - set(there)):
            raise BusError(f"There is no topic {', '.join(missing)} on {self._move.source}.", safe="Nothing was written.")
        last = boundaries_topic(self._project)
        names = sorted(self._move.topics or filter(self._ours, there), key=lambda name: (name == last, name))
        return tuple(Moved(self._wanted(name, there[name]), self._count(name)) for name in names)

    def groups(self) -> Sequence[str]:
        """Whose positions go along."""
        from ..streams.embedded import EmbeddedBus

        own = self._source.groups.names() if isinstance(self._source, EmbeddedBus) else []
        return sorted({*own, *self._move.groups})

    def to_change(self) -> tuple[str, ...]:
        """Lines of bitvelocity.toml as they are to be behind it."""
        settings, target = self._project.settings, self._move.target
        lines = ["[streams]", f'bus = "{target}"'] if settings.streams.bus == self._move.source else []
        kept = [name for name in settings.streams.run if name != self._move.source]
        if target in SERVERS and not _configured(self._project, target):
            run = ", ".join(f'"{name}"' for name in dict.fromkeys([*kept, target]))
            lines = [*(lines or ["[streams]"]), f"run = [{run}]"]
        named = [route.asked.name for route in self._routes if route.asked.bus]
        return (*lines, *(f'[[routes]] {name}: bus = "{target}"' for name in named))

    def run(self, progress: Progress) -> Migrated:
        """All of it."""
        done: list[Moved] = []
        with Copying(self._source, self._target, self._writer) as copying:
            for moved in self.plan():
                self._target.ensure(moved.topic)
                self._copy(copying, moved.topic.name, progress)
                done.append(replace(moved, copied=self._compare(moved.topic.name)))
        groups = {name: count for name in self.groups() if (count := self._carry(name))}
        return Migrated(tuple(done), groups, self._note())

    def _copy(self, copying: Copying, topic: str, progress: Progress) -> None:
        """Until nothing new has come meanwhile."""
        rewrite = self._rewritten if topic == boundaries_topic(self._project) else None
        for _ in range(_PASSES):
            before, copied, total = self._source.spans(topic), 0, self._count(topic)
            for _, records in copying.copy(topic, rewrite):
                copied += records
                progress(topic, copied, total)
            if self._source.spans(topic) == before:
                return
        raise BusError(
            "Somebody writes to it all the time.", entity=topic, safe="What was copied stays; the source is as it was.",
            remedy="Stop its writers, then run it again.",
        )  # fmt: skip

    def _compare(self, topic: str) -> int:
        values = topic != boundaries_topic(self._project)
        for number, span in self._source.spans(topic).items():
            partition = Partition(topic, number)
            self._maps[partition] = compared(self._source, self._target, partition, span, values=values)
        return sum(found.records for partition, found in self._maps.items() if partition.topic == topic)

    def _carry(self, group: str) -> int:
        """The partitions of a group whose position was carried over."""
        topics = {partition.topic for partition in self._maps}
        places = {
            partition: self._maps[partition].to(at)
            for topic in topics
            for number, at in self._source.committed(group, topic).items()
            if (partition := Partition(topic, number)) in self._maps
        }
        carry_over(self._target, group, places)
        return len(places)

    def _rewritten(self, records: pa.Table) -> pa.Table:
        """Boundaries with the offsets that the records have in the copy."""
        values = []
        for value, offset in zip(records["value"].to_pylist(), records["offset"].to_numpy().tolist(), strict=True):
            boundary = boundary_of(value or b"", boundaries_topic(self._project), offset)
            begins = None if boundary.begins is None else self._mapped(boundary.begins)
            told = replace(boundary, ends=self._mapped(boundary.ends), begins=begins)
            values.append(told.as_record()["value"][0].as_py())
        at = records.schema.get_field_index("value")
        return records.set_column(at, "value", pa.array(values, pa.binary()))

    def _mapped(self, ends: Mapping[Partition, int]) -> dict[Partition, int]:
        return {partition: self._maps[partition].to(at) for partition, at in ends.items() if partition in self._maps}

    def _note(self) -> bool:
        """Where the lake goes on in the copy."""
        boundaries = Partition(boundaries_topic(self._project), 0)
        with suppress(OSError, ValueError, KeyError, TypeError):
            told: Mapping[str, Any] = json.loads(notes_file(self._project, self._move.source).read_bytes())
            following = self._mapped({Partition(str(name), int(number)): int(at) for name, number, at in told["next"]})
            new = {**told, "offset": self._maps[boundaries].to(int(told["offset"])), "next": [[*each, at] for each, at in following.items()]}
            replace_file(notes_file(self._project, self._move.target), json.dumps(new), sync=True)
            return True
        return False

    def _count(self, topic: str) -> int:
        return sum(span.end - span.first for span in self._source.spans(topic).values())

    def _ours(self, topic: str) -> bool:
        """Embedded topics are the project's all; a server may have others'."""
        own = topic.startswith(f"{self._project.settings.streams.prefix}.") or self._route(topic) is not None
        return self._move.source == "embedded" or own

    def _route(self, topic: str) -> Route | None:
        plain = topic.removesuffix(LETTERS)
        for route in self._routes:
            if plain in {route.topic_of(spec.qualified) for spec in route.specs}:
                return route
        return None

    def _wanted(self, name: str, partitions: int) -> Topic:
        """As it is here; what a transport does not tell is as the settings would make it."""
        route = self._route(name)
        wanted = replace(route.topic(name) if route else topic_wanted(self._project, name), partitions=partitions)
        return replace(self._source.held(wanted) or wanted, replicas=wanted.replicas)

    def _writer(self, topic: str) -> str:
        """Who goes on writing to it."""
        route = self._route(topic)
        if route is not None:
            return route.writer
        return relay_name(self._project) if topic.startswith(f"{self._project.settings.streams.prefix}.") else OTHERS


def _check(project: Project, move: Move) -> None:
    for name in (move.source, move.target):
        if not abilities_of(name).replay:
            raise SettingsError(f"{name} keeps no records that could be copied.", safe="Nothing was written.", remedy="docs: reference/transports.md")
    if move.source == move.target:
        raise SettingsError(f"The topics are on {move.source} already.", safe="Nothing was written.", remedy="Name another with --to.")
    if read_beat(project) is not None:
        raise SettingsError("up is running, and writes to the topics.", safe="Nothing was written.", remedy="Stop it, and run this again.")


def _configured(project: Project, name: str) -> str:
    streams = project.settings.streams
    return {"kafka": streams.kafka.bootstrap, "nats": streams.nats.url, "rabbitmq": streams.rabbitmq.url}[name]


__all__ = ["Migrated", "Migration", "Move", "Moved", "Progress", "migration"]
