"""One value of Connect's as PostgreSQL prints it: the way back of the encoders, for all types.

A value is as the JSON converter has it, or with bytes as bytes. What a type cannot hold (the months of an interval that
became microseconds) cannot come back; the column's text is compared with this when it is written (see `unfit`).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

Schema = Mapping[str, Any]
_DAY = 86_400_000_000
_TIME, _CONNECT, _DATA = "io.debezium.time.", "org.apache.kafka.connect.data.", "io.debezium.data."


def printed(schema: Schema, value: Any) -> str | None:
    """NULL is None."""
    if value is None:
        return None
    special = _BY_NAME.get(schema.get("name") or "")
    return special(schema, value) if special is not None else _BY_TYPE[schema["type"]](schema, value)


def float_text(value: float, digits: int = 15) -> str:
    """The shortest that reads back; `digits` from which on it is written with an exponent."""
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    sign, figures, exponent = (
        Decimal(str(np.float32(value)) if digits < 15 else repr(value)).normalize().as_tuple()
    )
    written, minus = "".join(map(str, figures)), "-" if sign else ""
    power = int(exponent) + len(written) - 1
    if written == "0":
        return minus + "0"
    if -4 <= power < digits:
        return minus + format(Decimal((0, figures, int(exponent))), "f")
    mantissa = written[0] + ("." + written[1:] if len(written) > 1 else "")
    return f"{minus}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def decimal_text(unscaled: int, scale: int) -> str | None:
    """With all its digits after the point."""
    if not 0 <= scale <= 16383:
        return None
    digits, minus = str(abs(unscaled)).rjust(scale + 1, "0"), "-" if unscaled < 0 else ""
    return minus + (f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits)


def day_text(days: int) -> tuple[str, str]:
    """A date of the proleptic Gregorian calendar, and what stands behind it before the year 1."""
    moved = days + 719_468
    era, of_era = divmod(moved, 146_097)
    year_of = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of + year_of // 4 - year_of // 100)
    month_at = (5 * of_year + 2) // 153
    month = month_at + 3 if month_at < 10 else month_at - 9
    year = year_of + era * 400 + (month <= 2)
    day = of_year - (153 * month_at + 2) // 5 + 1
    return f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day:02d}", "" if year > 0 else " BC"


def clock_text(micros: int) -> str:
    """A time of day, its fraction as short as it is."""
    seconds, part = divmod(micros, 1_000_000)
    tail = f".{part:06d}".rstrip("0").rstrip(".")
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{tail}"


def array_text(items: list[str | None]) -> str:
    """As PostgreSQL prints an array of one dimension."""
    return "{" + ",".join("NULL" if item is None else _item(item) for item in items) + "}"


def _item(text: str) -> str:
    if text and text.upper() != "NULL" and not re.search(r'[{}",\\\s]', text):
        return text
    return _in_quotes(text)


def _in_quotes(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def raw(value: str | bytes) -> bytes:
    """Bytes, or their base64."""
    return value if isinstance(value, bytes) else base64.b64decode(value)


def _decimal(schema: Schema, value: Any) -> str | None:
    told = schema.get("parameters") or {}
    text = decimal_text(int.from_bytes(raw(value), "big", signed=True), int(told.get("scale", 0)))
    if "connect.decimal.precision" in told or text is None:
        return text
    return _money(text)


def _money(text: str) -> str:
    """A decimal of which no precision is told is `money`, in the locale C."""
    whole, _, part = text.lstrip("-").partition(".")
    return f"{'-' if text.startswith('-') else ''}${int(whole):,}.{part}"


def _variable(_: Schema, value: Any) -> str | None:
    return decimal_text(int.from_bytes(raw(value["value"]), "big", signed=True), int(value["scale"]))


def _bits(schema: Schema, value: Any) -> str:
    said = int((schema.get("parameters") or {}).get("length", 0))
    held = raw(value)
    width = said if 0 < said <= 8 * len(held) else 8 * len(held)
    return format(int.from_bytes(held, "little"), "b").rjust(width, "0") if width else ""


def _date(_: Schema, value: Any) -> str:
    if value in (2147483647, -2147483648):
        return "infinity" if value > 0 else "-infinity"
    return "".join(day_text(int(value)))


def _stamp(per_second: int) -> Callable[[Schema, Any], str]:
    def text(_: Schema, value: Any) -> str:
        micros = int(value) * 1_000_000 // per_second
        if value in ENDLESS:
            return ENDLESS[value]
        day, clock = divmod(micros, _DAY)
        date, era = day_text(day)
        return f"{date} {clock_text(clock)}{era}"

    return text


ENDLESS = {
    9223372036825200000: "infinity", 9223372036825200: "infinity", -9223372036832400000: "-infinity",
    -9223372036832400: "-infinity",
}  # fmt: skip
_ISO = re.compile(r"([+-]?)(\d{4,})-(\d\d-\d\d)(?:T([\d:.]+))?Z?")


def _iso(zone: str) -> Callable[[Schema, Any], str]:
    """Dates and moments in ISO's form."""

    def text(_: Schema, value: Any) -> str:
        found = _ISO.fullmatch(str(value))
        if found is None:
            return str(value)
        year = -int(found[2]) if found[1] == "-" else int(found[2])
        clock = found[4] or ""
        clock = " " + (clock.rstrip("0").rstrip(".") if "." in clock else clock) + zone if clock else ""
        return f"{year if year > 0 else 1 - year:04d}-{found[3]}{clock}{'' if year > 0 else ' BC'}"

    return text


def _interval(_: Schema, value: Any) -> str:
    found = re.fullmatch(r"P(-?\d+)Y(-?\d+)M(-?\d+)DT(-?\d+)H(-?\d+)M(-?[\d.]+)S", str(value))
    if found is None:
        return str(value)
    parts, is_after_minus = [], False
    for count, unit in ((int(found[1]), "year"), (int(found[2]), "mon"), (int(found[3]), "day")):
        if count:
            parts.append(
                f"{'+' if is_after_minus and count > 0 else ''}{count} {unit}{'' if count == 1 else 's'}"
            )
            is_after_minus = count < 0
    micros = (int(found[4]) * 3600 + int(found[5]) * 60) * 1_000_000 + int(Decimal(found[6]) * 1_000_000)
    if micros or not parts:
        sign = "-" if micros < 0 else "+" if is_after_minus else ""
        parts.append(sign + clock_text(abs(micros)))
    return " ".join(parts)


def _duration(_: Schema, value: Any) -> str:
    return ("-" if value < 0 else "") + clock_text(abs(int(value)))


def _array(schema: Schema, value: Any) -> str:
    return array_text([printed(schema["items"], one) for one in value])


def _map(_: Schema, value: Any) -> str:
    pairs = value.items() if isinstance(value, Mapping) else ((one["key"], one["value"]) for one in value)
    return ", ".join(f"{_in_quotes(str(key))}=>{'NULL' if one is None else _in_quotes(str(one))}" for key, one in pairs)


def _times(per_second: int) -> Callable[[Schema, Any], str]:
    return lambda _, value: clock_text(int(value) * 1_000_000 // per_second)


def _point(_: Schema, value: Any) -> str:
    return f"({float_text(float(value['x']))},{float_text(float(value['y']))})"


_Printer = Callable[[Schema, Any], "str | None"]
_BY_TYPE: dict[str, _Printer] = {
    "string": lambda _, value: str(value), "boolean": lambda _, value: "t" if value else "f",
    "float": lambda _, value: float_text(float(value), 6), "double": lambda _, value: float_text(float(value)),
    "bytes": lambda _, value: "\\x" + raw(value).hex(), "array": _array, "map": _map,
    "struct": lambda _, value: json.dumps(value, ensure_ascii=False, default=lambda one: raw(one).hex()),
    **dict.fromkeys(("int8", "int16", "int32", "int64"), lambda _, value: str(int(value))),
}  # fmt: skip
_BY_NAME: dict[str, _Printer] = {
    _CONNECT + "Decimal": _decimal, _DATA + "VariableScaleDecimal": _variable, _DATA + "Bits": _bits,
    _DATA + "geometry.Point": _point,
    _TIME + "Date": _date, _CONNECT + "Date": _date, _TIME + "IsoDate": _iso(""),
    _TIME + "Time": _times(1000), _CONNECT + "Time": _times(1000), _TIME + "MicroTime": _times(1_000_000),
    _TIME + "NanoTime": _times(1_000_000_000), _TIME + "IsoTime": lambda _, value: str(value).removesuffix("Z"),
    _TIME + "ZonedTime": lambda _, value: re.sub("Z$", "+00", str(value)),
    _TIME + "Timestamp": _stamp(1000), _CONNECT + "Timestamp": _stamp(1000), _TIME + "MicroTimestamp": _stamp(1_000_000),
    _TIME + "NanoTimestamp": _stamp(1_000_000_000), _TIME + "IsoTimestamp": _iso(""), _TIME + "ZonedTimestamp": _iso("+00"),
    _TIME + "Interval": _interval, _TIME + "MicroDuration": _duration,
}  # fmt: skip


__all__ = ["ENDLESS", "array_text", "clock_text", "day_text", "decimal_text", "float_text", "printed", "raw"]
