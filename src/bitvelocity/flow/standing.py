"""Where every station stands: lag, freshness, rows, slot health."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ..capture import SlotHealth
from ..capture.snapshots import Run, read_book
from ..changes import Unsent, format_lsn
from ..errors import BitVelocityError
from ..lakehouse import Watermark, count_parked, kept_as_text, mismatches, read_watermark
from ..lakehouse.gold import plan_models
from ..serving import TableSize, table_sizes
from .beat import read_beat
from .behind import Way, way_of
from .database import running_database
from .outbound import RouteStand, route_stands
from .project import Project
from .pulse import read_pulse
from .queued import Queued, queued_of
from .reading import open_reader
from .slots import health_of_slot
from .trails import TrailStand, trail_stands

LEVEL_PATIENCE = 2.0
"""Seconds that a running pipeline has to come level with the moment in which it was asked."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How a model follows its inputs, and why so."""

    model: str
    strategy: str
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """One look at the whole. Parts that cannot be asked now are None, and `notes` say why."""

    running: dict[str, Any] | None
    slot: SlotHealth | None
    watermark: Watermark | None
    tables: tuple[TableSize, ...]
    kept: tuple[Kept, ...]
    notes: tuple[str, ...]
    heartbeat_seconds: float | None = None
    """How long the last heartbeat took from the source to the lake; None without heartbeats."""
    trails: tuple[TrailStand, ...] = ()
    """The audit trails that change capture keeps."""
    level: bool = False
    """All that the source had committed when it was asked is in the lake."""
    way: Way | None = None
    """The bus that changes come over; None when they come straight."""

    parked: int = 0
    """Records of topics that are no changes, or wait behind such ones."""
    routes: tuple[RouteStand, ...] = ()
    """Changes that go to topics beside the lake."""
    queues: tuple[Queued, ...] = ()
    """What waits in the queues of those routes that go to queues."""

    @property
    def freshness_seconds(self) -> float | None:
        """Age of what readers see: 0 while level, else the time since the last commit that is in."""
        if self.watermark is None or not self.watermark.committed_at:
            return None
        return 0.0 if self.level else time.time() - self.watermark.committed_at / 1e6

    def as_dict(self) -> dict[str, Any]:
        mark = self.watermark
        return {
            "running": self.running,
            "slot": asdict(self.slot) if self.slot else None,
            "position": format_lsn(mark.position) if mark else None,
            "gold_level": mark.gold_position == mark.position if mark else None,
            "level": self.level,
            "heartbeat_seconds": self.heartbeat_seconds,
            "freshness_seconds": self.freshness_seconds,
            "tables": [asdict(table) for table in self.tables],
            "trails": [trail.as_dict() for trail in self.trails],
            "dead_letters": self.parked,
            "models": [asdict(kept) for kept in self.kept],
            "streams": self.way.as_dict() if self.way else None,
            "routes": [route.as_dict() for route in self.routes],
            "queues": [queued.as_dict() for queued in self.queues],
            "notes": self.notes,
        }


def status(project: Project) -> Status:
    """Ask everything that can be asked without starting or changing anything."""
    book = read_book(project.lake)
    notes = [_reading(run) for run in book.runs if run.open or run.state == "failed"]
    notes += [_held(each) for each in book.held]
    beat = read_beat(project)
    slot, level = _slot(project, notes, patience=LEVEL_PATIENCE if beat else 0.0)
    way = _way(project, notes, patience=LEVEL_PATIENCE if beat and level else 0.0)
    mark = read_watermark(project.lake)
    tables: tuple[TableSize, ...] = ()
    if mark is None:
        notes.append("The lake has nothing yet: bitvelocity up")
    else:
        tables = _tables(project)
        notes += [*_texts(project), *_altered(project)]
    trails = _trails(project, notes)
    if parked := count_parked(project.lake):
        notes.append(f"{parked} records of topics are parked: bitvelocity dead-letters show")
    level = level and mark is not None and (way is None or way.level)
    routes = _routes(project, notes)
    queues = queued_of(project, routes)
    return Status(beat, slot, mark, tables, _kept(project), tuple(notes), read_pulse(project), trails, level, way, parked, routes, queues)


def _way(project: Project, notes: list[str], *, patience: float) -> Way | None:
    """The bus; a running pipeline is given a moment to take from it what the source has confirmed already."""
    way = way_of(project)
    deadline = time.monotonic() + patience
    while way and not way.trouble and not way.level and time.monotonic() < deadline:
        time.sleep(0.1)
        way = way_of(project)
    if way and way.trouble:
        notes.append(f"The bus ({way.bus}) cannot be asked: {way.trouble}")
    return way


def _routes(project: Project, notes: list[str]) -> tuple[RouteStand, ...]:
    try:
        return route_stands(project)
    except BitVelocityError as error:
        notes.append(error.what)
        return ()


def _trails(project: Project, notes: list[str]) -> tuple[TrailStand, ...]:
    database = running_database(project) if project.settings.capture.source == "postgres" else None
    if database is None:
        return ()
    try:
        return trail_stands(project, database.dsn)
    except BitVelocityError as error:
        notes.append(error.what)
        return ()


def _texts(project: Project) -> list[str]:
    """What an earlier version stored as text, and this one would not."""
    return [
        f"silver.{entity}.{column} is text, as an earlier version stored it; bitvelocity rebuild {entity} makes it {kind}."
        for entity, column, kind in kept_as_text(project.lake, project.specs)
    ]


def _altered(project: Project) -> list[str]:
    """Where a table was altered and its entity was not."""
    found = mismatches(project.lake, project.specs)
    return [f"{item.entity}: {item.what} (since {format_lsn(item.lsn)}). {item.remedy}" for item in found]


def _held(unsent: Unsent) -> str:
    return (
        f"{unsent.entity} was altered: {unsent.why} (since {format_lsn(unsent.lsn)}). Rows not written since are as they were "
        f"before until the entity says so too, or until: bitvelocity snapshot start {unsent.entity}"
    )


def _reading(run: Run) -> str:
    kind = {"again": "is read again", "altered": "was altered and is read again", "joins": "is new and is being read", "first": "is read for the first time"}[run.kind]
    return f"{run.entity} {kind}: {run.state}, {run.share:.0%} (bitvelocity snapshot status)"


def _kept(project: Project) -> tuple[Kept, ...]:
    plans = plan_models(project.models, project.kept)
    return tuple(Kept(plan.model.name, plan.strategy, plan.reason) for plan in plans)


def _slot(project: Project, notes: list[str], *, patience: float) -> tuple[SlotHealth | None, bool]:
    """The slot, and whether all that was committed when we asked is confirmed; where another captures, what is on topics is all.

    The end of the WAL runs ahead even in a quiet database (checkpoints, other databases), and is confirmed a moment
    later: so a running pipeline is given that moment.
    """
    if project.settings.capture.source != "postgres":
        return None, True
    database = running_database(project)
    if database is None:
        notes.append("The embedded PostgreSQL is not running: bitvelocity up")
        return None, False
    try:
        health = asked = health_of_slot(project, database.dsn)
        deadline = time.monotonic() + patience
        while health.confirmed_flush < asked.wal_end and time.monotonic() < deadline:
            time.sleep(0.1)
            health = health_of_slot(project, database.dsn)
    except BitVelocityError as error:
        notes.append(error.what)
        return None, False
    return health, health.exists and health.confirmed_flush >= asked.wal_end


def _tables(project: Project) -> tuple[TableSize, ...]:
    names = [("bronze", spec.name) for spec in project.specs]
    names += [("silver", spec.name) for spec in project.specs if spec.key]
    names += [("gold", model.name) for model in project.models]
    with open_reader(project) as reader:
        return tuple(table_sizes(reader, names))
