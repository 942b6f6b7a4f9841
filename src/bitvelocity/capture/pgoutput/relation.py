"""The source's tables as the stream describes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from struct import Struct
from typing import Literal, cast

from bitvelocity.changes import AFTER, BEFORE, DETAIL_FIELDS, SYSTEM_COLUMNS, Shape

_COLUMN = Struct(">Ii").unpack_from
_KNOWN = 4096
"""Shapes of columns that are remembered: a thousand tables are mostly tenants or partitions, alike but for their names."""


@dataclass(frozen=True)
class Relation:
    """One shape of one table: what a RELATION message says."""

    oid: int
    schema: str
    table: str
    columns: tuple[str, ...]
    key: tuple[bool, ...]
    """Which columns belong to the replica identity."""
    types: tuple[int, ...]
    """OIDs of the columns' types."""
    modifiers: tuple[int, ...] = ()
    identity: str = "d"
    sent: int = field(default=0, compare=False)
    """When the server sent this description, by its clock; 0: before all that a walsender sent."""

    @property
    def qualified(self) -> str:
        """`public.orders`. Types of the catalog's own schema come without one."""
        return f"{self.schema or 'pg_catalog'}.{self.table}"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names of this relation's batches."""
        return _names(self.columns)

    @cached_property
    def names_with_detail(self) -> tuple[str, ...]:
        """The same when the source was asked for detail."""
        system, images = self.names[: len(SYSTEM_COLUMNS)], self.names[len(SYSTEM_COLUMNS) :]
        return (*system, *(name for name, _ in DETAIL_FIELDS), *images)

    @cached_property
    def shape(self) -> Shape:
        """What batches say of the columns."""
        identity = cast(Literal["d", "n", "f", "i"], self.identity)
        return Shape(self.oid, self.types, self.modifiers, self.key, identity)

    def names_as_json(self, which: Iterable[int]) -> str | None:
        """Some column names as a JSON array; None for none."""
        names = [self.columns[j] for j in which]
        return json.dumps(names, ensure_ascii=False, separators=(",", ":")) if names else None


def parse_relation(frame: bytes | bytearray, at: int, end: int, sent_at: int | None) -> Relation:
    """The relation that a RELATION message from `at` (its OID) to `end` describes; the server's clock stands at `sent_at`."""
    oid = int.from_bytes(frame[at : at + 4], "big")
    schema, at = _text(frame, at + 4)
    table, at = _text(frame, at)
    columns, key, types, modifiers = _columns(bytes(frame[at + 1 : end]))
    sent = 0 if sent_at is None else int.from_bytes(frame[sent_at : sent_at + 8], "big")
    return Relation(oid, schema, table, columns, key, types, modifiers, chr(frame[at]), sent)


@lru_cache(_KNOWN)
def _names(columns: tuple[str, ...]) -> tuple[str, ...]:
    return (*SYSTEM_COLUMNS, *(AFTER + name for name in columns), *(BEFORE + name for name in columns))


@lru_cache(_KNOWN)
def _columns(
    described: bytes,
) -> tuple[tuple[str, ...], tuple[bool, ...], tuple[int, ...], tuple[int, ...]]:
    """Names, whether they belong to the identity, types and modifiers of the columns."""
    columns: list[str] = []
    key: list[bool] = []
    types: list[int] = []
    modifiers: list[int] = []
    at = 2
    for _ in range(int.from_bytes(described[:2], "big")):
        key.append(bool(described[at] & 1))
        name, at = _text(described, at + 1)
        columns.append(name)
        kind, modifier = _COLUMN(described, at)
        types.append(kind)
        modifiers.append(modifier)
        at += 8
    return tuple(columns), tuple(key), tuple(types), tuple(modifiers)


def _text(frame: bytes | bytearray, at: int) -> tuple[str, int]:
    end = frame.index(0, at)
    return frame[at:end].decode(), end + 1
