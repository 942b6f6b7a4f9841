"""Columns of values, as PostgreSQL prints them, to columns of JSON text, as Kafka Connect's converter prints them.

Each function takes a column of strings and gives one; NULL stays NULL. What is odd (a number in exponent form, a year
BC) goes value by value, once for each distinct value.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

Encode: TypeAlias = Callable[[pl.Series], pl.Series]

_CONTROL = [chr(code) for code in range(32)]
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_ESCAPED = ['"', "\\", *_CONTROL]
_ESCAPES = ['\\"', "\\\\", *(_SHORT.get(one, f"\\u{ord(one):04X}") for one in _CONTROL)]
_NEEDS_ESCAPE = r'["\\\x00-\x1f]'


_ASTRAL = r"[\x{10000}-\x{10FFFF}]"


def json_string(text: str) -> str:
    """One string as Jackson writes it: quotes, backslashes, control characters, and what takes four bytes, are escaped."""
    known = dict(zip(_ESCAPED, _ESCAPES, strict=True))
    return '"' + "".join(known.get(one, one) if ord(one) < 0x10000 else _pair(one) for one in text) + '"'


def _pair(character: str) -> str:
    """A character beyond the first plane, as the two escapes of UTF-16."""
    units = character.encode("utf-16-be").hex().upper()
    return f"\\u{units[:4]}\\u{units[4:]}"


def _astral(text: str) -> str:
    return "".join(one if ord(one) < 0x10000 else _pair(one) for one in text)


def by_value(convert: Callable[[str], str | None]) -> Encode:
    """An encoder from a function of one value; it is called once for each distinct one."""

    def encode(values: pl.Series) -> pl.Series:
        known = values.drop_nulls().unique()
        if not len(known):
            return values
        return values.replace_strict(known, [convert(one) for one in known], default=None, return_dtype=pl.String)

    return encode


def glue(*parts: pl.Series | str) -> pl.Series:
    """The parts joined row by row; NULL where one of them is."""
    columns = {f"c{number}": part for number, part in enumerate(parts) if isinstance(part, pl.Series)}
    exprs = [pl.col(f"c{n}") if isinstance(part, pl.Series) else pl.lit(part) for n, part in enumerate(parts)]
    return pl.DataFrame(columns).select(pl.concat_str(exprs).alias("v"))["v"]


def plain(values: pl.Series) -> pl.Series:
    """Text that is JSON as it stands: whole numbers, JSON made elsewhere."""
    return values


def safe_quoted(values: pl.Series) -> pl.Series:
    """Strings that need no escape: uuids, hex, base64."""
    return glue('"', values, '"')


def quoted(values: pl.Series) -> pl.Series:
    """Any strings."""
    if values.str.contains(_NEEDS_ESCAPE).any():
        values = values.str.replace_many(_ESCAPED, _ESCAPES)
    if values.str.contains(_ASTRAL).any():
        values = by_value(_astral)(values)
    return safe_quoted(values)


def booleans(values: pl.Series) -> pl.Series:
    return pl.select(pl.when(values == "t").then(pl.lit("true")).when(values == "f").then(pl.lit("false")))[
        "literal"
    ].alias(values.name)


_EXACT = r"^-?(?:[1-9]\d{0,6}|0)\.(?:\d*[1-9]|0)$"
_SMALL = r"^-?0\.(?:0|000\d*)$"
_WHOLE = r"^-?(?:[1-9]\d{0,6}|0)$"


def floats(values: pl.Series) -> pl.Series:
    """Shortest exact floats, as Java prints them: `1.0E20`, `0.1`, `5.0`, `"NaN"`."""
    odd = by_value(java_float)
    frame = pl.DataFrame({"v": values}).with_columns(
        exact=pl.col("v").str.contains(_EXACT) & ~pl.col("v").str.contains(_SMALL),
        whole=pl.col("v").str.contains(_WHOLE),
    )
    if frame["exact"].fill_null(value=True).all():
        return values
    rest = frame.select(pl.when(~pl.col("exact") & ~pl.col("whole")).then("v").alias("v"))["v"]
    return frame.with_columns(rest=odd(rest)).select(
        pl.when("exact").then("v").when("whole").then(pl.concat_str("v", pl.lit(".0"))).otherwise("rest").alias("v")
    )["v"]


def java_float(text: str) -> str:
    """One float as `Double.toString` gives it."""
    if text in ("NaN", "Infinity", "-Infinity"):
        return f'"{text}"'
    sign, digits, exponent = Decimal(text).as_tuple()
    written = "".join(map(str, digits))
    letters, minus = written.strip("0"), "-" if sign else ""
    if not letters:
        return minus + "0.0"
    power = int(exponent) + len(written.lstrip("0")) - 1
    if -3 <= power < 7:
        point = power + 1
        if point <= 0:
            return f"{minus}0.{'0' * -point}{letters}"
        whole, part = letters[:point].ljust(point, "0"), letters[point:]
        return f"{minus}{whole}.{part or '0'}"
    return f"{minus}{letters[0]}.{letters[1:] or '0'}E{power}"


def numeric_as_double(values: pl.Series) -> pl.Series:
    """Decimals as the nearest double."""
    short = values.str.replace(r"(\.\d*[1-9])0+$", "$1").str.replace(r"\.0+$", "")
    return floats(by_value(lambda text: repr(float(text)).replace("inf", "Infinity").replace("nan", "NaN"))(short))


def unscaled_bytes(values: pl.Series) -> pl.Series:
    """The unscaled value: big-endian two's complement in as few bytes as it takes. NaN becomes NULL."""
    digits = values.str.replace(".", "", literal=True)
    numbers = digits.cast(pl.Int64, strict=False)
    done = _bytes_of(numbers)
    if numbers.null_count() == values.null_count():
        return done
    wide = pl.select(pl.when(numbers.is_null()).then(digits).alias("v"))["v"].drop_nulls().unique()
    known = pl.Series("b", [_wide(text) for text in wide], pl.Binary)
    found = digits.to_frame("d").join(
        pl.DataFrame({"d": wide, "b": known}), on="d", how="left", maintain_order="left"
    )["b"]
    return pl.select(pl.coalesce(done, found).alias("v"))["v"]


def unscaled(values: pl.Series) -> pl.Series:
    """Base64 of the unscaled value."""
    return unscaled_bytes(values).bin.encode("base64")


def _wide(text: str) -> bytes | None:
    try:
        number = int(text)
    except ValueError:  # NaN and the infinities, which a decimal of Connect cannot hold
        return None
    width = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return number.to_bytes(width, "big", signed=True)


def _bytes_of(numbers: pl.Series) -> pl.Series:
    filled = numbers.fill_null(0).to_numpy()
    magnitude = np.where(filled < 0, ~filled, filled)
    widths = np.ones(len(filled), np.int64)
    for byte in range(1, 8):
        widths += magnitude >= (1 << (8 * byte - 1))
    raw = filled.astype(">i8").view(np.uint8).reshape(-1, 8)
    kept = raw[np.arange(8) >= (8 - widths)[:, None]]
    offsets = np.append(0, np.cumsum(widths)).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(np.ascontiguousarray(kept).data)]
    binary = pl.Series(pl.from_arrow(pa.Array.from_buffers(pa.large_binary(), len(filled), buffers)))
    return pl.select(pl.when(numbers.is_not_null()).then(binary).alias("v"))["v"]


def decimals(values: pl.Series) -> pl.Series:
    """Decimals whose scale the schema says."""
    return safe_quoted(unscaled(values))


def variable_decimals(values: pl.Series) -> pl.Series:
    """Decimals that bring their scale with them, without zeros at the end."""
    short = values.str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".")
    point = short.str.find(".", literal=True)
    scale = pl.select(
        pl.when(point.is_null()).then(0).otherwise(short.str.len_bytes().cast(pl.Int64) - point - 1).cast(pl.String).alias("v")
    )["v"]
    return glue('{"scale":', scale, ',"value":"', unscaled(short), '"}')


def number_text(*, strict: bool) -> Encode:
    """Decimals as text; Debezium says NaN in capitals."""
    return (lambda values: safe_quoted(values.replace("NaN", "NAN"))) if strict else safe_quoted


def money(values: pl.Series) -> pl.Series:
    """`$1,234.50` as a plain decimal."""
    return values.str.replace_all(r"[^0-9.\-]", "")


def hex_to_base64(values: pl.Series) -> pl.Series:
    return safe_quoted(values.str.strip_prefix("\\x").str.decode("hex").bin.encode("base64"))


def hex_to_url_safe(values: pl.Series) -> pl.Series:
    return hex_to_base64(values).str.replace_all("+", "-", literal=True).str.replace_all("/", "_", literal=True)


def hex_as_text(values: pl.Series) -> pl.Series:
    return safe_quoted(values.str.strip_prefix("\\x"))


def bits(width: int) -> Encode:
    """Bit strings: a boolean for one bit, else bytes with the lowest first."""
    if width == 1:
        return lambda values: booleans(values.replace_strict(["1", "0"], ["t", "f"], default=None))

    def one(text: str) -> str:
        return f'"{base64.b64encode(int(text or "0", 2).to_bytes(-(-len(text) // 8), "little")).decode()}"'

    return by_value(one)
