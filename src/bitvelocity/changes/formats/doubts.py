"""What contradicts a column's declaration, or could mean two things, in JSON that does not say what its values are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from .described import ColumnFacts, Described
from .layout import Schema
from .options import Options
from .printed import ENDLESS
from .texts import CLOCKS, END, UNITS, text_of

CONTRADICTED, UNCLEAR = "ModeContradicted", "ModeUnclear"
Doubt = tuple[np.ndarray, str, str]
"""Rows, why, and the code of it."""

_DECIMAL, _BYTES, _INTERVAL = (1700, 790), 17, 1186
_MODES = {
    **dict.fromkeys(_DECIMAL, "decimal_handling_mode"), _BYTES: "binary_handling_mode", _INTERVAL: "interval_handling_mode",
    **dict.fromkeys((1082, 1083, 1114), "time_precision_mode"),
}  # fmt: skip
"""The option that says how values of a type are written."""
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_URL_SAFE = _BASE64.replace("+/", "_-")
_HEX = r"^(?:[0-9a-f]{2})*$"
_ENDLESS_TEXT = ["NaN", "Infinity", "-Infinity"]
_YEAR_2100_MS = 4_102_444_800_000
_DAY = 86_400
_FIRST = -210_900_000_000
"""Seconds to PostgreSQL's first year, 4713 BC."""
_LONG = (1 << 63) - 1
_EXPECTED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("int8", "int16", "int32", "int64"), ("int",)), **dict.fromkeys(("float", "double"), ("int", "number")),
    "boolean": ("boolean",), "string": ("string",), "bytes": ("string",), "struct": ("object",), "map": ("object",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a declared table's rows. `wire` is its schema, had it one; `read` the one that it is read by."""

    field: str
    wire: Schema
    read: Schema
    oid: int
    option: str | None
    """What says how its values are written."""
    scale: int | None
    """Of a decimal with declared digits."""

    @classmethod
    def of(cls, field: str, wire: Schema, facts: ColumnFacts, described: Described) -> Column:
        """As it is described: its type, or that of its elements."""
        oid, scale = facts.type, (facts.modifier - 4) & 0x7FF if facts.modifier >= 4 else None
        made = described.types.get(oid)
        kind = made.target if made is not None and made.kind == "array" else oid
        option = "hstore_handling_mode" if made is not None and made.name == "hstore" else _MODES.get(kind)
        return cls(field, wire, {"type": "bytes"} if oid == _BYTES else wire, kind, option, scale)


class Doubts:
    """What is wrong with values under these options. `given` are the names of those that a person wrote."""

    def __init__(self, options: Options, given: frozenset[str]) -> None:
        self._options, self._given = options, given

    def of(self, column: Column, values: pl.Series, kinds: frozenset[str]) -> Iterator[Doubt]:
        """`kinds`: what JSON has in the column, in all rows together."""
        if values.null_count() == len(values):
            return
        if (reason := self.odd_kind(column, kinds)) is not None:
            yield self._odd_rows(column, values, kinds), reason, CONTRADICTED
        if column.wire["type"].startswith("int"):
            values = values.cast(pl.Int64, strict=False)
        if column.wire["type"] == "array":
            yield from self._within(column, values)
        else:
            yield from self._valued(column, column.wire, values)

    def as_read(self, column: Column, values: pl.Series) -> pl.Series:
        """Values as what reads them wants them."""
        return values if column.read is column.wire else _as_base64(values, self._options.binary_handling_mode)

    def odd_kind(self, column: Column, kinds: frozenset[str]) -> str | None:
        """Why the column has not what JSON has in it."""
        odd = kinds - _kinds(column.wire)
        return self._says(column, f"is written as {' or '.join(sorted(odd))} in JSON") if odd else None

    def _odd_rows(self, column: Column, values: pl.Series, kinds: frozenset[str]) -> np.ndarray:
        """Rows of another kind. What is endless is a text where numbers are."""
        some = values.is_not_null()
        if column.wire["type"] in ("float", "double") and "string" in kinds:
            some &= ~values.is_in(_ENDLESS_TEXT)
        if column.wire["type"] == "array" and column.wire["items"]["type"] in ("float", "double") and "[]string" in kinds:
            some &= values.list.eval(~pl.element().is_in(_ENDLESS_TEXT)).list.any().fill_null(value=False)
        if values.dtype == pl.String and column.wire["type"].startswith("int"):
            some &= values.cast(pl.Int64, strict=False).is_null() | ~values.str.contains(r"^-?\d+$")
        return some.to_numpy()

    def _within(self, column: Column, lists: pl.Series) -> Iterator[Doubt]:
        """Of an array's elements."""
        rows = pl.DataFrame({"row": np.arange(len(lists)), "v": lists}).explode("v").drop_nulls()
        for mask, reason, code in self._valued(column, column.wire["items"], rows["v"]):
            whole = np.zeros(len(lists), bool)
            whole[rows["row"].to_numpy()[mask]] = True
            yield whole, reason, code

    def _valued(self, column: Column, wire: Schema, values: pl.Series) -> Iterator[Doubt]:
        name = wire.get("name") or ""
        if wire["type"] == "struct" and "value" in (parts := values.struct.fields):
            yield self._unlike(column, values.struct.field(parts[parts.index("value")]), _BASE64, "base64")
        elif column.oid in _DECIMAL and wire["type"] == "string":
            yield self._unlike(column, values, _decimal_text(column.scale), "a decimal")
        elif column.oid == _BYTES:
            yield from self._binary(column, values)
        elif wire["type"] == "bytes":
            yield self._unlike(column, values, _BASE64, "base64")
            if column.oid in _DECIMAL:
                yield from self._decimals(column, wire, values)
        elif name in UNITS or name in CLOCKS:
            yield from self._moments(column, name, values)

    def _unlike(self, column: Column, values: pl.Series, form: str, what: str) -> Doubt:
        return _mask(~values.str.contains(form)), self._says(column, f"is not {what}"), CONTRADICTED

    def _decimals(self, column: Column, wire: Schema, values: pl.Series) -> Iterator[Doubt]:
        """Base64 of a number; of digits alone it may be the number itself, as another mode writes it."""
        if "decimal.handling.mode" not in self._given:
            unclear = values.str.contains("^[0-9]+$") | (values == "Infinity")
            yield _mask(unclear), self._says(column, "is base64 or the number itself", unclear=True), UNCLEAR
        digits = int((wire.get("parameters") or {}).get("connect.decimal.precision", 0))
        if digits:
            valid = values.str.contains(_BASE64)
            text = text_of(wire, pl.select(pl.when(valid).then(values).alias("v"))["v"])
            length = text.str.replace_all(r"[-.]", "").str.strip_chars_start("0").str.len_bytes()
            yield _mask(length > digits), self._says(column, f"has more than {digits} digits"), CONTRADICTED

    def _binary(self, column: Column, values: pl.Series) -> Iterator[Doubt]:
        mode = self._options.binary_handling_mode
        form = {"hex": _HEX, "base64-url-safe": _URL_SAFE}.get(mode, _BASE64)
        yield self._unlike(column, values, form, mode if mode != "bytes" else "base64")
        if "binary.handling.mode" not in self._given:
            unclear = values.str.contains(_HEX) & (values != "") & (values.str.len_bytes() % 4 == 0)
            yield _mask(unclear), self._says(column, "is base64 or hexadecimal digits", unclear=True), UNCLEAR

    def _moments(self, column: Column, name: str, values: pl.Series) -> Iterator[Doubt]:
        """Counted in a unit that nothing tells: what lies out of all time was counted in another one."""
        adaptive, numbers = self._options.time_precision_mode.startswith("adaptive"), values.cast(pl.Int64)
        if name in CLOCKS:
            beyond = (numbers < 0) | (numbers > _DAY * CLOCKS[name])
            small = numbers.is_between(1, _DAY * 1000) if self._options.time_precision_mode == "adaptive" else None
        else:
            unit = UNITS[name]
            beyond = ~numbers.is_in(list(ENDLESS)) & ((numbers >= min(END * unit, _LONG)) | (numbers < max(_FIRST * unit, -_LONG)))
            small = numbers.is_between(1, _YEAR_2100_MS) if adaptive else None
        yield _mask(beyond), self._says(column, "is counted in another unit"), CONTRADICTED
        if small is not None and name.rpartition(".")[2].startswith("Micro"):
            yield _mask(small), self._says(column, "is counted in microseconds or, of a column of three digits, in milliseconds", unclear=True), UNCLEAR

    def _says(self, column: Column, what: str, *, unclear: bool = False) -> str:
        """In words, with the option that was taken. Values are not told."""
        if column.option is None:
            return f"the value has no schema, and column {column.field} {what}: it is not as it is declared"
        name = column.option.replace("_", ".")
        mode, known = getattr(self._options, column.option), name in self._given
        by = f"{name}={mode}" + ("" if known else ", Debezium's default")
        return f"the value has no schema, and column {column.field} {what}: " + (f"{by}, does not tell" if unclear else f"not by {by}")


def _as_base64(values: pl.Series, mode: str) -> pl.Series:
    """Bytes that are written otherwise."""
    if mode == "hex":
        return values.str.decode("hex").bin.encode("base64")
    return values.str.replace_all("-", "+", literal=True).str.replace_all("_", "/", literal=True)


def _kinds(wire: Schema) -> frozenset[str]:
    if wire["type"] == "array":
        return frozenset(("array", *(f"[]{one}" for one in _kinds(wire["items"]))))
    return frozenset(_EXPECTED[wire["type"]])


def _mask(values: pl.Series) -> np.ndarray:
    mask: np.ndarray = values.fill_null(value=False).to_numpy()
    return mask


def _decimal_text(scale: int | None) -> str:
    """With as many digits after the point as the column has; of an old row that was not sent it is a mere 0."""
    number = r"-?\d+(?:\.\d+)?" if scale is None else r"-?\d+" if not scale else rf"0|-?\d+\.\d{{{scale}}}"
    return rf"^(?:{number}|NaN|-?Infinity)$"


__all__ = ["CONTRADICTED", "UNCLEAR", "Column", "Doubts"]
