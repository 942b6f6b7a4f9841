"""JSON without schemas: read as the same with schemas, in all of Debezium's modes; what could be another value is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bitvelocity.changes import DETAIL_FIELDS, SYSTEM_FIELDS, Batch
from bitvelocity.changes.formats import CHOICES, Bare, Decoded, Decoder, Encoder, Options, in_order
from bitvelocity.changes.formats.declared import described_of
from bitvelocity.contracts import Bits, Entity, Json, Key, Length, Naive, Native, Numeric, Zoned, spec_of


class Wide(Entity, table="wide", audit=False):
    """Every type that Debezium writes."""

    id: Annotated[int, Key()]
    flag: bool | None
    small: Annotated[int | None, Bits(16)]
    f4: Annotated[float | None, Bits(32)]
    f8: float | None
    price: Annotated[Decimal | None, Numeric(10, 2)]
    whole: Annotated[Decimal | None, Numeric(30, 0)]
    free: Annotated[Decimal | None, Numeric()]
    text: str
    code: Annotated[str | None, Length(3, fixed=True)]
    document: Annotated[Any, Json()] | None
    clock: time | None
    clock_zone: Annotated[time | None, Zoned()]
    day: date | None
    naive: Annotated[datetime | None, Naive()]
    moment: datetime | None
    span: timedelta | None
    uuid: UUID | None
    blob: bytes | None
    state: Literal["NEW", "PAID"] | None
    money: Annotated[Any, Native("money")] | None
    pairs: Annotated[Any, Native("hstore")] | None
    search: Annotated[Any, Native("tsvector")] | None
    tags: list[str] | None
    amounts: list[Annotated[Decimal, Numeric(9, 4)]] | None
    ratios: list[float] | None
    days: list[date] | None


SPEC = spec_of(Wide)
DESCRIBED = described_of([SPEC], "shop")
MODES = ("decimal.handling.mode", "time.precision.mode", "binary.handling.mode", "hstore.handling.mode", "interval.handling.mode")
CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.one_of(st.text(CHARS, max_size=8), st.sampled_from(["", "NaN", '"', "\\", "a\nb", '{"after":1}', ':"NaN"', "1234", "é😀"]))


def digits(precision: int, scale: int) -> st.SearchStrategy[str]:
    return st.integers(-(10**precision) + 1, 10**precision - 1).map(lambda n: format(Decimal(f"{n}E-{scale}"), "f"))


def listed(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """As PostgreSQL prints it; of items that need no quotes."""
    return st.lists(st.one_of(items, st.just("NULL")), max_size=3).map(lambda found: "{" + ",".join(found) + "}")


def shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


DAYS = st.dates(date(1, 1, 1)).map(str)
TIMES = st.times(time(0, 2)).map(lambda at: shortest(at.isoformat(timespec="microseconds")))
STAMPS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda at: shortest(at.isoformat(" ", timespec="microseconds")))  # noqa: DTZ001
DOUBLES = st.one_of(st.integers(-999, 999).map(lambda n: shortest(str(n / 8))), st.sampled_from(["NaN", "Infinity", "-Infinity"]))
VALUES: dict[str, st.SearchStrategy[str]] = {
    "id": st.integers(-(2**63), 2**63 - 1).map(str), "flag": st.sampled_from("tf"), "small": st.integers(-(2**15), 2**15 - 1).map(str),
    "f4": DOUBLES, "f8": DOUBLES, "price": digits(10, 2), "whole": digits(30, 0), "free": st.integers(0, 5).flatmap(lambda n: digits(20, n)),
    "text": TEXT, "code": st.sampled_from(["abc", "1  "]), "document": st.sampled_from(['{"a": [1, "2"]}', "null", '"x"']),
    "clock": TIMES, "clock_zone": TIMES.map(lambda text: text + "+00"), "day": DAYS, "naive": STAMPS, "moment": STAMPS.map(lambda text: text + "+00"),
    "span": st.integers(0, 10**9).map(lambda s: f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}"), "uuid": st.uuids().map(str),
    "blob": st.binary(max_size=7).map(lambda value: "\\x" + value.hex()), "state": st.sampled_from(["NEW", "PAID"]),
    "money": st.integers(0, 999).map(lambda n: f"${n}.50"), "pairs": st.sampled_from(['"a"=>"1", "b"=>NULL', ""]), "search": st.just("'a':1"),
    "tags": listed(st.sampled_from(["a", "1234", '"x,\\"y"'])), "amounts": listed(digits(9, 4)), "ratios": listed(DOUBLES), "days": listed(DAYS),
}  # fmt: skip
NAMES = tuple(VALUES)
ROW = st.fixed_dictionaries({name: of if name in ("id", "text") else st.one_of(of, of, st.none()) for name, of in VALUES.items()})


def batch(rows: Sequence[Mapping[str, str | None]]) -> Batch:
    """Inserted or read, then changed (with a value that was not sent), then deleted."""
    made: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        facts = {"_lsn": 100 + number, "_ordinal": 0, "_xid": 7, "_committed_at": 1_000_000, "_row_lsn": 90 + number}
        made.append({**facts, "_op": "cr"[number % 2], "after": row})
        made.append({**facts, "_op": "u", "_ordinal": 1, "after": {**row, "text": None}, "_absent": '["text"]', "before": row, "_old": "O"})
        made.append({**facts, "_op": "d", "_ordinal": 2, "before": {"id": row["id"]} if number % 3 else row, "_old": "K" if number % 3 else "O"})
    data = {name: pa.array([row.get(name) for row in made], kind) for name, kind in (*SYSTEM_FIELDS, *DETAIL_FIELDS)}
    for side in ("after", "before"):
        for name in NAMES:
            data[f"{side}_{name}"] = pa.array([(row.get(side) or {}).get(name) for row in made], pa.string())
    return Batch(SPEC.qualified, NAMES, pa.table(data))


def records(source: Batch, told: Mapping[str, str], *, schemas: bool) -> pa.Table:
    options = Options.of({**told, "topic.prefix": "bv", "schemas.enable": str(schemas).lower()})
    return in_order(Encoder("debezium", DESCRIBED, options).encode([source])).select(["key", "value", "headers"])


def read(table: pa.Table, told: Mapping[str, str] | None = None, topic: str = "bv.public.wide") -> Decoded:
    """As the lake reads it."""
    bare = None if told is None else Bare([SPEC], told, prefix="bv")
    return Decoder("debezium", sequence=True, only_changes=True, bare=bare).decode(table, topic)


def values(found: Decoded, name: str) -> list[str | None]:
    return [one for made in found.batches for one in made.data[name].to_pylist()]


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(st.lists(ROW, min_size=1, max_size=4), st.fixed_dictionaries({name: st.sampled_from(CHOICES[name]) for name in MODES}))
def test_as_with_schemas_in_every_mode(rows: list[dict[str, str | None]], told: dict[str, str]) -> None:
    source = batch(rows)
    plain, full = read(records(source, told, schemas=False), told), read(records(source, told, schemas=True))
    assert (plain.refused, full.refused) == ((), ())
    (mine,), (other,) = plain.batches, full.batches
    others = [name for name in other.data.column_names if not name.endswith("_blob")]
    assert mine.columns == other.columns
    assert mine.data.select(others).equals(other.data.select(others))
    if told["binary.handling.mode"] == "bytes":
        assert mine.data.equals(other.data)
    assert values(plain, "after_blob") == source.data["after_blob"].to_pylist()
    if told["decimal.handling.mode"] != "double":
        assert values(plain, "after_price") == source.data["after_price"].to_pylist()


def written(changes: Mapping[str, Any], told: Mapping[str, str] = {}, **row: str) -> pa.Table:
    """An insert of one row, and the same with other values in its JSON; then one that is as it should be."""
    table = records(batch([{"id": "1", "text": "t", **row}]), told, schemas=False).slice(0, 1)
    value = json.loads(table["value"][0].as_py())
    value["after"] |= changes
    rows = [{"key": b"{}", "value": json.dumps(value).encode(), "headers": None}, *table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize(("field", "value", "told", "said"), [
    ("price", 12.5, {}, "number in JSON: not by decimal.handling.mode=precise"),
    ("price", 1234, {}, "int in JSON"),
    ("price", "12.50", {}, "is not base64"),
    ("price", "Infinity", {}, "does not tell"),
    ("price", "f/////8=", {}, "more than 10 digits"),
    ("whole", "1234", {}, "Debezium's default, does not tell"),
    ("free", "12.50", {}, "string in JSON"),
    ("price", "BN8=", {"decimal.handling.mode": "string"}, "is not a decimal"),
    ("price", "1234", {"decimal.handling.mode": "string"}, "is not a decimal"),
    ("price", "1234", {"decimal.handling.mode": "double"}, "string in JSON"),
    ("naive", 1_700_000_000_000, {}, "milliseconds"),
    ("naive", 1_700_000_000_000_000_000, {}, "another unit"),
    ("naive", 1_700_000_000_000_000, {"time.precision.mode": "connect"}, "another unit"),
    ("naive", "2024-01-01T00:00:00Z", {}, "string in JSON"),
    ("clock", 3_600_000, {}, "milliseconds"),
    ("clock", 86_400_000_000_000, {}, "another unit"),
    ("blob", "deadbeef", {}, "hexadecimal"),
    ("blob", "3q2+7w==", {"binary.handling.mode": "hex"}, "is not hex"),
    ("span", "P1Y0M0DT0H0M0S", {}, "interval.handling.mode=numeric"),
    ("small", 1.5, {}, "number in JSON"),
    ("small", 10**20, {}, "number in JSON"),
    ("text", 5, {}, "not as it is declared"),
    ("flag", "true", {}, "string in JSON"),
    ("amounts", [{"scale": 4, "value": "1.5"}], {}, "is not base64"),
    ("ratios", ["1.5"], {}, "string in JSON"),
    ("unknown", 1, {}, "is not declared"),
])  # fmt: skip
def test_what_contradicts_the_declaration_or_the_mode_is_refused(field: str, value: Any, told: dict[str, str], said: str) -> None:
    """That record alone, in words; also where all records do."""
    table = written({field: value}, told, price="1.50", naive="2024-01-01 00:00:00", clock="12:00:00", small="1")
    found = read(table, told)
    assert [one.row for one in found.refused] == [0]
    assert said in found.refused[0].reason
    assert values(found, "after_price") in (["1.50"], ["1.5"])
    assert [one.reason for one in read(pa.concat_tables([table[:1]] * 3), told).refused] == [found.refused[0].reason] * 3


def test_a_few_among_many_are_found_without_reading_each_many_times() -> None:
    """Of those that cannot be read at once with the others: a text for a number, another kind, no JSON."""
    good = written({})["value"][1].as_py()
    raw = [good] * 3000
    for at, spoilt in ((7, b'"small":"x"'), (1500, b'"small":1.5'), (2999, b'"small":')):
        raw[at] = good.replace(b'"small":null', spoilt)
    found = read(pa.Table.from_pylist([{"key": None, "value": one, "headers": None} for one in raw], schema=written({}).schema), {})
    assert [(one.row, one.code) for one in found.refused] == [(7, "ModeContradicted"), (1500, "ModeContradicted"), (2999, "UnreadableValue")]
    assert len(values(found, "after_id")) == 2997


def test_what_a_person_wrote_is_relied_on() -> None:
    """What else could be two things is what the mode says."""
    told = {"decimal.handling.mode": "precise", "binary.handling.mode": "bytes", "time.precision.mode": "microseconds"}
    found = read(written({"whole": "1234", "blob": "deadbeef", "naive": 1_700_000_000_000}, told), told)
    assert found.refused == ()
    first = {name: values(found, f"after_{name}")[0] for name in ("whole", "blob", "naive")}
    assert first == {"whole": "-2658824", "blob": "\\x75e69d6de79f", "naive": "1970-01-20 16:13:20"}


def test_what_is_no_change_or_of_no_declared_table() -> None:
    good = written({})["value"][1].as_py()
    other = json.loads(good)
    other["source"]["table"] = "strange"
    twice = good.replace(b'"small":null', b'"small":null,"small":1')
    raw = [b"null", b"", b"5", b"\xff", b'{"id":1}', b"[]", json.dumps(other).encode(), twice, good, b'{"a":', json.dumps(json.loads(good), indent=1).encode()]
    table = pa.Table.from_pylist([{"key": None, "value": one, "headers": None} for one in raw], schema=written({}).schema)
    for topic in ("bv.public.wide", "bv.public.routed"):
        found = read(table, {}, topic)
        codes = {one.row: one.code for one in found.refused}
        assert codes == {0: "NoChange", 1: "UnreadableValue", 2: "NoChange", 3: "UnreadableValue", 4: "NoChange", 5: "NoChange", 7: "UnreadableValue", 9: "UnreadableValue"}
        assert [made.relation for made in found.batches] == ["public.wide"]
        assert values(found, "after_id") == ["1", "1"]


def test_declared_columns_that_debezium_does_not_send_are_not_there() -> None:
    """As with a schema that has none of them: nothing is said of their values."""
    value = json.loads(written({})["value"][1].as_py())
    del value["after"]["price"]
    found = read(pa.Table.from_pylist([{"key": None, "value": json.dumps(value).encode(), "headers": None}], schema=written({}).schema), {})
    assert found.batches[0].columns == tuple(name for name in NAMES if name != "price")
    assert pl.DataFrame(pl.from_arrow(found.batches[0].data))["after_text"].to_list() == ["t"]
