"""The way over a bus: who puts the source's changes on it, and who takes them off for the lake."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from ..capture import WalSource
from ..changes import Batch, ChangeSet, Passing, Twin, pass_by, within
from ..changes.formats import Decoder, Described, Encoder, topic_of
from ..files import replace_file
from ..lakehouse import Lake, read_watermark
from ..settings import Settings, StreamsSettings
from ..streams import Topic
from ..streams.relay import BusSource, Decode, Relay, Undecodable
from ..streams.wire import Registrar, notation
from .buses import open_bus
from .capturing import open_wal
from .describing import describe
from .parking import Parking, reading
from .project import Project
from .schemas import open_registry
from .upstream import topics_decoder
from .wires import carried, registrar

BOUNDARIES = "boundaries"
ROUTE = ".route.json"


def boundaries_topic(project: Project) -> str:
    """Where the source's commit boundaries stand."""
    return f"{project.settings.streams.prefix}.{BOUNDARIES}"


def notes_file(project: Project, bus: str = "") -> Path:
    """Where the lake notes how far it has read the topics of a transport; by default of the project's."""
    return project.lake / f".bus-notes.{bus or project.settings.streams.bus}.json"


def relay_name(project: Project) -> str:
    """The publisher of the source's changes."""
    return f"{project.settings.streams.prefix}-{project.settings.capture.slot}"


class Carrier:
    """Puts the source's changes on the project's bus. One runs at a time; an older one is fenced by the bus."""

    def __init__(self, project: Project, *, at: Passing = pass_by) -> None:
        self._project, self._at = project, at
        self._open = ExitStack()
        self._relay: Relay | None = None
        self._source: WalSource | None = None
        self._first = True
        self.begun = threading.Event()
        """The source has its slot, and what stood in its tables is on the bus."""

    def connect(self, dsn: str) -> None:
        """Open the bus and the source, for the first time or again."""
        self.close()
        project = self._project
        bus = open_bus(project.settings)
        self._open.callback(bus.close)
        wires = registrar(project.settings, self._open.enter_context(open_registry(project.settings)))
        mark = read_watermark(project.lake)
        start = mark.position if mark else -1
        self._relay = self._open.enter_context(
            Relay(
                bus,
                record_encoder(
                    project.settings, describe(project.settings, dsn), wires, describe=lambda: describe(project.settings, dsn)
                ).encode,
                name=relay_name(project),
                boundaries=boundaries_topic(project),
                topic=lambda name: topic_wanted(project, name),
                start=start,
                at=within(self._at, "relay"),
            )
        )
        position = max(start, self._relay.last.lsn if self._relay.last else -1)
        never = project.settings.capture.snapshot == "never"
        self._source = open_wal(
            project, dsn, has_position=position >= 0 or never, start_lsn=max(position, 0), detail=True, at=self._at
        )
        self._open.callback(self._source.close)
        self._first = True

    def step(self, timeout: float) -> int:
        """Publish what committed since the last step; the tables as they stand, if nothing was published yet."""
        assert self._relay is not None
        assert self._source is not None
        if self._first:
            self._relay.begin(self._source)
            self._first = False
            self.begun.set()
        return self._relay.step(self._source, timeout)

    @property
    def seen(self) -> int:
        """LSN up to which everything that the source had is on the bus."""
        return self._source.seen if self._source is not None else 0

    def close(self) -> None:
        self._open.close()
        self._relay = self._source = None


class BusOrigin:
    """What the lake reads when changes come over a bus."""

    def __init__(self, project: Project, lake: Lake, *, position: int, at: Passing = pass_by) -> None:
        self._open = ExitStack()
        self._route = project.lake / ROUTE
        with ExitStack() as stack:
            bus = open_bus(project.settings)
            stack.callback(bus.close)
            wires = registrar(project.settings, stack.enter_context(open_registry(project.settings)))
            parking = Parking(project.settings.streams, bus, decoder(wires), lake)
            stack.callback(parking.close)
            self._source = BusSource(
                bus,
                parking.decode,
                refuse=parking.refuse,
                boundaries=boundaries_topic(project),
                position=position,
                notes=notes_file(project),
                at=within(at, "bus"),
            )
            self._open = stack.pop_all()
        told = {"bus": project.settings.streams.bus, "boundaries": boundaries_topic(project)}
        replace_file(self._route, json.dumps(told), sync=True)

    @property
    def streamed(self) -> int:
        return 0

    @property
    def seen(self) -> int:
        return self._source.seen

    def snapshot(self, twin: Twin | None = None) -> Iterator[ChangeSet]:
        return self._source.snapshot(twin)

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        return self._source.tail(timeout)

    def confirm(self, lsn: int) -> None:
        self._source.confirm(lsn)

    @property
    def level(self) -> bool:
        """All that was published is taken."""
        return self._source.level

    def forget(self) -> None:
        """The lake is fed by the source itself from now on."""
        self._route.unlink(missing_ok=True)

    def close(self) -> None:
        self._open.close()


def came_over_a_bus(lake: Path) -> bool:
    """The lake was fed over a bus last: what is on it must be taken before the source may be asked."""
    return (lake / ROUTE).exists()


def topic_wanted(project: Project, name: str) -> Topic:
    """A topic of the project's own route, as it is made."""
    streams = project.settings.streams
    alone = name == boundaries_topic(project)
    return Topic(
        name=name,
        partitions=1 if alone else streams.partitions,
        retention=timedelta(hours=streams.retention_hours) if streams.retention_hours else None,
        replicas=streams.replicas,
        packed=streams.packed and not alone,
    )


def record_encoder(
    settings: Settings, described: Described, wires: Registrar, *, describe: Callable[[], Described] | None = None, amid: bool = False
) -> Encoder:
    """Writes the records of a project's own route."""
    written = notation(settings.streams.wire, wires.register)
    return Encoder("debezium", described, carried(settings.streams), describe=describe, notation=written, amid=amid)


def topic_of_relation(streams: StreamsSettings, relation: str) -> str:
    """Where a project's own route puts the changes of a table."""
    return topic_of(relation, carried(streams))


def read_records(project: Project, topic: str, records: pa.Table) -> tuple[Sequence[Batch], Undecodable | None]:
    """Read records anew, with what the registry says now."""
    with open_registry(project.settings) as registry:
        wires = registrar(project.settings, registry)
        if project.settings.capture.source == "debezium":
            return reading(topics_decoder(project, wires.look_up))(topic, records)
        return decoder(wires)(topic, records)


def decoder(wires: Registrar) -> Decode:
    """Reads what a carrier of this project wrote."""
    return reading(Decoder("debezium", wires.look_up))
