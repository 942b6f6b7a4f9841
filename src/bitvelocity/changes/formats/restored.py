"""Values that were read, to batches: what happened where, both images as text, halves of one change put together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from ..batch import AFTER, BEFORE, DETAIL_FIELDS, SYSTEM_FIELDS, Batch
from .extracted import Extracted, extract
from .layout import Schema
from .texts import text_of

_SYSTEM: dict[Any, Any] = {name: pl.String for name, _ in SYSTEM_FIELDS} | {
    "_lsn": pl.Int64, "_ordinal": pl.Int32, "_xid": pl.Int64, "_committed_at": pl.Datetime("us", "UTC"),
}  # fmt: skip
_DETAIL: dict[Any, Any] = {"_row_lsn": pl.Int64, "_old": pl.String}


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of the records beside their values. `own` has `bv-change` by column, for all records."""

    form: str
    relation: str
    heads: Mapping[str, pl.Series]
    own: pl.DataFrame | None
    placeholder: str

    def text(self, name: str, rows: np.ndarray) -> pl.Series:
        """A header of these rows."""
        return _of_rows(self.heads[name], rows).cast(pl.String)


_Rows = TypeVar("_Rows", pl.Series, pl.DataFrame)


def _of_rows(held: _Rows, rows: np.ndarray) -> _Rows:
    """What stands in these rows: mostly they are all, and nothing has to be copied."""
    return held if len(rows) == len(held) and np.array_equal(rows, np.arange(len(rows))) else held[rows]


@dataclass(frozen=True, slots=True)
class Piece:
    """Changes of one table and one shape. `rows` has `_row` (place among the records), system columns and images."""

    relation: str
    columns: tuple[str, ...]
    rows: pl.DataFrame

    @classmethod
    def of_keys(cls, told: Told, rows: np.ndarray, frame: pl.DataFrame, schema: Schema) -> Piece:
        """Deletes of which only the key is left."""
        names = [(name, one) for name, one in _names(told, rows, schema["fields"]) if one is not None]
        empty = [
            pl.repeat(None, len(rows), dtype=pl.String, eager=True).alias(AFTER + name) for name, _ in names
        ]
        before = [text_of(one, frame[one["field"]]).alias(BEFORE + name) for name, one in names]
        nothing = pl.Series("op", ["d"] * len(rows))
        facts = _facts(told, rows, Extracted.of_nothing(nothing))
        relation = _relations(told, rows, None)[0]
        return cls(relation, tuple(name for name, _ in names), facts.with_columns(*empty, *before))


def pieces_of(
    told: Told, rows: np.ndarray, frame: pl.DataFrame, schema: Schema, *, keys: Sequence[str]
) -> Iterator[Piece]:
    """The changes among values of one schema; what is none (a message, the end of a transaction) gives nothing."""
    found = extract(told.form, frame, schema)
    if found is None or not len(rows):
        return
    relations = _relations(told, rows, found)
    for relation in relations.unique(maintain_order=True):
        which = (relations == relation).to_numpy()
        part = found if which.all() else found.filter(which)
        yield _piece(told, str(relation), rows[which], part, keys=keys)


def _relations(told: Told, rows: np.ndarray, found: Extracted | None) -> pl.Series:
    said = told.text("ce_subject", rows)
    own = found.relation if found is not None and found.relation is not None else said
    return pl.select(pl.coalesce(said, own, pl.lit(told.relation)).alias("v"))["v"]


def _piece(told: Told, relation: str, rows: np.ndarray, found: Extracted, *, keys: Sequence[str]) -> Piece:
    names = _names(told, rows, found.fields)
    made = _facts(told, rows, found)
    made = made.with_columns(
        *(_text(found.after, one, rows).alias(AFTER + name) for name, one in names),
        *(_text(found.before, one, rows).alias(BEFORE + name) for name, one in names),
    )
    key_columns = {name for name, one in names if one is not None and one["field"] in keys}
    made = _keys_only(made, [name for name, _ in names if name not in key_columns])
    made = _with_absent(made, told, [name for name, _ in names])
    made = _overlaid(made, _of_rows(told.heads["bv-unfit"], rows))
    return Piece(relation, tuple(name for name, _ in names), made)


def _names(told: Told, rows: np.ndarray, fields: Sequence[Schema]) -> list[tuple[str, Schema | None]]:
    """Columns of the table, each with its field, if it has one."""
    said = told.heads["bv-columns"].gather(rows[:1])
    by_field = {one["field"]: one for one in fields}
    if said.null_count() == len(said):
        return [(one["field"], one) for one in fields]
    pairs = json.loads(said[0])
    return [(name, by_field.get(field)) for name, field in pairs if field is None or field in by_field]


def _text(image: pl.Series, field: Schema | None, rows: np.ndarray) -> pl.Series:
    if field is None or image.null_count() == len(image):
        return pl.repeat(None, len(rows), dtype=pl.String, eager=True)
    text = text_of(field, image.struct.field(field["field"]))
    if image.null_count() and (image.is_null() & text.is_not_null()).any():  # some readers fill what is not there
        return pl.select(pl.when(image.is_not_null()).then(text).alias("v"))["v"]
    return text


def _facts(told: Told, rows: np.ndarray, found: Extracted) -> pl.DataFrame:
    """System columns, `_row`, and `_half`: which half of a changed key this is."""
    kind = found.op
    if told.own is not None:
        own = _of_rows(told.own, rows)
        half = pl.when((own["op"] == "u") & kind.is_in(["d", "c"])).then(kind)
        at = own["at"].cast(pl.Datetime("us", "UTC"))
        facts = pl.DataFrame(
            {"_op": own["op"], "_lsn": own["lsn"], "_ordinal": own["ordinal"].cast(pl.Int32), "_xid": own["xid"], "_committed_at": at,
             "_row_lsn": own["row_lsn"], "_old": own["old"]}
        )  # fmt: skip
    else:
        gone, come = (_of_rows(told.heads[f"__debezium.{name}"], rows).is_not_null() for name in ("newkey", "oldkey"))
        half = pl.when(((kind == "d") & gone) | ((kind == "c") & come)).then(kind)
        facts = found.facts()
    who = {
        "_operation_user": "bv-user",
        "_correlation_id": "bv-correlation-id",
        "_source": "bv-source",
        "_absent": "bv-absent",
    }
    texts = [
        pl.coalesce(told.text(header, rows), found.said.get(name)).alias(name) for name, header in who.items()
    ]
    sequence = pl.coalesce(pl.repeat(None, len(rows), dtype=pl.String), found.said.get("_sequence")).alias("_sequence")
    made = facts.with_columns(*texts, sequence, half.cast(pl.String).alias("_half"), pl.Series("_row", rows))
    return made.cast({**_SYSTEM, **_DETAIL})


def _keys_only(made: pl.DataFrame, others: Sequence[str]) -> pl.DataFrame:
    """Where the source sent the old key only, the other columns of that image say nothing."""
    if not (made["_old"] == "K").any():
        return made
    is_key = (pl.col("_old") == "K").fill_null(value=False)
    return made.with_columns(
        pl.when(~is_key).then(pl.col(BEFORE + name)).alias(BEFORE + name) for name in others
    )


def _with_absent(made: pl.DataFrame, told: Told, names: Sequence[str]) -> pl.DataFrame:
    """Columns that were not sent have no value; in foreign records a text of Debezium's stands for them."""
    if made["_absent"].null_count() < len(made):
        gone: dict[str, Any] = {
            name: pl.col("_absent")
            .str.contains(json.dumps(name, ensure_ascii=False), literal=True)
            .fill_null(value=False)
            for name in names
        }
    elif told.own is None:
        held = told.placeholder
        forms = (held, "\\x" + held.encode().hex(), f"{{{held}}}")
        gone = {
            name: made[AFTER + name].is_in(forms).fill_null(value=False) for name in names
            if made[AFTER + name].is_in(forms).any()
        }  # fmt: skip
        said = [
            pl.when(which).then(pl.lit(json.dumps(name, ensure_ascii=False))) for name, which in gone.items()
        ]
        if said:
            listed = pl.concat_str(said, separator=", ", ignore_nulls=True)
            made = made.with_columns(
                pl.when(listed != "").then(pl.concat_str(pl.lit("["), listed, pl.lit("]"))).alias("_absent")
            )
    else:
        return made
    return made.with_columns(
        pl.when(~which).then(pl.col(AFTER + name)).alias(AFTER + name) for name, which in gone.items()
    )


def _overlaid(made: pl.DataFrame, told: pl.Series) -> pl.DataFrame:
    """Values that travelled beside their fields. Few rows have any."""
    places = told.is_not_null().arg_true().to_list()
    changes: dict[str, dict[int, str | None]] = {}
    for place in places:
        for side, values in json.loads(told[place]).items():
            for name, value in values.items():
                changes.setdefault(f"{side}_{name}", {})[place] = value
    for name, values in changes.items():
        if name in made.columns:
            column = made[name].scatter(list(values), pl.Series(list(values.values()), dtype=pl.String))
            made = made.with_columns(column.alias(name))
    return made


def _joined(made: pl.DataFrame, *, is_own: bool) -> pl.DataFrame:
    """A delete and a create that were one change of the key are one again, if both are here."""
    plain = made.filter(pl.col("_half").is_null())
    if len(plain) < len(made):
        place = ["_lsn", "_ordinal"]
        if not is_own:
            made = made.with_columns(_ordinal=pl.int_range(pl.len(), dtype=pl.Int32).over("_lsn", "_half"))
        gone, come = (made.filter(pl.col("_half") == half) for half in ("d", "c"))
        images = [name for name in made.columns if name.startswith(BEFORE)]
        both = (
            come.drop(images).join(gone.select(*place, *images), on=place, how="inner").select(made.columns)
        )
        rest = [
            gone.join(both, on=place, how="anti").with_columns(_op=pl.lit("d")), come.join(both, on=place, how="anti").with_columns(_op=pl.lit("c")),
        ]  # fmt: skip
        plain = pl.concat([plain, both.with_columns(_op=pl.lit("u")), *rest])
    plain = plain.drop("_half")
    if is_own:
        return plain
    given = pl.coalesce("_given", pl.int_range(pl.len()).over("_lsn")).cast(pl.Int32)
    return plain.sort("_row").with_columns(_ordinal=given)


def batches_of(
    told: Told, pieces: Iterable[Piece], *, detail: bool, sequence: bool = False
) -> Iterator[Batch]:
    """One batch for each table and run of one shape; our own records in the order of the source."""
    by_table: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_table.setdefault(piece.relation, []).append(piece)
    order = ["_lsn", "_ordinal", "_row"] if told.own is not None else ["_row"]
    for relation, found in by_table.items():
        by_shape: dict[tuple[str, ...], list[pl.DataFrame]] = {}
        for piece in found:
            by_shape.setdefault(piece.columns, []).append(piece.rows)
        shapes = [
            (columns, _sorted(_joined(pl.concat(rows, how="diagonal"), is_own=told.own is not None), order))
            for columns, rows in by_shape.items()
        ]
        for columns, rows in _runs(shapes, order):
            yield _batch(relation, columns, rows, detail=detail, sequence=sequence)


def _sorted(rows: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
    """By whole numbers, none of them NULL. What came of a few runs is put together fast."""
    keys = [rows[name].to_numpy() for name in reversed(order)]
    found = np.lexsort(keys)
    return rows if bool((found[1:] > found[:-1]).all()) else rows[found]


def _runs(
    shapes: list[tuple[tuple[str, ...], pl.DataFrame]], order: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], pl.DataFrame]]:
    if len(shapes) == 1:
        yield shapes[0]
        return
    places = pl.concat(
        rows.select(*order).with_row_index("at").with_columns(shape=pl.lit(n))
        for n, (_, rows) in enumerate(shapes)
    )
    ordered = places.sort(order).with_columns(run=pl.col("shape").rle_id())
    for _, run in ordered.group_by("run", maintain_order=True):
        columns, rows = shapes[run["shape"][0]]
        yield columns, rows[run["at"]]


def _batch(
    relation: str, columns: tuple[str, ...], rows: pl.DataFrame, *, detail: bool, sequence: bool
) -> Batch:
    fields = [*SYSTEM_FIELDS, *(DETAIL_FIELDS if detail else ())]
    fields += [(side + name, pa.string()) for side in (AFTER, BEFORE) for name in columns]
    fields += [("_sequence", pa.string()), ("_row", pa.int64())] if sequence else []
    arrays: list[Any] = [rows[name].to_arrow().cast(kind) for name, kind in fields]
    return Batch(relation, columns, pa.Table.from_arrays(arrays, schema=pa.schema(fields)))


__all__ = ["Piece", "Told", "batches_of", "pieces_of"]
