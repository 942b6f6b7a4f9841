"""The seam for records that are not JSON: Avro, Protobuf, and JSON whose schema a registry keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import polars as pl
import pyarrow as pa

from .debezium import Moment
from .headers import HeaderColumn
from .options import Options
from .plan import Plan, PlannedColumn
from .records import Stamp

Kind = Literal["AVRO", "JSON", "PROTOBUF"]


@dataclass(frozen=True, slots=True)
class SchemaUse:
    """A schema that is about to be used: on which topic, for keys or for values, and the name of its outermost record."""

    topic: str
    is_key: bool
    name: str
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Registered:
    """`frame` stands before each value: what a reader finds the schema by. `url` is where the schema is, if it has one."""

    frame: bytes = b""
    url: str = ""
    header: bytes = b""
    """Where the schema is named in a header of the record (`__key_schema_id`, `__value_schema_id`) and not in a frame."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Of Protobuf: the fields' numbers, by their paths (`after.id`). Empty: they are numbered in their order."""


Register: TypeAlias = Callable[[SchemaUse], Registered]
"""Asked once for each schema of each topic, and then only if it has forgotten: it should keep what it knows."""


def unregistered(_: SchemaUse) -> Registered:
    """Bare values, without a registry."""
    return Registered()


@dataclass(frozen=True, slots=True)
class Rows:
    """Changes of one table, ready to be written: images in the notation's own form, and what is said of each."""

    form: str
    frame: pl.DataFrame
    plan: Plan
    options: Options
    moment: Moment
    database: str
    stamp: Stamp | None


def framing_headers(ordered: pl.DataFrame, key: Registered, value: Registered, options: Options) -> list[HeaderColumn]:
    """What is said of the schemas of these records in their headers."""
    found = [HeaderColumn("ce_dataschema", value.url.encode())] if value.url and options.cloudevents else []
    for name, one, column in (("__key_schema_id", key, "key"), ("__value_schema_id", value, "value")):
        if one.header:
            said = pl.select(pl.when(ordered[column].is_not_null()).then(pl.lit(one.header)).alias("v"))["v"]
            found.append(HeaderColumn(name, said))
    return found


class Notation(Protocol):
    """How records are written. An encoder asks it for the images first, then for the records around them."""

    @property
    def content_type(self) -> str: ...

    def settle(self, options: Options) -> Options:
        """The options as this notation needs them: valid names, say."""
        ...

    def planned(self, form: str, plan: Plan, options: Options) -> Plan:
        """The plan as its records are written: fields of Protobuf get the numbers that they have in the registry."""
        ...

    def image(self, columns: Sequence[PlannedColumn], frame: pl.DataFrame, prefix: str) -> pl.Series:
        """One image of every row."""
        ...

    def records(self, rows: Rows) -> pa.Table: ...

    def converted(self, table: pa.Table) -> pa.Table:
        """Records that were written as JSON with schemas: those of messages, transactions, heartbeats."""
        ...


__all__ = ["Kind", "Notation", "Register", "Registered", "Rows", "SchemaUse", "framing_headers", "unregistered"]
