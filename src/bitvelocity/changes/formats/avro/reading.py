"""Avro values to columns: under the header of an Avro file, Polars reads thousands of them at once.

The header's schema is ours to write, as long as the bytes mean the same: logical types are left out (what they say is in
Connect's schema), named types stand where they are used, a map is an array of keys and values, which is how Avro
writes one, and text is bytes: a column of them is found to be text at once, which is a tenth of the time faster. What
Polars has no type for (a union of several types, a type inside itself) goes through fastavro.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from ....errors import MissingExtraError
from .connected import connect_schema
from .varints import BINARY, fixed, glued, varint

Schema = Mapping[str, Any]
Values: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"
"""Chunks are read as they lie."""
_SYNC = b"bitvelocity-wire"
_FIRST, _LAST, _END = "bv frame", "bv end of value", 0x3FF5_6D3A_0000_0000
"""A field that we put behind each value: a double, in whose bits is the value's number. A value that is longer or shorter
than its schema says would else be read into its neighbours."""
_MARK: Schema = {"name": _LAST, "type": "double"}
_PLAIN = ("boolean", "int", "long", "float", "double", "bytes", "string")


@dataclass(frozen=True, slots=True)
class AvroReader:
    """Reads values of one schema. `connect` is what Connect calls it."""

    schema: Any
    connect: Schema
    fields: Sequence[Schema] | None
    """As the header tells them. None: Polars has no type for one of them."""
    kinds: Mapping[str, Any]
    """The columns, with those as text that the header calls bytes."""

    @classmethod
    def of(cls, text: str, references: Iterable[str] = ()) -> AvroReader:
        """`references` are the texts of schemas that this one names, each before those that name it."""
        schema = _inlined(json.loads(text), [json.loads(one) for one in references])
        connect = connect_schema(schema)
        is_record = isinstance(schema, dict) and schema.get("type") == "record"
        plain = _plain(schema, {}, ()) if is_record else None
        if plain is None:
            return cls(schema, connect, None, {})
        kinds = pl.read_avro(io.BytesIO(_header([*plain["fields"], _MARK]))).drop(_LAST).schema
        return cls(schema, connect, _as_bytes(plain)["fields"], kinds)

    def read(self, values: Values, skip: int = 0, *, only: Collection[str] = ()) -> pl.DataFrame:
        """One row for each of the values, which are not NULL and have `skip` bytes before them.

        `only`: the fields that are asked for, such as `op` or `source.table`. What others say is passed by, unread.
        """
        if self.fields is None:
            return self._slowly(values, skip)
        count = len(values)
        if not count:
            return pl.DataFrame(schema=dict(self.kinds))
        parts = _parts(self.fields, only)
        ends = np.arange(count, dtype=np.int64) + _END
        data = _joined(values, ends)
        header = _header([*_frame(skip), *(part.field for part in parts), _MARK])
        frame = pl.read_avro(
            io.BytesIO(b"".join([header, varint(count), varint(sum(map(len, data))), *data, _SYNC])),
            columns=[*(part.field["name"] for part in parts if part.asked), _LAST],
        )
        if not np.array_equal(frame[_LAST].to_numpy().view(np.int64), ends):
            raise ValueError("a value is longer or shorter than its schema says")
        return _together(frame.drop(_LAST), parts, self.kinds)

    def faults(self, values: Values, skip: int = 0) -> list[str] | None:
        """What is wrong with each value, one by one; "": nothing. None: it cannot be told without fastavro."""
        try:
            return [_fault(read) for read in self._one_by_one(values, skip)]
        except MissingExtraError:
            return None

    def _slowly(self, values: Values, skip: int) -> pl.DataFrame:
        found = [read() for read in self._one_by_one(values, skip)]
        if self.connect["type"] != "struct":
            found = [{"value": one} for one in found]
        return pl.DataFrame(found, infer_schema_length=None, strict=False)

    def _one_by_one(self, values: Values, skip: int) -> Iterator[Callable[[], Any]]:
        """For each of the values what reads it by fastavro, to its very end."""
        try:
            import fastavro
        except ImportError as error:
            raise MissingExtraError(
                "Avro values of such a schema (a union of several types, a type inside itself) need fastavro.",
                remedy="pip install 'bitvelocity[registry]'",
            ) from error
        parsed = fastavro.parse_schema(_bare(self.schema))

        def take(raw: bytes) -> Any:
            stream = io.BytesIO(raw[skip:])
            found = fastavro.schemaless_reader(stream, parsed, None)
            if stream.read(1):
                raise ValueError("it is longer than its schema says")
            return found

        raws: list[Any] = values.to_pylist()
        return (partial(take, raw) for raw in raws)


def _fault(read: Callable[[], Any]) -> str:
    """What is wrong with a value; "": nothing."""
    try:
        read()
    except (ValueError, TypeError, LookupError, EOFError, StopIteration, struct.error) as error:
        return str(error) or "it ends too early"
    return ""


def _inlined(schema: Any, references: Sequence[Any]) -> Any:
    """Types that stand in other schemas, put where their names are used first."""
    for one in reversed(references):
        schema = _put(schema, _full(one, ""), one)
    return schema


def _put(schema: Any, name: str, held: Any) -> Any:
    """The schema with `held` where `name` stands for the first time."""
    state = {"done": False}

    def walk(one: Any, space: str) -> Any:
        if isinstance(one, str):
            full = one if "." in one or not space or one in _PLAIN else f"{space}.{one}"
            if full != name or state["done"]:
                return one
            state["done"] = True
            return {"namespace": "", **held} if "namespace" not in held else held
        if isinstance(one, list):
            return [walk(each, space) for each in one]
        inner = _full(one, space).rpartition(".")[0] if "name" in one else space
        made = dict(one)
        for word in ("type", "items", "values"):
            if word in made:
                made[word] = walk(made[word], inner)
        if "fields" in made:
            made["fields"] = [{**each, "type": walk(each["type"], inner)} for each in made["fields"]]
        return made

    return walk(schema, "")


def _header(fields: Sequence[Schema]) -> bytes:
    text = json.dumps({"type": "record", "name": "R", "fields": fields}).encode()
    pairs = ((b"avro.schema", text), (b"avro.codec", b"null"))
    told = b"".join(varint(len(part)) + part for pair in pairs for part in pair)
    return b"Obj\x01" + varint(len(pairs)) + told + b"\x00" + _SYNC


def _frame(size: int) -> Sequence[Schema]:
    """What stands before each value, as a field."""
    return [{"name": _FIRST, "type": {"type": "fixed", "name": "Frame", "size": size}}] if size else []


class _Part(NamedTuple):
    """A field of the header: one of the value, or, where only some are asked for, one of a record in it."""

    field: Schema
    path: tuple[str, ...]
    asked: bool


def _parts(fields: Sequence[Schema], only: Collection[str]) -> list[_Part]:
    """The fields in order. A record of which some fields are asked for is taken to pieces: its bytes are those of its fields."""
    parts = []
    for one in fields:
        name, kind = one["name"], one["type"]
        if only and name not in only and isinstance(kind, dict) and kind["type"] == "record":
            inner = [(each, f"{name}.{each['name']}") for each in kind["fields"]]
            parts += [_Part({**each, "name": path}, (name, each["name"]), path in only) for each, path in inner]
        else:
            parts.append(_Part(one, (name,), not only or name in only))
    return parts if any(part.asked for part in parts) else _parts(fields, ())


def _together(frame: pl.DataFrame, parts: Sequence[_Part], kinds: Mapping[str, Any]) -> pl.DataFrame:
    """The columns as the schema has them: text as text, and what was taken to pieces as structs again."""
    columns: dict[str, pl.Series] = {}
    inner: dict[str, list[pl.Series]] = {}
    for part in (part for part in parts if part.asked):
        column = frame[part.field["name"]].alias(part.path[-1])
        if len(part.path) == 1:
            columns[column.name] = _as(column, kinds[column.name])
        else:
            fields = {one.name: one.dtype for one in kinds[part.path[0]].fields}
            inner.setdefault(part.path[0], []).append(_as(column, fields[column.name]))
    columns |= {name: pl.DataFrame(fields).to_struct(name) for name, fields in inner.items()}
    return pl.DataFrame(list(columns.values()))


def _as(column: pl.Series, kind: Any) -> pl.Series:
    return column if column.dtype == kind else column.cast(kind)


def _joined(values: Values, ends: np.ndarray) -> list[memoryview]:
    """The bytes of all values, behind each its end; of each chunk by itself."""
    found: Any = glued(values.cast(BINARY), fixed(ends))
    chunks: list[Any] = found.chunks if isinstance(found, pa.ChunkedArray) else [found]
    return [memoryview(chunk.buffers()[2]) for chunk in chunks if len(chunk)]


def _as_bytes(schema: Any) -> Any:
    """The schema with bytes where it has text: they are written alike."""
    if isinstance(schema, list):
        return [_as_bytes(one) for one in schema]
    if isinstance(schema, str):
        return "bytes" if schema == "string" else schema
    inner = {word: _as_bytes(schema[word]) for word in ("type", "items") if word in schema}
    fields = {"fields": [{**one, "type": _as_bytes(one["type"])} for one in schema["fields"]]} if "fields" in schema else {}
    return {**schema, **inner, **fields}


def _plain(schema: Any, named: dict[str, Any], inside: tuple[str, ...], space: str = "") -> Any:
    """The schema as Polars reads it, or None."""
    if isinstance(schema, list):
        rest = [one for one in schema if one != "null"]
        inner = _plain(rest[0], named, inside, space) if len(rest) == 1 and len(schema) == 2 else None
        return None if inner is None else [inner if one != "null" else "null" for one in schema]
    if isinstance(schema, str):
        full = schema if "." in schema or not space else f"{space}.{schema}"
        known = full in named and full not in inside
        return schema if schema in _PLAIN else _plain(named[full], named, inside, space) if known else None
    kind = schema["type"]
    if kind in ("array", "map"):
        return _several(schema, named, inside, space)
    if kind in ("enum", "fixed"):
        named[_full(schema, space)] = schema
        return {key: schema[key] for key in ("type", "name", "symbols", "size") if key in schema}
    is_record = kind in ("record", "error")
    return _record(schema, named, inside, space) if is_record else _plain(kind, named, inside, space)


def _several(schema: Any, named: dict[str, Any], inside: tuple[str, ...], space: str) -> Any:
    """Arrays, and maps as arrays of keys and values."""
    inner = _plain(schema["items" if schema["type"] == "array" else "values"], named, inside, space)
    if inner is None or schema["type"] == "array":
        return inner and {"type": "array", "items": inner}
    fields = [{"name": "key", "type": "string"}, {"name": "value", "type": inner}]
    return {"type": "array", "items": {"type": "record", "name": "Entry", "fields": fields}}


def _record(schema: Schema, named: dict[str, Any], inside: tuple[str, ...], space: str) -> Any:
    full = _full(schema, space)
    named[full] = schema
    fields = []
    for one in schema["fields"]:
        kind = _plain(one["type"], named, (*inside, full), full.rpartition(".")[0])
        if kind is None:
            return None
        fields.append({"name": one["name"], "type": kind})
    return {"type": "record", "name": "R", "fields": fields}


def _full(schema: Schema, space: str) -> str:
    name = str(schema["name"])
    space = schema.get("namespace", space) if "." not in name else ""
    return f"{space}.{name}" if space else name


def _bare(schema: Any) -> Any:
    """Without logical types, whose values fastavro would turn into others."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if isinstance(schema, dict):
        return {key: _bare(one) for key, one in schema.items() if key != "logicalType"}
    return schema


__all__ = ["AvroReader", "Values"]
