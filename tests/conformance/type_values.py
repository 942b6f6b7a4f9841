"""Values of every type of PostgreSQL, as literals that it reads: what the round-trip tests write.

`COLUMNS` has a type for each column, and where its values come from. `SETUP` makes the types that are not built in.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

Literals = st.SearchStrategy[str]

EXTENSIONS = ("hstore", "citext", "ltree")
SETUP = """
create extension if not exists hstore;
create extension if not exists citext;
create extension if not exists ltree;
create type mood as enum ('sad', 'ok', 'it''s, "complicated"', '{}');
create domain positive as int check (value > 0);
create domain more_positive as positive check (value > 1);
create domain words as text[];
create domain price as numeric(10, 2);
create type pair as (number int, note text);
create type nested as (one pair, many pair[], at timestamptz);
"""

CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.one_of(
    st.text(CHARS, max_size=12),
    st.sampled_from(["", "NULL", "null", '"', "\\", "\\N", "{}", "{", "a,b", "\t\r\n\b\f\v", "'", " ", "é😀", "\\x00", "t"]),
)


def whole(bits: int) -> Literals:
    return st.one_of(
        st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), st.sampled_from([0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1])
    ).map(str)


def numerics(precision: int, scale: int) -> Literals:
    most = 10**precision - 1
    return st.one_of(
        st.integers(-most, most).map(lambda digits: format(Decimal(f"{digits}E{-scale}"), "f")), st.just("NaN")
    )


ANY_NUMERIC = st.one_of(
    st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "-0.00", "1e-300", "9" * 60 + "." + "1" * 60, "1.10"]),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda value: format(value, "f")),
)
FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 5e-324, 0.1, 1e15, 1e16])).map(repr)
FLOATS32 = st.floats(width=32).map(repr)
BYTES = st.binary(max_size=12).map(lambda value: "\\x" + value.hex())
DAYS = st.one_of(
    st.dates().map(str),
    st.sampled_from(["infinity", "-infinity", "0044-03-15 BC", "4714-11-24 BC", "5874897-12-31", "10000-01-01", "0001-01-01"]),
)
MOMENTS = st.one_of(
    st.datetimes().map(str),
    st.datetimes(timezones=st.just(UTC)).map(str),
    st.sampled_from([
        "infinity", "-infinity", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "0001-01-01", "1970-01-01 00:00:00",
        "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "2024-02-29 12:00:00.5",
    ]),
)  # fmt: skip
ZONED = st.one_of(
    MOMENTS, st.sampled_from(["2024-01-01 00:00:00+05:30", "1890-01-01 00:00:00 Europe/Amsterdam", "2024-07-01 America/New_York"])
)
TIMES = st.one_of(st.times().map(str), st.sampled_from(["24:00:00", "00:00:00", "23:59:59.999999"]))
OFFSETS = st.sampled_from(["+00", "-15:59", "+05:30", "+14", "-03:00:59"])
ZONED_TIMES = st.tuples(st.times().map(str), OFFSETS).map("".join)
INTERVALS = st.one_of(
    st.tuples(st.integers(-9999, 9999), st.integers(-40, 40), st.integers(-(10**12), 10**12)).map(
        lambda parts: f"{parts[0]} mons {parts[1]} days {parts[2]} microseconds"
    ),
    st.sampled_from(["178000000 years", "-1 year 2 days -00:00:00.000001", "0"]),
)
JSONS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.text(CHARS, max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(CHARS, max_size=4), inner, max_size=3)),
    max_leaves=5,
)
JSON = st.builds(lambda value, plain: json.dumps(value, ensure_ascii=plain), JSONS, st.booleans())
BITS = st.text("01", min_size=5, max_size=5)
NUMBER = st.integers(-1000, 1000)
POINT = st.tuples(NUMBER, NUMBER).map(lambda at: f"({at[0]},{at[1]}.5)")
POINTS = st.lists(POINT, min_size=2, max_size=4, unique=True)
ADDRESSES = st.one_of(
    st.ip_addresses().map(str), st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda net: f"{net[0]}/{net[1]}")
)
NETWORKS = st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda net: str(ipaddress.ip_network(net, strict=False)))
HEX = st.binary(min_size=8, max_size=8).map(bytes.hex)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def arrays(of: Literals) -> Literals:
    """Of one dimension mostly; also of two, with other lower bounds, with NULLs, and empty."""
    element = st.one_of(of.map(quoted), st.just("NULL"))
    row = st.lists(element, max_size=4).map(braces)
    square = st.lists(st.lists(element, min_size=2, max_size=2), min_size=1, max_size=2).map(lambda rows: braces(map(braces, rows)))
    moved = st.lists(element, min_size=2, max_size=2).map(lambda pair: "[0:1]=" + braces(pair))
    return st.one_of(row, row, row, square, moved)


def braces(parts: Any) -> str:
    return "{" + ",".join(parts) + "}"


def ranges(of: st.SearchStrategy[Any], show: Callable[[Any], str] = str) -> Literals:
    some = st.tuples(st.sampled_from("[("), of, of, st.sampled_from("])")).map(
        lambda r: f"{r[0]}{show(min(r[1], r[2]))},{show(max(r[1], r[2]))}{r[3]}"
    )
    return st.one_of(some, st.sampled_from(["empty", "(,)"]), of.map(lambda low: f"[{show(low)},)"))


def multi(of: Literals) -> Literals:
    return st.lists(of, max_size=3).map(braces)


def composite(*parts: Literals) -> Literals:
    fields = [st.one_of(part.map(quoted), st.just("")) for part in parts]
    return st.tuples(*fields).map(lambda values: f"({','.join(values)})")


PAIR = composite(whole(32), TEXT)
MOODS = st.sampled_from(["sad", "ok", 'it\'s, "complicated"', "{}"])
LATE = st.datetimes(min_value=datetime(1990, 1, 1))  # noqa: DTZ001

COLUMNS: dict[str, tuple[str, Literals]] = {
    "a_bool": ("boolean", st.sampled_from("tf")),
    "a_int2": ("int2", whole(16)),
    "a_int4": ("int4", whole(32)),
    "a_int8": ("int8", whole(64)),
    "a_float4": ("float4", FLOATS32),
    "a_float8": ("float8", FLOATS),
    "a_numeric": ("numeric", ANY_NUMERIC),
    "a_numeric_10_2": ("numeric(10,2)", numerics(10, 2)),
    "a_numeric_38_10": ("numeric(38,10)", numerics(38, 10)),
    "a_numeric_38_38": ("numeric(38,38)", numerics(38, 38)),
    "a_numeric_60_20": ("numeric(60,20)", numerics(60, 20)),
    "a_numeric_5__2": ("numeric(5,-2)", numerics(5, -2)),
    "a_numeric_2_5": ("numeric(2,5)", numerics(2, 5)),
    "a_text": ("text", TEXT),
    "a_varchar": ("varchar(20)", TEXT),
    "a_char": ("char(12)", TEXT.filter(lambda text: len(text) <= 12)),
    "a_one_char": ('"char"', st.sampled_from(["", "x", "\\377", '"', "é"])),
    "a_name": ("name", TEXT),
    "a_citext": ("citext", TEXT),
    "a_bytea": ("bytea", BYTES),
    "a_uuid": ("uuid", st.uuids().map(str)),
    "a_date": ("date", DAYS),
    "a_timestamp": ("timestamp", MOMENTS),
    "a_timestamp_0": ("timestamp(0)", MOMENTS.filter(lambda text: not text.startswith("294276"))),
    "a_timestamptz": ("timestamptz", ZONED),
    "a_time": ("time", TIMES),
    "a_timetz": ("timetz", ZONED_TIMES),
    "a_interval": ("interval", INTERVALS),
    "a_money": ("money", whole(50)),
    "a_json": ("json", JSON.filter(lambda text: "\\u0000" not in text)),
    "a_jsonb": ("jsonb", JSON.filter(lambda text: "\\u0000" not in text)),
    "a_jsonpath": ("jsonpath", st.sampled_from(["$.a[*] ? (@ > 1)", 'strict $."b c"'])),
    "a_bit": ("bit(5)", BITS),
    "a_varbit": ("varbit", st.text("01", max_size=20)),
    "a_inet": ("inet", ADDRESSES),
    "a_cidr": ("cidr", NETWORKS),
    "a_macaddr": ("macaddr", HEX.map(lambda digits: digits[:12])),
    "a_macaddr8": ("macaddr8", HEX),
    "a_point": ("point", POINT),
    "a_line": ("line", POINTS.map(lambda points: "[" + ",".join(points[:2]) + "]")),
    "a_lseg": ("lseg", POINTS.map(lambda points: "[" + ",".join(points[:2]) + "]")),
    "a_box": ("box", POINTS.map(lambda points: ",".join(points[:2]))),
    "a_path": ("path", POINTS.map(lambda points: "[" + ",".join(points) + "]")),
    "a_polygon": ("polygon", POINTS.map(lambda points: "(" + ",".join(points) + ")")),
    "a_circle": ("circle", st.tuples(POINT, st.integers(0, 9)).map(lambda c: f"<{c[0]},{c[1]}>")),
    "a_tsvector": ("tsvector", st.sampled_from(["'a':1 'fat':2,4B 'it''s':3", "", "'\\\\':1"])),
    "a_tsquery": ("tsquery", st.sampled_from(["'fat' & !'rat':*A", "'a' <-> 'b'"])),
    "a_oid": ("oid", st.integers(0, 2**32 - 1).map(str)),
    "a_xid8": ("xid8", st.integers(0, 2**64 - 1).map(str)),
    "a_regclass": ("regclass", st.sampled_from(["pg_class", "pg_type"])),
    "a_pg_lsn": ("pg_lsn", st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda n: f"{n[0]:X}/{n[1]:X}")),
    "a_int2vector": ("int2vector", st.lists(whole(16), max_size=3).map(" ".join)),
    "a_int4range": ("int4range", ranges(st.integers(-(2**30), 2**30))),
    "a_numrange": ("numrange", ranges(st.decimals(-1000, 1000, places=2))),
    "a_daterange": ("daterange", ranges(st.dates(min_value=date(1900, 1, 1), max_value=date(9000, 1, 1)))),
    "a_tstzrange": ("tstzrange", ranges(LATE, lambda at: f'"{at}+00"')),
    "a_int8multirange": ("int8multirange", multi(ranges(st.integers(-(2**40), 2**40)))),
    "a_tsmultirange": ("tsmultirange", multi(ranges(LATE, lambda at: f'"{at}"'))),
    "an_enum": ("mood", MOODS),
    "a_domain": ("positive", st.integers(1, 2**31 - 1).map(str)),
    "a_domain_of_a_domain": ("more_positive", st.integers(2, 2**31 - 1).map(str)),
    "a_domain_of_arrays": ("words", arrays(TEXT)),
    "a_price": ("price", numerics(10, 2)),
    "a_composite": ("pair", PAIR),
    "a_nested_composite": ("nested", composite(PAIR, arrays(PAIR), ZONED)),
    "an_hstore": ("hstore", st.dictionaries(TEXT, st.one_of(st.none(), TEXT), max_size=3).map(
        lambda pairs: ",".join(f"{quoted(k)}=>{'NULL' if v is None else quoted(v)}" for k, v in pairs.items()))),
    "a_ltree": ("ltree", st.lists(st.sampled_from(["Top", "Science", "A_1"]), max_size=3).map(".".join)),
    "many_bool": ("boolean[]", arrays(st.sampled_from("tf"))),
    "many_int4": ("int4[]", arrays(whole(32))),
    "many_int8": ("int8[]", arrays(whole(64))),
    "many_float8": ("float8[]", arrays(FLOATS)),
    "many_numeric": ("numeric[]", arrays(ANY_NUMERIC)),
    "many_numeric_10_2": ("numeric(10,2)[]", arrays(numerics(10, 2))),
    "many_text": ("text[]", arrays(TEXT)),
    "many_varchar": ("varchar(9)[]", arrays(st.text(CHARS, max_size=9))),
    "many_bytea": ("bytea[]", arrays(BYTES)),
    "many_uuid": ("uuid[]", arrays(st.uuids().map(str))),
    "many_date": ("date[]", arrays(DAYS)),
    "many_timestamptz": ("timestamptz[]", arrays(ZONED)),
    "many_jsonb": ("jsonb[]", arrays(JSON.filter(lambda text: "\\u0000" not in text))),
    "many_interval": ("interval[]", arrays(INTERVALS)),
    "many_enum": ("mood[]", arrays(MOODS)),
    "many_domain": ("positive[]", arrays(st.integers(1, 2**31 - 1).map(str))),
    "many_domain_arrays": ("words[]", arrays(arrays(TEXT))),
    "many_pair": ("pair[]", arrays(PAIR)),
    "many_box": ("box[]", st.lists(POINTS.map(lambda p: ",".join(p[:2])), max_size=3).map(lambda boxes: "{" + ";".join(boxes) + "}")),
    "many_inet": ("inet[]", arrays(ADDRESSES)),
    "many_int4range": ("int4range[]", arrays(ranges(st.integers(-99, 99)))),
}  # fmt: skip
"""Column -> its type, and literals of it."""


def rows(columns: Sequence[str]) -> st.SearchStrategy[list[str | None]]:
    """One row: a literal or NULL for each column."""
    return st.tuples(*(st.one_of(COLUMNS[name][1], COLUMNS[name][1], st.none()) for name in columns)).map(list)


__all__ = ["COLUMNS", "SETUP", "Literals", "rows"]
