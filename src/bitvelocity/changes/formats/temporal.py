"""Dates, times and intervals to the numbers and texts that Debezium gives for them."""

from __future__ import annotations

import re
from decimal import Decimal

import polars as pl

from .values import Encode, by_value, glue

_DAY = 86_400
_LONGEST = 2**63 - 1
_FOREVER = {"infinity": 9223372036825200000, "-infinity": -9223372036832400000}
"""What the JDBC driver gives for an infinite timestamp, in milliseconds; Debezium reads them as microseconds."""
_ENDLESS_DAY = {"infinity": 2147483647, "-infinity": -2147483648}
_BROKEN_DAY = {"infinity": -2147472692, "-infinity": 2147472692}
_STAMP = re.compile(r"(\d+)-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(\.\d+)?)?([+-]\d\d(?::\d\d(?::\d\d)?)?)?( BC)?")


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970 in the proleptic Gregorian calendar."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _parse(text: str) -> tuple[int, int, int]:
    """Year (0 is 1 BC), days since 1970, microseconds of the day in UTC."""
    found = _STAMP.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    year = 1 - year if found[9] else year
    micros = int(found[4] or 0) * 3600 + int(found[5] or 0) * 60 + int(found[6] or 0)
    return year, _days(year, month, day), micros * 1_000_000 + int(Decimal(found[7] or 0) * 1_000_000)


def _with_odd(fast: pl.Series, values: pl.Series, odd: Encode) -> pl.Series:
    """`fast` where it has a value, else what `odd` makes of it."""
    if fast.null_count() == values.null_count():
        return fast
    rest = pl.select(pl.when(fast.is_null()).then(values).alias("v"))["v"]
    return pl.select(pl.coalesce(fast, odd(rest)).alias("v"))["v"]


def dates(*, strict: bool) -> Encode:
    """Days since 1970."""
    endless = _BROKEN_DAY if strict else _ENDLESS_DAY

    def odd(text: str) -> str:
        return str(endless[text] if text in endless else _parse(text)[1])

    def encode(values: pl.Series) -> pl.Series:
        fast = values.str.to_date("%Y-%m-%d", strict=False).cast(pl.Int32).cast(pl.String)
        return _with_odd(fast, values, by_value(odd))

    return encode


def iso_dates(values: pl.Series) -> pl.Series:
    """`2024-01-15Z`."""
    return by_value(lambda text: f'"{text}"' if text in _FOREVER else f'"{_iso_day(text)}Z"')(values)


def _iso_day(text: str) -> str:
    found = _STAMP.fullmatch(text)
    assert found is not None
    year = 1 - int(found[1]) if found[9] else int(found[1])
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    return f"{sign}{abs(year):04d}-{found[2]}-{found[3]}"


def times(per_second: int) -> Encode:
    """Units since midnight, `per_second` of them in a second."""

    def encode(values: pl.Series) -> pl.Series:
        nanos = values.str.to_time("%H:%M:%S%.f", strict=False).cast(pl.Int64)
        fast = (nanos // (1_000_000_000 // per_second)).cast(pl.String)
        return _with_odd(fast, values, by_value(lambda _: str(_DAY * per_second)))  # 24:00:00

    return encode


def iso_times(values: pl.Series) -> pl.Series:
    """`10:30:00.123456Z`."""
    return glue('"', values, 'Z"')


def timestamps(per_second: int) -> Encode:
    """Units since 1970, without a time zone. What lies beyond the ends of a long is told as that end."""
    times, parts = max(1, per_second // 1_000_000), max(1, 1_000_000 // per_second)

    def odd(text: str) -> str:
        if text in _FOREVER:
            return str(_FOREVER[text] // 1000 if per_second == 1000 else _FOREVER[text])
        _, days, micros = _parse(text)
        return _as_long((days * _DAY * 1_000_000 + micros) * per_second // 1_000_000)

    def encode(values: pl.Series) -> pl.Series:
        stamps = values.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
        micros = pl.DataFrame({"v": stamps.dt.epoch("us")})
        fits = pl.col("v").is_between(-(_LONGEST // times), _LONGEST // times)
        units = micros.select(pl.when(fits).then(pl.col("v") * times // parts))["v"]
        return _with_odd(units.cast(pl.String), values, by_value(odd))

    return encode


def _as_long(number: int) -> str:
    return str(min(max(number, -_LONGEST - 1), _LONGEST))


_NORMAL = r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?\+00$"


def zoned_timestamps(digits: int) -> Encode:
    """`2024-01-15T08:30:00.123456Z`, always with `digits` of a second."""

    def odd(text: str) -> str:
        if text in _FOREVER:
            return f'"{text}"'
        _, _, micros = _parse(text)
        seconds, part = divmod(micros, 1_000_000)
        tail = "." + f"{part:06d}"[:digits] if digits else ""
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return f'"{_iso_day(text)}T{clock}{tail}Z"'

    def encode(values: pl.Series) -> pl.Series:
        fits = values.str.contains(_NORMAL)
        part = values.str.slice(20).str.strip_suffix("+00").str.pad_end(digits, "0") if digits else None
        tail: list[pl.Series | str] = [".", part] if part is not None else []
        fast = glue('"', values.str.slice(0, 10), "T", values.str.slice(11, 8), *tail, 'Z"')
        return _with_odd(pl.select(pl.when(fits).then(fast).alias("v"))["v"], values, by_value(odd))

    return encode


def zoned_times(values: pl.Series) -> pl.Series:
    """A time with its zone, in UTC: `08:30:00.123456Z`."""
    return by_value(_zoned_time)(values)


def _zoned_time(text: str) -> str:
    clock, zone = re.split(r"(?=[+-])", text, maxsplit=1)
    hours, minutes, seconds = clock.split(":")
    micros = int((Decimal(hours) * 3600 + Decimal(minutes) * 60 + Decimal(seconds)) * 1_000_000)
    parts = [int(part) for part in zone[1:].split(":")] + [0, 0]
    away = (parts[0] * 3600 + parts[1] * 60 + parts[2]) * (-1 if zone[0] == "-" else 1)
    rest = (micros - away * 1_000_000) % (_DAY * 1_000_000)
    whole, part = divmod(rest, 1_000_000)
    tail = f".{part:06d}".rstrip("0").rstrip(".")
    return f'"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{tail}Z"'


_UNITS = re.compile(r"(-?\d+) (year|mon|day)s?")
_CLOCK = re.compile(r"(-?)(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def _interval(text: str) -> tuple[int, int, int, int, int, Decimal]:
    units = {name: int(count) for count, name in _UNITS.findall(text)}
    clock = _CLOCK.search(text)
    sign = -1 if clock and clock[1] else 1
    hours, minutes, seconds = (clock[2], clock[3], clock[4]) if clock else ("0", "0", "0")
    return (
        units.get("year", 0), units.get("mon", 0), units.get("day", 0),
        sign * int(hours), sign * int(minutes), sign * Decimal(seconds),
    )  # fmt: skip


def _micros(text: str) -> str:
    """With a month of 365.25 / 12 days, counted in doubles and cut off at the ends of a long, as Java does."""
    years, months, days, hours, minutes, seconds = _interval(text)
    number = (years * 12 + months) * (365.25 / 12) + days
    micros = int(((((number * 24) + hours) * 60 + minutes) * 60 + float(seconds)) * 1e6)
    return _as_long(micros)


def _iso_interval(text: str) -> str:
    years, months, days, hours, minutes, seconds = _interval(text)
    tail = f"{seconds.normalize():f}" if seconds else "0"
    return f'"P{years}Y{months}M{days}DT{hours}H{minutes}M{tail}S"'


intervals, iso_intervals = by_value(_micros), by_value(_iso_interval)


def iso_timestamps(values: pl.Series) -> pl.Series:
    """A timestamp without a zone, as if in UTC; the fraction as short as it is."""
    return by_value(_iso_timestamp)(values)


def _iso_timestamp(text: str) -> str:
    if text in _FOREVER:
        return f'"{text}"'
    _, _, micros = _parse(text)
    seconds, part = divmod(micros, 1_000_000)
    tail = f".{part:06d}".rstrip("0").rstrip(".")
    return f'"{_iso_day(text)}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{tail}Z"'


OVERFLOWN = {
    1082: {"infinity": '"-5877611-06-21Z"', "-infinity": '"+5881580-07-12Z"'},
    1114: {"infinity": '"+294247-01-10T04:00:25.2Z"', "-infinity": '"-290308-12-21T19:59:27.6Z"'},
}
"""By type: what Debezium says in ISO of dates and timestamps without end. The negative ones are calculated, not seen."""


def with_overflow(encode: Encode, oid: int) -> Encode:
    """As Debezium has it, overflows included."""
    known = OVERFLOWN.get(oid)
    if known is None:
        return encode

    def strict(values: pl.Series) -> pl.Series:
        endless = values.is_in(list(known))
        if not endless.any():
            return encode(values)
        said = values.replace_strict(known, default=None, return_dtype=pl.String)
        return pl.select(pl.when(endless).then(said).otherwise(encode(values)).alias("v"))["v"]

    return strict


__all__ = [
    "dates", "intervals", "iso_dates", "iso_intervals", "iso_times", "iso_timestamps", "times",
    "timestamps", "with_overflow", "zoned_times", "zoned_timestamps",
]  # fmt: skip
