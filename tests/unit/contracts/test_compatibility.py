"""Differences between two versions of a contract, and whom they break."""

from dataclasses import replace

import pytest

from bitvelocity.contracts import Column, Difference, EntitySpec, Type, differences
from bitvelocity.contracts.spec import EntitySpec as Spec

ID = Column(name="id", type=Type("int64"))
AMOUNT = Column(name="amount", type=Type("decimal", precision=10, scale=2))
STATUS = Column(name="status", type=Type("text", length=10), choices=("A", "B"))


def spec(*columns: Column) -> EntitySpec:
    return Spec(name="t", table="t", columns=(ID, *columns), key=("id",), audit=False)


def only(old: Column, new: Column) -> Difference:
    (difference,) = differences(spec(old), spec(new))
    return difference


def test_equal_specs_do_not_differ() -> None:
    assert differences(spec(AMOUNT, STATUS), spec(STATUS, AMOUNT)) == ()


@pytest.mark.parametrize(
    ("column", "compatible"),
    [
        (replace(AMOUNT, nullable=True), True),
        (replace(AMOUNT, default="0"), True),
        (replace(ID, name="n", identity=True), True),
        (AMOUNT, False),
    ],
)
def test_added(column: Column, compatible: bool) -> None:
    (difference,) = differences(spec(), spec(column))
    assert (difference.kind, difference.column, difference.compatible) == ("added", column.name, compatible)


def test_dropped() -> None:
    (difference,) = differences(spec(AMOUNT), spec())
    assert (difference.kind, difference.compatible) == ("dropped", False)


def test_one_gone_and_one_come_of_the_same_type_may_be_a_rename() -> None:
    (difference,) = differences(spec(AMOUNT), spec(replace(AMOUNT, name="total")))
    assert (difference.kind, difference.column) == ("renamed", "total")
    both = spec(replace(AMOUNT, name="total"), replace(AMOUNT, name="sum"))
    assert {one.kind for one in differences(spec(AMOUNT), both)} == {"added", "dropped"}


@pytest.mark.parametrize(
    ("old", "new", "compatible"),
    [
        (Type("int16"), Type("int64"), True),
        (Type("int64"), Type("int32"), False),
        (Type("float32"), Type("float64"), True),
        (Type("text", length=5), Type("text", length=9), True),
        (Type("text", length=5), Type("text"), True),
        (Type("text"), Type("text", length=5), False),
        (Type("char", length=3), Type("text", length=3), True),
        (Type("decimal", precision=10, scale=2), Type("decimal", precision=12, scale=2), True),
        (Type("decimal", precision=10, scale=2), Type("decimal", precision=12, scale=4), True),
        (Type("decimal", precision=10, scale=2), Type("decimal", precision=10, scale=4), False),
        (Type("decimal", precision=10, scale=2), Type("decimal"), True),
        (Type("decimal"), Type("decimal", precision=10, scale=2), False),
        (Type("enum", native="m", choices=("a",)), Type("enum", native="m", choices=("a", "b")), True),
        (Type("enum", native="m", choices=("a", "b")), Type("enum", native="m", choices=("a",)), False),
        (Type("array", item=Type("int32")), Type("array", item=Type("int64")), True),
        (Type("text"), Type("uuid"), False),
        (Type("timestamp"), Type("timestamptz"), False),
    ],
    ids=str,
)
def test_type_changes(old: Type, new: Type, compatible: bool) -> None:
    difference = only(replace(AMOUNT, type=old), replace(AMOUNT, type=new))
    assert (difference.kind, difference.compatible) == ("type", compatible)


def test_null_is_news_to_readers_or_to_writers() -> None:
    loose = replace(AMOUNT, nullable=True)
    assert "readers" in only(AMOUNT, loose).what
    assert "writers" in only(loose, AMOUNT).what
    assert not only(AMOUNT, loose).compatible


@pytest.mark.parametrize(
    ("choices", "compatible"), [(("A", "B", "C"), True), ((), True), (("A",), False)]
)
def test_choices(choices: tuple[str, ...], compatible: bool) -> None:
    difference = only(STATUS, replace(STATUS, choices=choices))
    assert (difference.kind, difference.compatible) == ("choices", compatible)
    assert not only(replace(STATUS, choices=()), STATUS).compatible


def test_another_key() -> None:
    (difference,) = differences(spec(AMOUNT), replace(spec(AMOUNT), key=("id", "amount")))
    assert (difference.kind, difference.compatible) == ("key", False)
