"""What a topic of the embedded transport no longer keeps, written again out of bronze."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pyarrow as pa

from ..changes import Position
from ..changes.formats import Described
from ..changes.formats.records import RECORD_SCHEMA
from ..contracts import EntitySpec
from ..lakehouse import LakeReader, stretch
from ..settings import Settings
from ..streams import Place
from .carrying import record_encoder, topic_of_relation
from .describing import last_described
from .project import Project, open_project
from .schemas import open_registry
from .wires import registrar


class Remains:
    """Answers what a topic once had (`streams.embedded.Older`): records of the lake's own route, by their places.

    None for topics that are fed otherwise, for tables that are no entities, and while nothing tells what the source's
    columns are. The lake and the registry are opened for each answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, topic: str, first: Place, last: Place) -> pa.Table | None:
        described = last_described(self._settings)
        specs = [spec for spec in self._of(topic) if described and spec.qualified in described.tables]
        if described is None or not specs:
            return None
        with LakeReader(self._settings.lake_folder, specs) as reader:
            if reader.watermark is None:
                return None
            return self._written(reader, described, specs, _span(first, last))

    def _written(
        self, reader: LakeReader, described: Described, specs: Sequence[EntitySpec], span: tuple[Position, Position]
    ) -> pa.Table:
        with open_registry(self._settings) as caller:
            encoder = record_encoder(self._settings, described, registrar(self._settings, caller), amid=True)
            batches = (
                batch
                for spec in specs
                for batch in stretch(reader, spec, tuple(described.tables[spec.qualified].columns), span)
            )
            found = [records for records in encoder.encode(batches) if records.num_rows]
        return pa.concat_tables(found or [RECORD_SCHEMA.empty_table()])

    def _of(self, topic: str) -> Sequence[EntitySpec]:
        """The entities whose changes go to a topic."""
        return [spec for spec in self._project.specs if topic_of_relation(self._settings.streams, spec.qualified) == topic]

    @cached_property
    def _project(self) -> Project:
        return open_project(self._settings.root)


def _span(first: Place, last: Place) -> tuple[Position, Position]:
    return Position(first.lsn, first.ordinal), Position(last.lsn, last.ordinal)


__all__ = ["Remains"]
