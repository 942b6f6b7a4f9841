"""The SQL of the views that people and models read, over one view of files per table."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_COLUMNS, Position
from bitvelocity.contracts import EntitySpec

from .latest import latest
from .names import columns_sql, identifier, literal
from .typed import UNFIT

FILES = "files"
"""Schema of the views over files; the others are made of these."""
EVENTS = uuid.uuid5(uuid.NAMESPACE_DNS, "events.bitvelocity.dev")
OF_A_ROW = tuple(name for name in (*SYSTEM_COLUMNS, UNFIT) if name != "_op")
"""System columns of a silver row: those of its last change."""

EVENT_ID_MACRO = f"""
CREATE OR REPLACE MACRO event_id(relation, lsn, ordinal) AS (
  SELECT concat(h[1:8], '-', h[9:12], '-5', h[14:16], '-', ('89ab')[1 + (('0x' || h[17:17])::INT & 3)], h[18:20],
                '-', h[21:32])
  FROM (SELECT sha1(unhex('{EVENTS.hex}') || encode(concat(relation, ':', lsn, ':', ordinal))) AS h)
)"""


def event_id(relation: str, position: Position) -> str:
    """The id of an event: the same for the same change, whoever computes it (UUID version 5)."""
    return str(uuid.uuid5(EVENTS, f"{relation}:{position.commit_lsn}:{position.ordinal}"))


def files_view(table: str) -> str:
    """The view over the files of a table, quoted."""
    return f"{FILES}.{identifier(table)}"


def tail_view(table: str) -> str:
    """The view over what a log has above its base, quoted."""
    return files_view(f"{table} above base")


OPERATIONS = {"c": "INSERT", "u": "UPDATE", "d": "DELETE", "t": "TRUNCATE", "r": "SNAPSHOT"}


def view(name: str, query: str) -> str:
    """A statement that makes a view or replaces it."""
    return f"CREATE OR REPLACE VIEW {name} AS {query}"


def bronze_view(spec: EntitySpec, schema: pa.Schema) -> str:
    """Every event: what happened, when, and the row as JSON, made on read from the printed values."""
    images = [name for name in schema.names if name.startswith((AFTER, BEFORE))]
    operations = " ".join(f"WHEN {literal(op)} THEN {literal(word)}" for op, word in OPERATIONS.items())
    query = (
        f"SELECT {_event_id(spec)} AS event_id, _committed_at AS event_timestamp, "
        f"coalesce(_source, 'postgresql') AS source_system, CASE _op {operations} END AS operation_type, "
        f"{literal(spec.table)} AS table_name, "
        f"CASE _op WHEN 't' THEN NULL WHEN 'd' THEN {_json(spec, BEFORE, schema)} ELSE {_json(spec, AFTER, schema)} END AS raw_payload, "
        f"CAST(_committed_at AS DATE) AS ingestion_date, {columns_sql((*SYSTEM_COLUMNS[1:], *images))} "
        f"FROM {files_view(f'bronze/{spec.name}')}"
    )
    return view(f"bronze.{identifier(spec.name)}", query)


def silver_views(spec: EntitySpec) -> Iterable[str]:
    """The latest rows, the log, and the log with the row as it was before each change."""
    log = f"silver/{spec.name}_changes"
    own = tuple(spec.lake_names.values())
    rows = latest(files_view(f"silver/{spec.name}"), tail_view(log), key=spec.lake_key, columns=(*own, *OF_A_ROW))
    event = f"{_event_id(spec)} AS _event_id"
    yield view(f"silver.{identifier(spec.name)}", f"SELECT *, {event} FROM ({rows})")
    changes = f"silver.{identifier(f'{spec.name}_changes')}"
    yield view(changes, f"SELECT {columns_sql(('_op', *own, *OF_A_ROW))}, {event} FROM {files_view(log)}")
    row = f"struct_pack({', '.join(f'{identifier(name)} := {identifier(name)}' for name in own)})"
    before = (
        f"CASE WHEN _op IN ('u', 'd') THEN lag(CASE WHEN _op <> 'd' THEN {row} END) OVER "
        f"(PARTITION BY {columns_sql(spec.lake_key)} ORDER BY _lsn, _ordinal) END AS _before"
    )
    yield view(f"silver.{identifier(f'{spec.name}_history')}", f"SELECT *, {before} FROM {changes}")


def gold_view(name: str, columns: Iterable[str], key: tuple[str, ...], *, layered: bool) -> str:
    """The rows of a model; a layered one has a base and a log, as silver does."""
    names = tuple(columns)
    table = f"gold/{name}"
    if layered:
        query = latest(files_view(table), tail_view(f"{table}_changes"), key=key, columns=names)
    else:
        query = f"SELECT {columns_sql(names)} FROM {files_view(table)}"
    return view(f"gold.{identifier(name)}", query)


def _event_id(spec: EntitySpec) -> str:
    return f"event_id({literal(spec.qualified)}, _lsn, _ordinal)"


def _json(spec: EntitySpec, image: str, schema: pa.Schema) -> str:
    """An image as JSON under the source's names; a column that the spec does not know has its name in the lake."""
    sources = {image + lake: name for name, lake in spec.lake_names.items()}
    images = [name for name in schema.names if name.startswith(image)]
    pairs = (f"{literal(sources.get(name, name.removeprefix(image)))}, {identifier(name)}" for name in images)
    return f"json_object({', '.join(pairs)})"
