"""Columns of printed values to JSON, held against Python's own numbers, strings and dates."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.changes.formats import odd, temporal, values

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def column(*texts: str | None) -> pl.Series:
    return pl.Series("v", texts, pl.String)


@given(st.lists(st.one_of(st.none(), TEXT), min_size=1))
def test_strings_come_back(texts: list[str | None]) -> None:
    encoded = values.quoted(column(*texts)).to_list()
    assert [None if one is None else json.loads(one) for one in encoded] == texts


@given(st.lists(st.floats(), min_size=1))
def test_floats_come_back_and_read_as_java_writes_them(numbers: list[float]) -> None:
    printed = [repr(n).replace("inf", "Infinity").replace("nan", "NaN").removesuffix(".0") for n in numbers]
    for number, text in zip(numbers, values.floats(column(*printed)).to_list(), strict=True):
        if not math.isfinite(number):
            assert json.loads(text) == str(number).replace("inf", "Infinity").replace("nan", "NaN")
        else:
            assert float(text) == number
            mantissa, _, power = text.partition("E")
            assert "." in mantissa
            assert (1e-3 <= abs(number) < 1e7 or number == 0) == (not power)


@pytest.mark.parametrize(
    ("printed", "java"),
    [("1e+20", "1.0E20"), ("0.001", "0.001"), ("0.0001", "1.0E-4"), ("10000000", "1.0E7"), ("-0", "-0.0"), ("5", "5.0"),
     ("1234567.5", "1234567.5"), ("12345678.5", "1.23456785E7"), ("NaN", '"NaN"'), ("-Infinity", '"-Infinity"')],
)  # fmt: skip
def test_floats_as_java_prints_them(printed: str, java: str) -> None:
    assert values.floats(column(printed, None)).to_list() == [java, None]


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**30), max_value=10**30), min_size=1))
def test_decimals_come_back_in_as_few_bytes_as_it_takes(numbers: list[Decimal]) -> None:
    encoded = values.decimals(column(*(f"{n:f}" for n in numbers))).to_list()
    for number, text in zip(numbers, encoded, strict=True):
        raw = base64.b64decode(json.loads(text))
        whole = int.from_bytes(raw, "big", signed=True)
        assert Fraction(whole, 10**4) == Fraction(number)
        assert len(raw) == (whole if whole >= 0 else ~whole).bit_length() // 8 + 1


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25), min_size=1))
def test_variable_decimals_bring_their_scale(numbers: list[Decimal]) -> None:
    encoded = values.variable_decimals(column(*(f"{n:f}" for n in numbers))).to_list()
    for number, text in zip(numbers, encoded, strict=True):
        said = json.loads(text)
        whole = int.from_bytes(base64.b64decode(said["value"]), "big", signed=True)
        assert Fraction(whole, 10 ** said["scale"]) == Fraction(number)
        assert said["scale"] == 0 or whole % 10


def test_a_decimal_that_is_no_number_is_null() -> None:
    assert values.decimals(column("NaN", "1.50", "Infinity")).to_list() == [None, '"AJY="', None]


@given(st.lists(st.dates(min_value=date(1, 1, 1)), min_size=1))
def test_dates_count_days(days: list[date]) -> None:
    encoded = temporal.dates(strict=False)(column(*(f"{d.year:04d}-{d:%m-%d}" for d in days))).to_list()
    assert [int(text) for text in encoded] == [(day - date(1970, 1, 1)).days for day in days]


def test_endless_and_ancient_dates() -> None:
    odd_ones = column("infinity", "-infinity", "0044-03-15 BC", "10000-01-01")
    assert temporal.dates(strict=False)(odd_ones).to_list() == ["2147483647", "-2147483648", "-735160", "2932897"]
    assert temporal.dates(strict=True)(odd_ones).to_list()[0] == "-2147472692"


@given(st.lists(st.datetimes(), min_size=1))
def test_timestamps_count_units(stamps: list[datetime]) -> None:
    printed = column(*(s.isoformat(" ") for s in stamps))
    micros = [(s.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) for s in stamps]
    whole = [(m.days * 86400 + m.seconds) * 1_000_000 + m.microseconds for m in micros]
    assert [int(t) for t in temporal.timestamps(1_000_000)(printed)] == whole
    assert [int(t) for t in temporal.timestamps(1000)(printed)] == [w // 1000 for w in whole]
    zoned = temporal.zoned_timestamps(6)(column(*(s.isoformat(" ") + "+00" for s in stamps))).to_list()
    assert [json.loads(t) for t in zoned] == [s.isoformat(timespec="microseconds") + "Z" for s in stamps]


@given(st.lists(st.times(), min_size=1))
def test_times_count_from_midnight(times: list[time]) -> None:
    found = temporal.times(1_000_000)(column(*(t.isoformat() for t in times), "24:00:00")).to_list()
    wanted = [((t.hour * 60 + t.minute) * 60 + t.second) * 1_000_000 + t.microsecond for t in times]
    assert [int(t) for t in found] == [*wanted, 86_400_000_000]


@given(st.lists(st.lists(st.one_of(st.none(), TEXT)), min_size=1))
def test_arrays_come_back(lists: list[list[str | None]]) -> None:
    def printed(items: list[str | None]) -> str:
        parts = ["NULL" if i is None else '"' + i.replace("\\", "\\\\").replace('"', '\\"') + '"' for i in items]
        return "{" + ",".join(parts) + "}"

    encoded = odd.arrays(values.quoted)(column(*(printed(items) for items in lists), None)).to_list()
    assert [None if one is None else json.loads(one) for one in encoded] == [*lists, None]


def test_intervals_bits_money_and_bytes() -> None:
    assert temporal.intervals(column("1 year 2 mons 3 days 04:05:06.789")).to_list() == ["37091106789000"]
    assert temporal.iso_intervals(column("-1 days -02:00:00")).to_list() == ['"P0Y0M-1DT-2H0M0S"']
    assert values.bits(5)(column("10110", None)).to_list() == ['"Fg=="', None]
    assert values.bits(1)(column("1", "0", None)).to_list() == ["true", "false", None]
    assert values.decimals(values.money(column("-$1,234.50"))).to_list() == ['"/h3G"']
    assert values.hex_to_base64(column("\\xdeadbeef", "\\x")).to_list() == ['"3q2+7w=="', '""']
    assert values.booleans(column("t", "f", None)).to_list() == ["true", "false", None]
