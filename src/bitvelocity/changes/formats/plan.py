"""What is known of a table's records before the first row: topic, columns, key, schemas. One plan for each shape."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ..batch import Batch
from .connect import ConnectType, Schema, connect_type, dumps, field_schema, named
from .described import ColumnFacts, Described
from .naming import adjusted, adjusted_field, topic_of
from .options import Mask, Options
from .values import by_value, json_string, quoted

_FUNCTION = re.compile(r"^[(]?[A-Za-z0-9_.]+\((?:.+(?:, ?.+)*)?\)")
_CLOCKS = frozenset("current_timestamp current_time current_date localtime localtimestamp".split())
_MADE = {
    16: "f", 20: "0", 21: "0", 23: "0", 25: "", 114: "{}", 142: "", 700: "0", 701: "0", 1042: "", 1043: "",
    1082: "1970-01-01", 1083: "00:00:00", 1114: "1970-01-01 00:00:00", 1184: "1970-01-01 00:00:00+00", 1700: "0.0",
    2950: "00000000-0000-0000-0000-000000000000", 3802: "{}",
}  # fmt: skip
"""What Debezium takes for the default of a column whose default is computed; other types have none."""


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A column of the records."""

    name: str
    field: str
    type: ConnectType
    optional: bool
    default: str | None
    """As JSON."""
    hides_null: str | None = None
    """What a mask puts for NULL too."""
    masked: bool = False
    """What it holds must not be told in any other way."""
    number: int = 0
    """Of its field in Protobuf; 0: as it stands among the others."""

    @property
    def void(self) -> str:
        """What stands for NULL: Connect's converter puts a column's default there."""
        if self.hides_null is not None:
            return self.hides_null
        if self.default is not None:
            return self.default
        return "null" if self.optional else self.type.nothing

    def schema(self) -> str:
        return field_schema(self.type.schema, optional=self.optional, name=self.field, default=self.default)


@dataclass(frozen=True, slots=True)
class Plan:
    """The records of one shape of one table."""

    relation: str
    topic: str
    columns: tuple[PlannedColumn, ...]
    key: tuple[PlannedColumn, ...]
    key_schema: str
    row_schema: str
    """The fields of a row, as JSON text: `[...]`."""
    name: str
    """Schema names begin with it."""
    renamed: tuple[tuple[str, str | None], ...] | None = None
    """All columns with their fields, where these differ: a name that had to change, a type that has no form."""
    left_out: tuple[str, ...] = ()
    """Columns whose type has no form here."""


TypeOf = Callable[[Described, int, int, Options], ConnectType | None]


def compile_plan(
    batch: Batch, described: Described, options: Options, type_of: TypeOf = connect_type, *, with_defaults: bool = True
) -> Plan:
    """The plan of a batch's shape. What the stream says of types wins over the catalog, which may be newer."""
    facts = described.tables.get(batch.relation)
    columns, left_out = [], []
    for number, name in enumerate(batch.columns):
        known = facts.columns.get(name) if facts else None
        if known is not None and not with_defaults:
            known = replace(known, default=None)
        if batch.shape is not None:
            kind, modifier = batch.shape.types[number], batch.shape.modifiers[number]
        elif known is not None:
            kind, modifier = known.type, known.modifier
        else:
            kind, modifier = 25, -1
        planned = _column(f"{batch.relation}.{name}", type_of(described, kind, modifier, options), known, options)
        if planned is not None:
            columns.append(planned)
        elif options.takes_column(f"{batch.relation}.{name}"):
            left_out.append(name)
    names = options.key(batch.relation) or (facts.key if facts else _identity(batch))
    by_name = {column.name: column for column in columns}
    key = tuple(by_name[name] for name in names if name in by_name)
    kept = tuple(column for column in columns if options.takes_column(f"{batch.relation}.{column.name}"))
    if not with_defaults:  # an event of our own tells NULL apart from what a column holds else
        kept = tuple(replace(column, optional=True) for column in kept)
    name = adjusted(topic_of(batch.relation, options), options.schema_name_adjustment_mode)
    key_schema = {"type": "struct", "fields": "@", "name": f"{name}.Key"}
    text = field_schema(key_schema, optional=False).replace('"@"', _fields(key))
    return Plan(
        batch.relation, topic_of(batch.relation, options), kept, key, text, _fields(kept), name,
        _renamed(batch.columns, kept, left_out), tuple(left_out),
    )  # fmt: skip


def _renamed(
    names: Sequence[str], kept: Sequence[PlannedColumn], left_out: Sequence[str]
) -> tuple[tuple[str, str | None], ...] | None:
    fields: dict[str, str | None] = {column.name: column.field for column in kept}
    if not left_out and all(name == field for name, field in fields.items()):
        return None
    fields |= dict.fromkeys(left_out)
    return tuple((name, fields[name]) for name in names if name in fields)


def _identity(batch: Batch) -> tuple[str, ...]:
    """The replica identity, for a table that the catalog no longer has."""
    if batch.shape is None or batch.shape.identity == "f":
        return ()
    return tuple(name for name, is_key in zip(batch.columns, batch.shape.key, strict=True) if is_key)


def _fields(columns: Sequence[PlannedColumn]) -> str:
    return f"[{','.join(column.schema() for column in columns)}]"


def _column(
    path: str, kind: ConnectType | None, facts: ColumnFacts | None, options: Options
) -> PlannedColumn | None:
    """`path`: schema.table.column."""
    name = path.split(".", 2)[2]
    if kind is None:
        return None
    if (mask := options.mask(path)) is not None and kind.schema["type"] == "string":
        told = {"truncateLength": str(mask[2])} if mask[0] == "truncate" else {"masked": "true"}
        schema = {**kind.schema, "parameters": {**kind.schema.get("parameters", {}), **told}}
        kind = replace(kind, encode=_masked(mask), schema=schema)
    default = _default(facts, kind) if facts and facts.default else None
    optional = not (facts and facts.not_null)
    field = adjusted_field(name, options.field_name_adjustment_mode)
    hides_null = json_string("*" * mask[2]) if mask is not None and mask[0] == "chars" else None
    return PlannedColumn(name, field, kind, optional, default, hides_null, mask is not None)


def _default(facts: ColumnFacts, kind: ConnectType) -> str | None:
    """A default as Debezium reads its expression: a literal, or what stands for something computed."""
    text = (facts.default or "").strip()
    if _FUNCTION.match(text) or text.lower() in _CLOCKS:
        literal = _MADE.get(facts.type)
    elif "'" in text:
        found = re.search(r"'(.*?)'", text)
        literal = found[1] if found else None
    else:
        literal = None if text.startswith("NULL::") else text
    if literal is None:
        return None
    literal = {"true": "t", "false": "f"}.get(literal, literal) if facts.type == 16 else literal
    try:
        encoded: str | None = kind.encode(pl.Series("v", [literal], pl.String))[0]
    except (ValueError, ArithmeticError, pl.exceptions.PolarsError):
        return None
    return encoded


def _masked(mask: Mask) -> Callable[[pl.Series], pl.Series]:
    kind, algorithm, length, salt = mask
    if kind == "chars":
        return by_value(lambda _: json_string("*" * length))
    if kind == "truncate":
        return lambda values: quoted(values.str.slice(0, length))

    def digest(text: str) -> str:
        said = text.encode()
        if length == 1:  # the first version hashes the string as Java serializes it
            said = b"\xac\xed\x00\x05t" + len(said).to_bytes(2, "big") + said
        found = hashlib.new(algorithm.replace("SHA-", "sha").lower(), salt.encode() + said, usedforsecurity=False)
        return json_string(found.hexdigest())

    return by_value(digest)


SNAPSHOT = named(
    "string",
    "io.debezium.data.Enum",
    allowed="true,first,first_in_data_collection,last_in_data_collection,last,false,incremental",
)
_SOURCE_FIELDS = (
    ("version", "string", False), ("connector", "string", False), ("name", "string", False), ("ts_ms", "int64", False),
    ("snapshot", "", True), ("db", "string", False), ("sequence", "string", True), ("ts_us", "int64", True),
    ("ts_ns", "int64", True), ("schema", "string", False), ("table", "string", False), ("txId", "int64", True),
    ("lsn", "int64", True), ("xmin", "int64", True), ("origin", "string", True), ("origin_lsn", "int64", True),
)  # fmt: skip


def source_field(name: str, kind: str, *, optional: bool) -> str:
    """One field of the source block."""
    if name == "snapshot":
        return field_schema(SNAPSHOT, optional=True, name=name, default='"false"')
    return field_schema({"type": kind}, optional=optional, name=name)


SOURCE_FIELDS = {name: source_field(name, kind, optional=optional) for name, kind, optional in _SOURCE_FIELDS}
SOURCE_TYPES = {name: kind for name, kind, _ in _SOURCE_FIELDS}
SOURCE_SCHEMA = field_schema(
    {"type": "struct", "fields": "@", "name": "io.debezium.connector.postgresql.Source", "version": 1},
    optional=False, name="source",
).replace('"@"', f"[{','.join(SOURCE_FIELDS.values())}]")  # fmt: skip
TRANSACTION_FIELDS = {
    name: field_schema({"type": kind}, optional=False, name=name)
    for name, kind in (("id", "string"), ("total_order", "int64"), ("data_collection_order", "int64"))
}
TRANSACTION_SCHEMA = field_schema(
    {"type": "struct", "fields": "@", "name": "event.block", "version": 1}, optional=True, name="transaction"
).replace('"@"', f"[{','.join(TRANSACTION_FIELDS.values())}]")


def struct_schema(fields: str, *, name: str, version: int | None = None, optional: bool = False, field: str | None = None) -> str:  # fmt: skip
    """The schema of a struct from the JSON text of its fields."""
    schema: Schema = {"type": "struct", "fields": "@", "name": name, **({"version": version} if version else {})}
    return field_schema(schema, optional=optional, name=field).replace('"@"', fields, 1)


def with_schema(schema: str, options: Options) -> tuple[str, str]:
    """What stands before and after a payload."""
    return (f'{{"schema":{schema},"payload":', "}") if options.schemas_enable else ("", "")


__all__ = [
    "SOURCE_FIELDS", "SOURCE_SCHEMA", "SOURCE_TYPES", "TRANSACTION_FIELDS", "TRANSACTION_SCHEMA", "Plan",
    "PlannedColumn", "compile_plan", "dumps", "struct_schema", "with_schema",
]  # fmt: skip
