"""The Delta log, read and phrased: which files, schema and position a table has at a version.

The first look at a table goes through delta-rs, which knows every form of checkpoint; from there on new entries are
read one by one, each a small file of JSON lines. That keeps a refresh proportional to what is new.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from bitvelocity.errors import LakeError

from .table import Bound, DataFile

Action = dict[str, Any]
"""One line of a log entry: `{"add": {...}}`, `{"txn": {...}}`, ..."""

LOG = "_delta_log"
APP = "bitvelocity"
"""The application whose position a table carries, if not told otherwise."""


def now() -> int:
    """Milliseconds since 1970, the clock of the log."""
    return int(time.time() * 1000)


def entry_path(table: Path, version: int) -> Path:
    """Where the log entry of a version stands."""
    return table / LOG / f"{version:020}.json"


def read_entry(table: Path, version: int) -> list[Action] | None:
    """The actions of one version, None when there is no such entry."""
    try:
        text = entry_path(table, version).read_text()
    except FileNotFoundError:
        return None
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def changes_data(actions: Iterable[Action]) -> bool:
    """Whether an entry is more than a rewrite of the same rows (OPTIMIZE) or a remark."""
    for action in actions:
        if "add" in action or "remove" in action:
            if (action.get("add") or action.get("remove") or {}).get("dataChange", True):
                return True
        elif "commitInfo" not in action:
            return True
    return False


def lake_schema(schema: pa.Schema) -> pa.Schema:
    """The schema as a Delta table without special features keeps it: every column nullable, plain strings.

    A type that Delta has not (time, duration, timestamp without zone, ...) is refused here, before a row is written.
    """
    for column in schema:
        if not _is_kept(column.type):
            raise LakeError(
                f"column {column.name} is {column.type}, which some reader of Delta tables does not know",
                safe="nothing was written",
                remedy="give a timestamp its zone (UTC); keep times of day, durations and the like as text",
            )
    return _arrow(Schema.from_arrow(pa.schema([pa.field(column.name, column.type) for column in schema])))


def _is_kept(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.TimestampType):
        return kind.tz is not None
    if isinstance(kind, (pa.ListType, pa.LargeListType)):
        return _is_kept(kind.value_type)
    if isinstance(kind, pa.StructType):
        return all(_is_kept(field.type) for field in kind)
    return any(accepts(kind) for accepts in _KEPT)


_KEPT = (
    pa.types.is_boolean, pa.types.is_signed_integer, pa.types.is_float32, pa.types.is_float64, pa.types.is_decimal128,
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_binary_view, pa.types.is_date32,
)  # fmt: skip


def schema_text(schema: pa.Schema) -> str:
    """The schema as the log writes it."""
    return Schema.from_arrow(schema).to_json()


def schema_from_text(text: str) -> pa.Schema:
    """The inverse of `schema_text`."""
    return _arrow(Schema.from_json(text))


def remark(operation: str, info: Mapping[str, str], mode: str = "Append") -> Action:
    """The line of a log entry that says who did what; no reader needs it, people do."""
    body: Action = {
        "timestamp": now(),
        "operation": operation,
        "operationParameters": {"mode": mode} if operation == "WRITE" else {},
        "engineInfo": "BitVelocity",
    }
    if info:
        body["userMetadata"] = json.dumps(dict(info), sort_keys=True)
    return {"commitInfo": body}


def add(file: DataFile, *, data_change: bool = True) -> Action:
    """A file enters the table."""
    stats: Action = {"numRecords": file.rows}
    if file.low:
        stats |= {"minValues": dict(file.low), "maxValues": dict(file.high)}
    body = {
        "path": file.path,
        "partitionValues": {},
        "size": file.bytes,
        "modificationTime": now(),
        "dataChange": data_change,
        "stats": json.dumps(stats, separators=(",", ":")),
    }
    return {"add": body}


def remove(file: DataFile, *, data_change: bool = True) -> Action:
    """A file leaves the table."""
    body = {
        "path": file.path,
        "deletionTimestamp": now(),
        "dataChange": data_change,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": file.bytes,
    }
    return {"remove": body}


def metadata(schema: pa.Schema, table_id: str, configuration: Mapping[str, str]) -> Action:
    """What the table is."""
    body = {
        "id": table_id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema_text(schema),
        "partitionColumns": [],
        "createdTime": now(),
        "configuration": dict(configuration),
    }
    return {"metaData": body}


class TableState:
    """A table's files, schema and positions at one version; moves forward, never back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = -1
        self.schema = pa.schema([])
        self.about: Action = {}
        """The `metaData` action: id, configuration."""
        self.positions: dict[str, int] = {}
        self.files: dict[str, DataFile] = {}

    @classmethod
    def load(cls, path: Path, app: str, version: int | None = None) -> TableState:
        """The state at `version` (default: the newest), read through delta-rs."""
        try:
            table = DeltaTable(path, version=version)
            state = cls(path)
            state.version = table.version()
            state.schema = _arrow(table.schema())
            state.about = {"id": str(table.metadata().id), "configuration": dict(table.metadata().configuration)}
            position = table.transaction_version(app)
            state.positions = {} if position is None else {app: position}
            state.files = {file.path: file for file in _files_of(table)}
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"table {path} cannot be opened: {error}",
                remedy="restore the table's folder from a backup, or remove it and rebuild from bronze",
            ) from error
        return state

    def position(self, app: str) -> int:
        """The position that `app` wrote last, -1 when none."""
        return self.positions.get(app, -1)

    def metadata_with(self, schema: pa.Schema) -> Action:
        """The `metaData` action that gives this table another schema."""
        return metadata(schema, self.about["id"], self.about["configuration"])

    def apply(self, version: int, actions: Iterable[Action]) -> None:
        """Move to `version` by its actions."""
        for action in actions:
            if (body := action.get("add")) is not None:
                file = _file_of(body)
                self.files[file.path] = file
            elif (body := action.get("remove")) is not None:
                self.files.pop(unquote(body["path"]), None)
            elif (body := action.get("txn")) is not None:
                self.positions[body["appId"]] = body["version"]
            elif (body := action.get("metaData")) is not None:
                self.schema = schema_from_text(body["schemaString"])
                self.about = body
        self.version = version

    def advance(self, to: int | None = None) -> bool:
        """Read new entries up to version `to` (default: all). False when an entry between is gone: load anew."""
        while to is None or self.version < to:
            actions = read_entry(self.path, self.version + 1)
            if actions is None:
                return to is None
            self.apply(self.version + 1, actions)
        return True


def _arrow(schema: Schema) -> pa.Schema:
    return pa.schema(schema.to_arrow())  # type: ignore[arg-type]  # it speaks the C interface


def _file_of(body: Action) -> DataFile:
    stats = json.loads(body.get("stats") or "{}")
    return DataFile(
        unquote(body["path"]),
        stats.get("numRecords", -1),
        body["size"],
        _bounds(stats.get("minValues") or {}),
        _bounds(stats.get("maxValues") or {}),
    )


def _bounds(values: Mapping[str, Any]) -> dict[str, Bound]:
    return {name: value for name, value in values.items() if isinstance(value, (int, str))}


def _files_of(table: DeltaTable) -> Iterator[DataFile]:
    actions = pa.table(table.get_add_actions(flatten=True))
    lows = [name for name in actions.column_names if name.startswith("min.")]
    highs = [name for name in actions.column_names if name.startswith("max.")]
    for row in reversed(actions.to_pylist()):  # delta-rs gives the newest first
        yield DataFile(
            unquote(row["path"]),
            -1 if row["num_records"] is None else row["num_records"],
            row["size_bytes"],
            _bounds({name[4:]: row[name] for name in lows}),
            _bounds({name[4:]: row[name] for name in highs}),
        )
