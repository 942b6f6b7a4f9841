"""JSON values to columns, by the schema that stands in them, or that a registry keeps for them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from .jsonschema import connect_of
from .own import event_of

Schema = Mapping[str, Any]
_KINDS: dict[str, Any] = {
    "int8": pl.Int64, "int16": pl.Int64, "int32": pl.Int64, "int64": pl.Int64, "boolean": pl.Boolean, "string": pl.String,
    "bytes": pl.String, "float": pl.String, "double": pl.String,
}  # fmt: skip
_HEAD, _MIDDLE = b'{"schema":', b',"payload":'


def schemas_of(values: pa.Array[Any]) -> Iterator[tuple[bytes, np.ndarray]]:
    """The schemas that stand in the values, each with the places of its values."""
    raw = pl.Series("v", pl.from_arrow(values.cast(pa.large_binary())))
    cut = raw.bin.starts_with(_HEAD) & raw.bin.contains(_MIDDLE)
    if not cut.any():
        yield b"", np.arange(len(raw))
        return
    text = raw.cast(pl.String)
    ends = text.str.find(_MIDDLE.decode(), literal=True)
    heads = pl.DataFrame(
        {"head": pl.select(pl.when(cut).then(text.str.slice(0, ends)).otherwise(pl.lit("")).alias("v"))["v"]}
    ).with_row_index("at")
    for (head,), group in heads.group_by("head", maintain_order=True):
        yield str(head)[len(_HEAD) :].encode(), group["at"].to_numpy().astype(np.int64)


@dataclass(frozen=True, slots=True)
class JsonReader:
    """Reads values of one schema; `wrapped` ones have it with them. Without a schema, values are what JSON says they are."""

    connect: Schema
    wrapped: bool = False

    @classmethod
    def embedded(cls, text: str, form: str) -> JsonReader:
        """Of the schema in the values; our own event has that of its row there."""
        if not text:
            return cls({"type": "struct", "fields": []})
        schema = json.loads(text)
        is_event = form == "bitvelocity" and not str(schema.get("name", "")).endswith(".Key")
        return cls(event_of(schema)) if is_event else cls(schema, wrapped=True)

    @classmethod
    def registered(cls, text: str) -> JsonReader:
        return cls(connect_of(json.loads(text)))

    def read(self, values: pa.Array[Any], skip: int = 0, *, only: Collection[str] = ()) -> pl.DataFrame:  # noqa: ARG002 - all is read
        raw = pl.Series("v", pl.from_arrow(values.cast(pa.large_binary())))
        text = (raw.bin.slice(skip) if skip else raw).cast(pl.String)
        return decoded(text, self.connect, "payload" if self.wrapped else "")


def decoded(text: pl.Series, connect: Schema, within: str = "") -> pl.DataFrame:
    """The fields of JSON objects, or of what they have under `within`."""
    if connect["type"] != "struct" or not connect.get("fields"):
        raise ValueError("the value has no schema, and so nobody knows what its fields are")
    kind = kind_of(connect)
    if _has_maps(connect):
        values = [json.loads(one)[within] if within else json.loads(one) for one in text.to_list()]
        return pl.DataFrame([_listed(connect, one) for one in values], schema=dict(kind), strict=False)
    if within:
        text = text.str.json_decode(pl.Struct({within: kind})).struct.field(within)
        return text.struct.unnest()
    return text.str.json_decode(kind).struct.unnest()


def _has_maps(schema: Schema) -> bool:
    inner = [*schema.get("fields", ()), *([schema["items"]] if "items" in schema else ())]
    return schema["type"] == "map" or any(map(_has_maps, inner))


def _listed(schema: Schema, value: Any) -> Any:
    """Maps as lists of their entries, which is what columns can hold; numbers that are read as text, as text."""
    kind = schema["type"]
    if value is None:
        return None
    if kind == "struct":
        return {one["field"]: _listed(one, value.get(one["field"])) for one in schema["fields"]}
    if kind == "array":
        return [_listed(schema["items"], one) for one in value]
    if kind == "map":
        return [{"key": key, "value": one} for key, one in value.items()]
    return str(value) if kind in ("float", "double") else value


def kind_of(schema: Schema) -> Any:
    """What JSON's values are read as: numbers that JSON cannot hold, and bytes, as text at first."""
    kind = schema["type"]
    if kind == "struct":
        return pl.Struct({one["field"]: kind_of(one) for one in schema["fields"]})
    if kind == "array":
        return pl.List(kind_of(schema["items"]))
    if kind == "map":
        return pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
    return _KINDS[kind]


__all__ = ["JsonReader", "decoded", "kind_of", "schemas_of"]
