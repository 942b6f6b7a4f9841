"""Avro values to columns: under the header of an Avro file, Polars reads thousands of them at once.

The header's schema is ours to write, as long as the bytes mean the same: logical types are left out (what they say is in
Connect's schema), named types stand where they are used, a map is an array of keys and values, which is how Avro
writes one, and text is bytes: a column of them is found to be text at once, which is a tenth of the time faster. What Polars has no type for (a union of several types, a type inside itself) goes through fastavro.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ....errors import MissingExtraError
from .connected import connect_schema
from .varints import BINARY, fixed, glued, varint

Schema = Mapping[str, Any]
_SYNC = b"bitvelocity-wire"
_LAST, _END = "bv end of value", 0x3FF5_6D3A_0000_0000
"""A field that we put behind each value: a double, in whose bits is the value's number. A value that is longer or shorter
than its schema says would else be read into its neighbours."""
_PLAIN = ("boolean", "int", "long", "float", "double", "bytes", "string")


@dataclass(frozen=True, slots=True)
class AvroReader:
    """Reads values of one schema. `connect` is what Connect calls it."""

    schema: Any
    connect: Schema
    header: bytes | None
    """None: Polars has no type for it."""
    kinds: pl.Schema
    """The columns, with those as text that the header calls bytes."""

    @classmethod
    def of(cls, text: str, references: Iterable[str] = ()) -> AvroReader:
        """`references` are the texts of schemas that this one names, each before those that name it."""
        schema = _inlined(json.loads(text), [json.loads(one) for one in references])
        connect = connect_schema(schema)
        plain = _whole(schema) if isinstance(schema, dict) and schema.get("type") == "record" else None
        if plain is None:
            return cls(schema, connect, None, pl.Schema())
        kinds = pl.read_avro(io.BytesIO(_header(plain))).drop(_LAST).schema
        return cls(schema, connect, _header(_as_bytes(plain)), kinds)

    def read(self, values: pa.Array[Any], skip: int = 0) -> pl.DataFrame:
        """One row for each of the values, which are not NULL and have `skip` bytes before them."""
        if self.header is None:
            return self._slowly(values, skip)
        count = len(values)
        if not count:
            return pl.DataFrame(schema=self.kinds)
        ends = np.arange(count, dtype=np.int64) + _END
        data = _joined(values, skip, ends)
        frame = pl.read_avro(
            io.BytesIO(b"".join([self.header, varint(count), varint(len(data)), data, _SYNC]))
        )
        if not np.array_equal(frame[_LAST].to_numpy().view(np.int64), ends):
            raise ValueError("a value is longer or shorter than its schema says")
        frame = frame.drop(_LAST)
        return frame.with_columns(pl.col(name).cast(kind) for name, kind in self.kinds.items() if frame.schema[name] != kind)

    def _slowly(self, values: pa.Array[Any], skip: int) -> pl.DataFrame:
        try:
            import fastavro
        except ImportError as error:
            raise MissingExtraError(
                "Avro values of such a schema (a union of several types, a type inside itself) need fastavro.",
                remedy="pip install 'bitvelocity[registry]'",
            ) from error
        parsed = fastavro.parse_schema(_bare(self.schema))
        found = []
        raws: list[Any] = values.to_pylist()
        for raw in raws:
            stream = io.BytesIO(raw[skip:])
            found.append(fastavro.schemaless_reader(stream, parsed, None))
            if stream.read(1):
                raise ValueError("a value is longer than its schema says")
        if self.connect["type"] != "struct":
            found = [{"value": one} for one in found]
        return pl.DataFrame(found, infer_schema_length=None, strict=False)


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


def _header(schema: Any) -> bytes:
    text = json.dumps(schema).encode()
    pairs = ((b"avro.schema", text), (b"avro.codec", b"null"))
    told = b"".join(varint(len(part)) + part for pair in pairs for part in pair)
    return b"Obj\x01" + varint(len(pairs)) + told + b"\x00" + _SYNC


def _joined(values: pa.Array[Any], skip: int, ends: np.ndarray) -> memoryview:
    """The bytes of all values without the first `skip` of each, behind each its end."""
    cut = values.cast(BINARY)
    if skip:
        cut = pl.Series(pl.from_arrow(cut)).bin.slice(skip).to_arrow()
    joined = glued(cut, fixed(ends))
    buffers: Any = joined.buffers()
    return memoryview(buffers[2])


def _whole(schema: Any) -> Any:
    plain = _plain(schema, {}, ())
    return plain and {**plain, "fields": [*plain["fields"], {"name": _LAST, "type": "double"}]}


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


__all__ = ["AvroReader"]
