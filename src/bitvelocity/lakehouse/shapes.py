"""Shapes: how the source's tables looked, and from which position on. The table `bronze/_shapes` of a lake.

A row is written when the stream shows a table for the first time, when it shows it with other columns, types, key,
name or OID than before, and for each DDL marker: a message of the source's event trigger (`bv.ddl`), which says what
command it was, and of each column whether it may be NULL and its default.

The OID is how a table is known that was renamed or moved to another schema: its changes go on to the same entity. Where
a change wrote values into rows without sending them, the row says so (`unsent`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bitvelocity.changes import MESSAGES, SYSTEM_FIELDS, Batch, Passing, Shape, Unsent, pass_by, unsent_from
from bitvelocity.contracts import EntitySpec

from .delta import LocalTable, has_log
from .deltalog import APP, TableState
from .filled import Filling, Look, filled_by_marker, filled_by_shape, look_of
from .parquet import read
from .table import Staged

NAME = "_shapes"
MARKER = "bv.ddl"
"""Prefix of the messages that the event trigger writes."""
_POSITION = ("_lsn", "_ordinal", "_committed_at", "_operation_user")
SCHEMA = pa.schema([
    *(pa.field(name, kind) for name, kind in SYSTEM_FIELDS if name in _POSITION),
    pa.field("oid", pa.int64()),
    *(pa.field(name, pa.string()) for name in ("entity", "relation", "identity", "columns", "command", "change", "unsent")),
])  # fmt: skip
"""`columns`: a JSON array with `name`, `type` (OID), `modifier` and `key` of each; of a marker what the marker says.
`command`: the marker's command tag; NULL when the stream showed it. `change`: what is other than before, in words.
`unsent`: JSON of what it wrote into rows that were not sent."""
_IDENTITIES = {"d": "default", "n": "nothing", "f": "full", "i": "index"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A table as the stream showed it last."""

    relation: str
    columns: tuple[str, ...]
    shape: Shape


class Shapes:
    """The table of shapes, and what it says of now."""

    def __init__(self, root: Path, specs: Sequence[EntitySpec], *, sync: bool = True, at: Passing = pass_by) -> None:
        self.table = LocalTable.open(root / "bronze" / NAME, SCHEMA, sync=sync, at=at)
        self._by_relation = {spec.qualified: spec.name for spec in specs}
        self._names = {spec.name for spec in specs}
        self._seen: dict[int, Seen] = {}
        self._oids: dict[str, int] = {}
        self._looks: dict[int, Look] = {}
        self._rows: list[dict[str, Any]] = []
        self._load()

    def entity_of(self, batch: Batch) -> str | None:
        """The entity whose table has the batch's name, or had it before it was renamed; None when there is none."""
        entity = self._by_relation.get(batch.relation)
        if entity is None and batch.shape is not None:
            renamed = (name for name, oid in self._oids.items() if batch.shape and oid == batch.shape.oid)
            entity = next(renamed, None)
        return entity

    def note(self, entity: str, batch: Batch) -> None:
        """Remember how the table looks, if that is news."""
        shape = batch.shape
        if shape is None or not batch.data.num_rows:
            return
        seen = self._seen.get(shape.oid)
        now = Seen(batch.relation, batch.columns, shape)
        if seen == now:
            return
        lsn = batch.data["_lsn"][batch.data.num_rows - 1].as_py()
        before = seen or self._seen.get(self._oids.get(entity, -1))
        self._learn(entity, now)
        if lsn > self.table.position():
            words = "; ".join(differences(before, now)) if before else None
            first = {name: batch.data[name][0].as_py() for name in _POSITION}
            look = _look(now)
            known = self._looks.get(shape.oid)
            filling = filled_by_shape(known, look) if known else None
            self._rows.append({
                **first, **_described(entity, now), "command": None, "change": words, "unsent": _unsent(entity, first, filling),
            })  # fmt: skip
            self._looks[shape.oid] = {**(known or {}), **look}

    def mark(self, batch: Batch) -> None:
        """Take DDL markers out of a batch of messages."""
        if batch.relation != MESSAGES or "prefix" not in batch.columns:
            return
        for row in batch.data.to_pylist():
            if row["after_prefix"] == MARKER and row["_lsn"] > self.table.position():
                said = _said(row["after_content"])
                first = {name: row[name] for name in _POSITION}
                self._rows.append({**first, **self._marked(said, first)})

    def commit(self, position: int) -> tuple[Unsent, ...]:
        """Make what was noted durable; what of it was not sent."""
        rows, self._rows = self._rows, []
        if rows:
            self.table.commit([self._staged(rows)], position)
        return tuple(_unsent_of(rows))

    def rollback(self) -> None:
        """Forget what was noted since the last commit."""
        self._rows = []
        self._load()

    def _staged(self, rows: list[dict[str, Any]]) -> Staged:
        return self.table.stage(pa.Table.from_pylist(rows, schema=SCHEMA))

    def _learn(self, entity: str, now: Seen) -> None:
        self._seen[now.shape.oid] = now
        if now.relation in self._by_relation or entity not in self._oids:
            self._oids[entity] = now.shape.oid

    def _load(self) -> None:
        self._seen, self._oids, self._looks = {}, {}, {}
        for row in _stored(self.table.path, [file.path for file in self.table.files()]):
            if row["command"] is None and row["entity"] in self._names:
                self._learn(row["entity"], _seen(row))
            columns = json.loads(row["columns"]) or []
            if row["oid"] and (look := look_of(columns, "type" if row["command"] is None else "oid")):
                kept = self._looks.get(row["oid"], {}) if row["command"] is None else {}
                self._looks[row["oid"]] = {**kept, **look}

    def _marked(self, said: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
        relation = f"{said.get('schema')}.{said.get('name')}"
        oid = said.get("oid")
        known = (name for name, number in self._oids.items() if number == oid)
        entity = self._by_relation.get(relation) or next(known, None)
        return {
            "entity": entity,
            "relation": relation,
            "oid": oid,
            "identity": _IDENTITIES.get(str(said.get("identity"))),
            "columns": json.dumps(said.get("columns") or said.get("labels"), ensure_ascii=False),
            "command": said.get("command"),
            "change": None,
            "unsent": _unsent(entity, first, self._filled(said)),
        }

    def _filled(self, said: Mapping[str, Any]) -> Filling | None:
        """What the marked command wrote; of a table that has shown no row yet, nothing that matters."""
        look = look_of(said.get("columns") or (), "oid")
        before = self._looks.get(said.get("oid", 0))
        if look is None or before is None:
            return None
        self._looks[said["oid"]] = look
        return filled_by_marker(before, look, said)


def last_shapes(root: Path) -> dict[str, Mapping[str, Any]]:
    """The last row of each entity that the stream showed; its `columns` are read from their JSON."""
    rows = stored_shapes(root)
    return {row["entity"]: {**row, "columns": json.loads(row["columns"])} for row in rows if row["command"] is None}


def stored_shapes(root: Path) -> list[dict[str, Any]]:
    """All rows in order; none where the lake has no such table."""
    path = root / "bronze" / NAME
    if not has_log(path):
        return []
    return list(_stored(path, list(TableState.load(path, APP).files)))


def differences(before: Seen, now: Seen) -> Iterator[str]:
    """What is other than before, in words."""
    if before.shape.oid != now.shape.oid:
        yield f"{now.relation} is another table now"
    elif before.relation != now.relation:
        yield f"{before.relation} is {now.relation} now"
    old, new = _look(before), _look(now)
    for words, names in (
        ("column {} is new", [name for name in new if name not in old]),
        ("column {} is gone", [name for name in old if name not in new]),
        ("column {} has another type", [name for name in new if name in old and old[name] != new[name]]),
    ):
        yield from (words.format(name) for name in names)
    if before.shape.identity != now.shape.identity:
        yield f"replica identity is {_IDENTITIES[now.shape.identity]}, was {_IDENTITIES[before.shape.identity]}"
    elif _key(before) != _key(now):
        yield f"rows are identified by {', '.join(_key(now)) or 'nothing'}"


def _key(seen: Seen) -> tuple[str, ...]:
    return tuple(name for name, key in zip(seen.columns, seen.shape.key, strict=True) if key)


def unsent_above(root: Path, position: int) -> tuple[Unsent, ...]:
    """What was noted as not sent, above a position."""
    return tuple(each for each in _unsent_of(stored_shapes(root)) if each.lsn > position)


def _unsent_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[Unsent]:
    yield from (unsent_from(json.loads(row["unsent"])) for row in rows if row.get("unsent"))


def _unsent(entity: str | None, first: Mapping[str, Any], filling: Filling | None) -> str | None:
    if entity is None or filling is None:
        return None
    found = Unsent(
        entity=entity, lsn=first["_lsn"], why=filling.words, columns=filling.columns, whole=filling.whole,
        sure=filling.sure, noted_at=time.time(),
    )  # fmt: skip
    return json.dumps(found.as_dict(), ensure_ascii=False)


def _look(seen: Seen) -> Look:
    parts = zip(seen.shape.types, seen.shape.modifiers, strict=True)
    return dict(zip(seen.columns, parts, strict=True))


def _described(entity: str, now: Seen) -> dict[str, Any]:
    shape = now.shape
    parts = zip(now.columns, shape.types, shape.modifiers, shape.key, strict=True)
    columns = [{"name": name, "type": kind, "modifier": modifier, "key": key} for name, kind, modifier, key in parts]
    return {
        "entity": entity,
        "relation": now.relation,
        "oid": shape.oid,
        "identity": _IDENTITIES[shape.identity],
        "columns": json.dumps(columns, ensure_ascii=False),
    }


def _seen(row: Mapping[str, Any]) -> Seen:
    columns = json.loads(row["columns"])
    types, modifiers, key = (tuple(column[part] for column in columns) for part in ("type", "modifier", "key"))
    letters = {word: letter for letter, word in _IDENTITIES.items()}
    shape = Shape(row["oid"], types, modifiers, key, letters[row["identity"]])  # type: ignore[arg-type]
    return Seen(row["relation"], tuple(column["name"] for column in columns), shape)


def _stored(path: Path, files: Sequence[str]) -> Iterator[dict[str, Any]]:
    rows = [row for file in files for row in read(path / file).to_pylist()]
    yield from sorted(rows, key=lambda row: (row["_lsn"], row["_ordinal"]))


def _said(content: str) -> Mapping[str, Any]:
    """The JSON of a marker; nothing when somebody else uses the prefix for something else."""
    try:
        said = json.loads(bytes.fromhex(content.removeprefix("\\x")))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
