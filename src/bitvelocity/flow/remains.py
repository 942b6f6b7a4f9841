"""What a topic of the embedded transport no longer keeps, written again out of bronze."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import pyarrow as pa

from ..changes import Batch, Position
from ..changes.formats import Described
from ..changes.formats.records import RECORD_SCHEMA
from ..contracts import EntitySpec
from ..lakehouse import LakeReader, stretch
from ..settings import Settings
from ..streams import Place
from .carrying import record_encoder, topic_of_relation
from .describing import last_described
from .outlets import route_encoder
from .project import Project, open_project
from .routes import Route, routes_of
from .schemas import open_registry
from .wires import registrar


class Remains:
    """Answers what a topic once had (`streams.embedded.Older`): records of the lake's own route and of those beside it, by their places.

    None for topics that are fed otherwise, for tables that are no entities, and while nothing tells what the source's
    columns are. The lake and the registry are opened for each answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, topic: str, first: Place, last: Place) -> pa.Table | None:
        described = last_described(self._settings)
        route = self._route(topic)
        specs = [spec for spec in self._of(topic, route) if described and spec.qualified in described.tables]
        if described is None or not specs:
            return None
        with LakeReader(self._settings.lake_folder, specs) as reader:
            if reader.watermark is None:
                return None
            span = Position(first.lsn, first.ordinal), Position(last.lsn, last.ordinal)
            batches = (
                batch
                for spec in specs
                for batch in stretch(reader, spec, tuple(described.tables[spec.qualified].columns), span)
            )
            return self._written(batches, described, route)

    def _written(self, batches: Iterable[Batch], described: Described, route: Route | None) -> pa.Table:
        settings = self._settings
        with open_registry(settings) as caller:
            if route is None:
                encoder = record_encoder(settings, described, registrar(settings, caller), amid=True)
            else:
                encoder = route_encoder(settings, route, caller, described=described, amid=True)
            found = [records for records in encoder.encode(batches) if records.num_rows]
        return pa.concat_tables(found or [RECORD_SCHEMA.empty_table()])

    def _route(self, topic: str) -> Route | None:
        """The route beside the lake that has a topic here."""
        routes = [one for one in routes_of(self._settings, self._project.specs) if one.bus == "embedded"]
        return next((one for one in routes if topic in {one.topic_of(spec.qualified) for spec in one.specs}), None)

    def _of(self, topic: str, route: Route | None) -> Sequence[EntitySpec]:
        """The entities whose changes go to a topic."""
        if route is not None:
            return [spec for spec in route.specs if route.topic_of(spec.qualified) == topic]
        return [spec for spec in self._project.specs if topic_of_relation(self._settings.streams, spec.qualified) == topic]

    @cached_property
    def _project(self) -> Project:
        return open_project(self._settings.root)


__all__ = ["Remains"]
