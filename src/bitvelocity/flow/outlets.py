"""Changes to topics beside the lake: a route is one more sink, fed with it, or from bronze."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..changes import Batch, Mark, Passing, Receipt, pass_by, within
from ..changes.formats import Described, Encoder, Format
from ..changes.formats.records import in_order
from ..contracts import EntitySpec
from ..errors import BitVelocityError, BusError
from ..files import replace_file
from ..lakehouse import read_watermark
from ..settings import Settings
from ..streams import RECORD_SCHEMA, Bus, Publisher
from ..streams.registry import Caller
from ..streams.wire import Naming, notation
from .aside import Aside
from .buses import open_bus, place_of
from .describing import describe
from .outbound import kept_file, kept_positions, positions_of
from .project import Project
from .routes import Route, routes_of
from .schemas import open_registry
from .sluice import Sluice, cut
from .wires import registrar

PATIENCE_S = 10.0
"""So long the pipeline waits for a bus, then it goes on without it."""
PROBE_S = 0.5
"""So long it waits for one that was away."""
KNOCK_S = 1.0
"""So often one that is away is looked for."""
SAFE = "The lake has every change; what the topics lack comes from there."
ROWS = 25_000
"""So many are written at once. Where tables share a topic those of a whole change set wait for each other, on disk if they are more."""


def outlets_of(project: Project, at: Passing = pass_by) -> list[Outlet]:
    """One for each route of the project."""
    return [Outlet(project, route, at=at) for route in routes_of(project.settings, project.specs)]
PORTION = 5_000
"""So many have to be written within the patience: a slow bus is no silent one."""
WORK_PORTION = 2_000
"""Fewer where the transport drops no repeats: what is not done in time is written again."""


class Outlet:
    """Writes changes to the topics of a route.

    - Once: the publisher drops places that a topic has. A queue knows none: after a crash work may come again, with the same
      `ce_id`.
    - Position: one for each table, in `.bitvelocity/routes/<name>.json`. It follows what is written; what lies between comes
      again from bronze, and is dropped.
    - Away: the bus is asked in a thread of its own. One that does not answer is an error that a later attempt mends.
    - A first snapshot comes out of bronze once it is published: one that begins anew after a crash is not told twice.
    """

    waits = True

    def __init__(self, project: Project, route: Route, *, at: Passing = pass_by) -> None:
        self.name = route.sink
        self._project, self._route, self._at = project, route, within(at, route.sink)
        self._file = kept_file(project, route)
        self._aside = Aside(self.name)
        self._link: _Link | None = None
        self._refused: BitVelocityError | None = None
        self._failed = self._away = False
        self._dsn, self._asked = "", 0.0
        self._positions: dict[str, int] = {}
        self._staged: list[Batch] = []
        self._sluice = Sluice(self._file.with_suffix(".waiting"), ROWS, piece=PORTION) if route.asked.topic else None
        self._rows = 0
        self._taken: dict[str, int] = {}

    @property
    def specs(self) -> Sequence[EntitySpec]:
        return self._route.specs

    def connect(self, dsn: str) -> None:
        """The bus is opened beside; what goes wrong there is told when there is something to write. An open one stays."""
        self._forget()
        self._dsn = dsn
        if self._aside.busy:
            raise self._silent()
        if self._link is None:
            self._aside.begin(lambda: self._open(dsn))

    def position(self) -> int:
        """Commit LSN up to which every topic of the route is complete."""
        if not self._positions:
            self._positions = self._known()
        return min(self._positions.values(), default=-1)

    def stage(self, batch: Batch) -> None:
        """Take what the topics lack."""
        rows = self._wanted(batch)
        if not rows.data.num_rows:
            return
        if self._sluice is not None:
            self._sluice.add(replace(rows, data=_plain(rows.data)))
            return
        self._staged.append(rows)
        self._rows += rows.data.num_rows
        if self._rows >= ROWS:
            self._write()

    def commit(self, mark: Mark) -> Receipt:
        """All that was staged is on the bus; then the position moves."""
        began = time.perf_counter()
        self._write()
        self._move(mark.lsn)
        taken, self._taken = self._taken, {}
        return Receipt(sink=self.name, lsn=mark.lsn, rows_in=taken, seconds={"commit": time.perf_counter() - began})

    def level(self, lsn: int) -> None:
        if self.position() < lsn:
            self._move(lsn)

    def answers(self) -> bool:
        """The bus was away, and is open now; asked for beside, once a second."""
        if not self._away or self._aside.busy:
            return False
        if self._link is not None:
            return True
        if time.monotonic() - self._asked >= KNOCK_S:
            self._asked = time.monotonic()
            self._aside.begin(partial(self._open, self._dsn))
        return False

    def rollback(self) -> None:
        """Forget what is staged."""
        self._forget()

    def close(self) -> None:
        self._forget()
        self._aside.close(self._shut, PROBE_S)

    def _forget(self) -> None:
        self._staged, self._rows, self._taken = [], 0, {}
        if self._sluice:
            self._sluice.clear()

    def _wanted(self, batch: Batch) -> Batch:
        data, ops = batch.data, self._route.asked.operations
        first = int(np.searchsorted(data["_lsn"].to_numpy(), self._positions.get(batch.relation, -1), side="right"))
        data = data.slice(first)
        if set(pc.unique(_plain(data)["_op"]).to_pylist()) <= set(ops):
            return replace(batch, data=data)
        data = _plain(data)
        return replace(batch, data=data.filter(pc.is_in(data["_op"], pa.array(ops, pa.string()))))

    def _write(self) -> None:
        staged, self._staged, self._rows = self._staged, [], 0
        for piece in self._portions(self._sluice.pieces() if self._sluice else [staged] if staged else []):
            self._do(partial(self._publish, piece))
            self._at("written")
            for batch in piece:
                self._taken[batch.relation] = self._taken.get(batch.relation, 0) + batch.data.num_rows
        if self._sluice:
            self._sluice.clear()

    def _portions(self, pieces: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
        """Parts for each of which the bus has its time. Pieces of a topic that tables share are small, and stay whole for their order."""
        dedup = self._route.abilities.dedup
        for piece in pieces:
            if self._sluice and dedup:
                yield piece
            else:
                yield from ([part] for batch in piece for part in cut(batch, PORTION if dedup else WORK_PORTION))

    def _do(self, work: Callable[[], object]) -> None:
        """In the thread of the bus. Whatever goes wrong there ends the connection, and stops this route only."""
        patience = PROBE_S if self._failed and self._link is None else PATIENCE_S
        try:
            in_time = self._aside.do(work, patience)
        except BitVelocityError as error:
            self._failed, self._away = True, self._refused is not None
            raise BusError(
                f"The {self.name} does not get through: {error.what}", entity=error.entity, code=error.code,
                safe=SAFE, remedy=error.remedy,
            ) from error  # fmt: skip
        self._failed = self._away = not in_time
        if not in_time:
            raise self._silent()

    def _silent(self) -> BusError:
        where = place_of(self._project.settings, self._route.bus)
        return BusError(
            f"The {self.name} stands still: {where} does not answer.", code="BusSilent", safe=SAFE,
            remedy="See whether the server runs there. It is tried again by itself.",
        )  # fmt: skip

    def _open(self, dsn: str) -> None:
        self._refused = None
        try:
            self._link = _Link(self._project, self._route, dsn)
        except BitVelocityError as error:
            self._refused = error
        except Exception as error:
            self._refused = BusError(f"It cannot be opened: {type(error).__name__}: {error}", remedy="It is tried again by itself.")
            self._refused.__cause__ = error

    def _publish(self, staged: Sequence[Batch]) -> None:
        if self._link is None:
            raise self._refused or BusError(f"The {self.name} is not connected.")
        try:
            self._link.publish(staged)
        except BaseException:
            with suppress(BitVelocityError):
                self._shut()
            raise

    def _shut(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _known(self) -> dict[str, int]:
        kept = kept_positions(self._project, self._route)
        mark = read_watermark(self._project.lake)
        published = mark.position if mark else -1
        if min(kept.values(), default=-1) > published:
            raise BusError(
                f"The {self.name} was ahead of this lake: its topics are those of another one.", code="RouteAhead",
                safe="Nothing was written.", remedy="Give the route another name, and another prefix or topic.",
            )  # fmt: skip
        return positions_of(self._route, kept, published)

    def _move(self, lsn: int) -> None:
        self._positions = {name: max(position, lsn) for name, position in self._positions.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        kept = json.dumps({"positions": self._positions})
        replace_file(self._file, kept, sync=not self._route.abilities.dedup)
        self._at("moved")


def route_encoder(
    settings: Settings, route: Route, caller: Caller, *, described: Described, anew: Callable[[], Described] | None = None, amid: bool = False
) -> Encoder:
    """Writes the records of a route."""
    named, wire = registrar(settings, caller, cast("Naming", route.asked.subjects)), route.asked.wire
    written = None if wire == "json" else notation(wire.removesuffix("-schema"), named.register)
    return Encoder(cast("Format", route.asked.format), described, route.options, describe=anew, notation=written, amid=amid)


class _Link:
    """An open bus with a publisher, and what makes records; used by one thread."""

    def __init__(self, project: Project, route: Route, dsn: str) -> None:
        self._route = route
        self._topics: set[str] = set()
        with ExitStack() as stack:
            self._bus: Bus = open_bus(project.settings, route.bus)
            stack.callback(self._bus.close)
            caller = stack.enter_context(open_registry(project.settings))
            self._publisher: Publisher | None = None
            if route.abilities.dedup:
                self._publisher = self._bus.publisher(route.writer)
                stack.callback(self._publisher.close)
            settings = project.settings
            self._encoder = route_encoder(settings, route, caller, described=describe(settings, dsn), anew=lambda: describe(settings, dsn))
            self._open = stack.pop_all()

    def publish(self, staged: Sequence[Batch]) -> None:
        """Write them, each table in its order; those of a shared topic in the order of the source."""
        shared = self._route.asked.topic
        tables = self._encoder.encode(staged)
        for records in iter([in_order(tables)]) if shared else tables:
            if records.num_rows:
                self._send(shared or str(records["topic"][0]), records.drop_columns(["topic"]))

    def close(self) -> None:
        self._open.close()

    def _send(self, topic: str, records: pa.Table) -> None:
        if topic not in self._topics:
            wanted = self._route.topic(topic)
            self._bus.ensure(replace(wanted, partitions=self._bus.topics().get(topic, wanted.partitions)))
            self._topics.add(topic)
        if self._publisher is None:
            self._bus.append(topic, records.select(RECORD_SCHEMA.names))
        else:
            self._publisher.publish({topic: records})


def _plain(data: pa.Table) -> pa.Table:
    """Text that Arrow's functions take: few of them take views."""
    kinds: Iterator[pa.Field[pa.DataType]] = iter(data.schema)
    return data.cast(pa.schema([one.with_type(pa.string()) if pa.types.is_string_view(one.type) else one for one in kinds]))


__all__ = ["Outlet", "outlets_of", "route_encoder"]
