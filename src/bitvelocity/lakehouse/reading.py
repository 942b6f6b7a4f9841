"""A lake read by DuckDB: bronze, silver and gold as views that stand at one published watermark.

Any number of processes may read while one writes. A reader learns of news by one `stat` of the watermark, follows each
table by its new log entries only, and moves all views in one transaction, so that a query sees one state of the lake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from bitvelocity.changes import SYSTEM_FIELDS
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import LakeError

from .bronze import bronze_schema
from .deltalog import APP, TableState
from .duck import open_duckdb
from .layers import above
from .letters import LETTERS, LETTERS_SCHEMA
from .names import identifier, scan
from .shapes import NAME as SHAPES
from .shapes import SCHEMA as SHAPES_SCHEMA
from .stored import as_stored
from .typed import log_schema
from .views import (
    EVENT_ID_MACRO,
    FILES,
    bronze_view,
    files_view,
    gold_view,
    silver_views,
    tail_view,
    view,
)
from .watermark import NAME, Watermark, read_watermark

TRIES = 5
LOG_FIELDS = tuple(pa.field(name, kind) for name, kind in SYSTEM_FIELDS if name in ("_op", "_lsn", "_ordinal"))
"""What any log has beside its rows."""


class GoldTable(Protocol):
    """What a reader needs of a model."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def schema(self) -> pa.Schema: ...


class LakeReader:
    """Views over a lake: `bronze.<entity>`, `silver.<entity>`, `silver.<entity>_changes`, `silver.<entity>_history`,
    `gold.<model>`. They stand at the newest watermark and move only in `refresh`; other threads use `connection.cursor()` and see the same views.
    """

    def __init__(self, root: Path, specs: Sequence[EntitySpec], models: Sequence[GoldTable] = ()) -> None:
        self._root = Path(root).absolute()
        self._specs = as_stored(self._root, specs)
        self._models = tuple(models)
        self._wanted = dict(self._tables())
        self._by_name = {spec.name: spec for spec in self._specs}
        self._states: dict[str, TableState] = {}
        self._shown: dict[str, tuple[object, ...]] = {}
        self._seen: tuple[int, int] | None = None
        self.watermark: Watermark | None = None
        self.connection = open_duckdb()
        self._set_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> Watermark | None:
        """Move all views to the newest watermark; None while nothing was ever published. Cheap when nothing is new."""
        seen = self._stamp()
        if seen is None or seen == self._seen:
            return self.watermark
        for left in reversed(range(TRIES)):
            watermark = read_watermark(self._root)
            try:
                changed = self._news(watermark) if watermark else []
                break
            except LakeError:
                if left == 0 or read_watermark(self._root) == watermark:
                    raise
        self._show(changed if self._shown else list(self._wanted))
        self.watermark, self._seen = watermark, seen
        return watermark

    def close(self) -> None:
        """Close the connection and all its cursors."""
        self.connection.close()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = (self._root / NAME).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _tables(self) -> Iterator[tuple[str, pa.Schema]]:
        """Every table that views stand on, and the columns that they ask of it."""
        yield f"bronze/{SHAPES}", SHAPES_SCHEMA
        yield f"bronze/{LETTERS}", LETTERS_SCHEMA
        for spec in self._specs:
            yield f"bronze/{spec.name}", bronze_schema(spec)
            if spec.key:
                yield f"silver/{spec.name}", log_schema(spec)
                yield f"silver/{spec.name}_changes", log_schema(spec)
        for model in self._models:
            yield f"gold/{model.name}", model.schema
            if model.key:
                yield f"gold/{model.name}_changes", pa.schema([*LOG_FIELDS, *model.schema])

    def _set_up(self) -> None:
        run = self.connection.execute
        for schema in (FILES, "bronze", "silver", "gold"):
            run(f"CREATE SCHEMA {schema}")
        run(EVENT_ID_MACRO)
        if self.refresh() is None:
            self._show(list(self._wanted))

    def _news(self, watermark: Watermark) -> list[str]:
        """The tables of ours that the watermark has at another version than we know; now we know."""
        ours = [table for table in watermark.tables if table in self._wanted]
        return [table for table in ours if self._advance(table, watermark.tables[table])]

    def _advance(self, table: str, version: int) -> bool:
        state = self._states.get(table)
        if state is not None and state.version == version:
            return False
        if state is None or state.version > version or not state.advance(version):
            state = TableState.load(self._root / table, APP, version)
        self._states[table] = state
        return True

    def _show(self, tables: Sequence[str]) -> None:
        """Replace the views over the files of some tables, and what stands on those whose columns changed."""
        run = self.connection.execute
        run("BEGIN")
        try:
            for statement in self._statements(tables):
                run(statement)
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")

    def _statements(self, tables: Sequence[str]) -> Iterator[str]:
        for table in tables:
            yield view(files_view(table), self._scan(table))
        for log in {_log_of(table) for table in tables} & self._wanted.keys():
            yield view(tail_view(log), self._tail(log))
        for table in tables:
            shown = (table in self._states, *self._schema(table).names)
            if self._shown.get(table) != shown:
                self._shown[table] = shown
                yield from self._upper_views(table)

    def _upper_views(self, table: str) -> Iterator[str]:
        layer, _, name = table.partition("/")
        if layer == "gold":
            models = [model for model in self._models if name in (model.name, f"{model.name}_changes")]
            for model in models:
                layered = f"{table.removesuffix('_changes')}_changes" in self._states
                yield gold_view(model.name, model.schema.names, model.key, layered=layered)
        elif name in (SHAPES, LETTERS):
            yield view(f"bronze.{identifier(name)}", f"SELECT * FROM {files_view(table)}")
        elif layer == "bronze":
            yield bronze_view(self._by_name[name], self._schema(table))
        elif name in self._by_name:
            yield from silver_views(self._by_name[name])

    def _schema(self, table: str) -> pa.Schema:
        """The columns that the table has, then those that it will have once its writer knows of them."""
        state, wanted = self._states.get(table), self._wanted[table]
        stored = list(state.schema) if state else []
        names = {field.name for field in stored}
        return pa.schema([*stored, *(field for field in wanted if field.name not in names)])

    def _scan(self, table: str, above_position: int | None = None) -> str:
        state = self._states.get(table)
        if state is None:
            return scan(self._root / table, (), self._schema(table))
        files = tuple(state.files.values())
        picked = files if above_position is None else above(files, above_position)
        return scan(self._root / table, picked, self._schema(table), stored=len(state.schema))

    def _tail(self, log: str) -> str:
        base = self._states.get(log.removesuffix("_changes"))
        position = base.position(APP) if base else -1
        return f"SELECT * FROM ({self._scan(log, position)}) WHERE _lsn > {position:d}"


def _log_of(table: str) -> str:
    return table if table.endswith("_changes") else f"{table}_changes"
