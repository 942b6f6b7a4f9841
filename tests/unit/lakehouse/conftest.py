"""Batches in the exact form of `changes/batch.py`, and an entity with a key of two columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_FIELDS, Batch
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.lakehouse import Lake, Watermark, publish

Change = Mapping[str, Any]


def _column(name: str, kind: Type, *, nullable: bool = True) -> Column:
    return Column(name=name, type=kind, nullable=nullable)


@pytest.fixture(scope="session")
def spec() -> EntitySpec:
    return EntitySpec(
        name="items",
        table="items",
        key=("region", "id"),
        columns=(
            _column("region", Type("text"), nullable=False),
            _column("id", Type("int64"), nullable=False),
            _column("price", Type("decimal", 10, 2)),
            _column("note", Type("text")),
            _column("At", Type("timestamptz")),
        ),
    )


def _batch(rows: Sequence[Change], columns: Sequence[str], relation: str) -> Batch:
    system = {
        name: pa.array([row.get(name) if name != "_absent" else _names(row) for row in rows], kind)
        for name, kind in SYSTEM_FIELDS
    }
    images = {
        prefix + name: pa.array([(row.get(image) or {}).get(name) for row in rows], pa.string_view())
        for prefix, image in ((AFTER, "after"), (BEFORE, "before"))
        for name in columns
    }
    return Batch(relation, tuple(columns), pa.table(system | images))


def _names(row: Change) -> str | None:
    return json.dumps(row["absent"]) if row.get("absent") else None


@pytest.fixture(scope="session")
def batch_of(spec: EntitySpec) -> Callable[..., Batch]:
    """`batch_of(change, ..., columns=, relation=)`."""

    def make(*rows: Change, columns: Sequence[str] = (), relation: str = spec.qualified) -> Batch:
        return _batch(rows, columns or tuple(spec.by_name), relation)

    return make


@pytest.fixture(scope="session")
def change() -> Callable[..., Change]:
    """`change("u", (lsn, ordinal), after=, before=, absent=)`."""

    def make(op: str, at: tuple[int, int], **rest: object) -> Change:
        lsn, ordinal = at
        return {"_op": op, "_lsn": lsn, "_ordinal": ordinal, "_xid": lsn, "_committed_at": lsn, **rest}

    return make


@pytest.fixture(scope="session")
def published() -> Callable[[Lake, Path, int], None]:
    """Publish what the lake has, as the flow does."""

    def do(lake: Lake, root: Path, lsn: int) -> None:
        publish(root, Watermark(position=lsn, resume=lsn, tables=lake.versions()), sync=False)

    return do
