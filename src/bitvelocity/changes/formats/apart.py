"""Values told apart by their schema: the frame before each names it, or a header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from .avro.reading import Values

_FRAME = 5
GLOBAL = b"globalId"
"""Stands for an id of Apicurio's by which a registry of Confluent's kind cannot be asked."""


@dataclass(frozen=True, slots=True)
class Group:
    """Values of one schema, where they stand, and how many bytes are before each."""

    rows: np.ndarray
    values: Values
    skip: int

    def part(self, part: slice | np.ndarray) -> Group:
        values = self.values[part] if isinstance(part, slice) else self.values.take(pa.array(part, pa.int64()))
        return Group(self.rows[part], values, self.skip)


def tell_apart(column: Values, guids: pl.Series) -> Iterator[tuple[bytes, Group]]:
    """The values of each schema, with its name; without a name are those that no registry has the schema of."""
    if guids.null_count() == len(guids) and (alike := _alike(column)) is not None:
        yield alike
        return
    values = whole(column)
    frame = pl.DataFrame(
        {"v": pl.Series(pl.from_arrow(values.cast(pa.large_binary()))), "g": guids}
    ).with_row_index("row")
    framed = pl.col("v").bin.starts_with(b"\0") & (pl.col("v").bin.size() >= _FRAME)
    named = frame.filter(pl.col("v").is_not_null()).select(
        "row",
        skip=pl.when(pl.col("g").is_not_null()).then(0).when(framed).then(_FRAME).otherwise(0),
        name=pl.when(pl.col("g").is_not_null())
        .then(_named())
        .when(framed)
        .then(pl.col("v").bin.slice(1, 4))
        .otherwise(pl.lit(b"")),
    )
    for (name, skip), found in named.group_by("name", "skip", maintain_order=True):
        rows = found["row"].to_numpy().astype(np.int64)
        yield bytes(name), Group(rows, _chosen(values, rows), int(skip))


def _alike(values: Values) -> tuple[bytes, Group] | None:
    """All values, where they lie, if the same frame stands before each: that is how one program writes them. Else None."""
    chunks = [chunk for chunk in (values.chunks if isinstance(values, pa.ChunkedArray) else [values]) if len(chunk)]
    found = [_framed(chunk) for chunk in chunks]
    alike = [one for one in found if one is not None and one[0] == found[0][0]] if found and found[0] else []
    if not alike or len(alike) < len(found):
        return None
    begins = np.cumsum([0, *map(len, chunks)])
    held: Any = [group.values for _, group in alike]
    rows = np.concatenate([group.rows + begin for (_, group), begin in zip(alike, begins, strict=False)])
    return alike[0][0], Group(rows, pa.chunked_array(held), _FRAME)


def _framed(values: pa.Array[Any]) -> tuple[bytes, Group] | None:
    """The values of one array, as `_alike`."""
    rows = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    buffers: list[Any] = values.buffers()
    if not len(rows) or not pa.types.is_binary(values.type) or not buffers[1] or not buffers[2]:
        return None
    offsets = np.frombuffer(buffers[1], np.int32)[values.offset : values.offset + len(values) + 1]
    begins = offsets[:-1][rows]
    if (offsets[1:][rows] - begins < _FRAME).any():
        return None
    frames = np.frombuffer(buffers[2], np.uint8)[begins[:, None] + np.arange(_FRAME, dtype=np.int32)]
    if frames[0, 0] or (frames != frames[0]).any():
        return None
    return frames[0, 1:].tobytes(), Group(rows, _chosen(values, rows), _FRAME)


def _chosen(values: pa.Array[Any], rows: np.ndarray) -> pa.Array[Any]:
    """Some values, in their order. Where only empty ones are left out (tombstones), their bytes stay where they are."""
    if len(rows) == len(values):
        return values
    buffers: list[Any] = values.buffers()
    _, ends, content = buffers
    if pa.types.is_binary(values.type) and len(rows) and ends and content:
        offsets = np.frombuffer(ends, np.int32)[values.offset : values.offset + len(values) + 1]
        kept = np.append(offsets[rows], offsets[rows[-1] + 1])
        if np.array_equal(kept[1:], offsets[rows + 1]):
            return pa.Array.from_buffers(values.type, len(rows), [None, pa.py_buffer(kept.tobytes()), content])
    return values.take(pa.array(rows, pa.int64()))


def _named() -> pl.Expr:
    """By what a header names a schema: 17 bytes are Confluent's GUID behind a mark, 8 an id of which the last 4 tell."""
    told = pl.col("g")
    return pl.when(told == GLOBAL).then(told).when(told.bin.size() == 8).then(told.bin.slice(4, 4)).otherwise(told.bin.slice(1, 16))


def with_apicurio(heads: dict[str, pl.Series]) -> dict[str, pl.Series]:
    """Apicurio's converter names schemas in headers of its own, by 8 bytes: as if they were Confluent's."""
    for part in ("key", "value"):
        mine = f"__{part}_schema_id"
        content, other = (heads[f"apicurio.{part}.{kind}"] for kind in ("contentId", "globalId"))
        if content.null_count() < len(content) or other.null_count() < len(other):
            stands = pl.when(pl.lit(other).is_not_null()).then(pl.lit(GLOBAL))
            heads[mine] = pl.select(pl.coalesce(heads[mine], content, stands).alias("v"))["v"]
    return heads


def whole(column: Any) -> pa.Array[Any]:
    """The column as one array."""
    found: pa.Array[Any] = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return found
