"""Every wrong declaration fails when its class is made, with the field's path and the remedy."""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum
from types import new_class
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest

from bitvelocity.contracts import (
    Bits,
    Default,
    Entity,
    Generated,
    Identity,
    Index,
    Json,
    Key,
    Length,
    Naive,
    Name,
    Native,
    Numeric,
    OneOf,
    Partition,
    Pattern,
    Pii,
    Range,
    Ref,
    Reference,
    Zoned,
)
from bitvelocity.errors import DeclarationError


class Number(IntEnum):
    ONE = 1


class Parent(Entity):
    parent_id: Annotated[int, Key()]


def declare(fields: dict[str, Any], bases: tuple[type, ...] = (Entity,), **keywords: Any) -> None:
    defaults = {name: given[1] for name, given in fields.items() if isinstance(given, tuple)}
    annotations = {name: given[0] if isinstance(given, tuple) else given for name, given in fields.items()}
    body = {"__module__": __name__, "__annotations__": annotations, **defaults}
    new_class("Thing", bases, keywords, lambda namespace: namespace.update(body))


def field(annotation: Any, *default: Any) -> Callable[[], None]:
    given = (annotation, *default) if default else annotation
    return lambda: declare({"thing_id": Annotated[int, Key()], "x": given})


def entity(**keywords: Any) -> Callable[[], None]:
    return lambda: declare(
        {"thing_id": Annotated[UUID, Key()], "x": int, "y": datetime, "z": str | None}, **{"audit": False, **keywords}
    )


FIELDS: list[tuple[Callable[[], None], str, str]] = [
    (field(Decimal), "a Decimal needs its digits", r"Numeric\(10, 2\)"),
    (field(Annotated[Decimal, Numeric(39, 2)]), "39 digits", "38"),
    (field(Annotated[Decimal, Numeric(0, 0)]), "0 digits", "38"),
    (field(Annotated[Decimal, Numeric(5, 6)]), "6 digits after the point", "lower the scale"),
    (field(list[Annotated[Decimal, Numeric(50, 6)]]), "50 digits", "38"),
    (field(Annotated[str, Numeric(5, 2)]), "does not fit text", "for Decimal"),
    (field(Annotated[int, Length(5)]), "does not fit int64", "for str"),
    (field(Annotated[str, Length(0)]), "a length of 0", "leave Length out"),
    (field(Annotated[str, Bits(16)]), "does not fit text", "for int"),
    (field(Annotated[date, Naive()]), "does not fit date", "for datetime"),
    (field(Annotated[datetime, Zoned()]), "does not fit timestamptz", "for time"),
    (field(Annotated[str, Length(3), Length(4)]), "said twice", "keep one"),
    (field(Annotated[list[str], Length(3)]), "stands on the list", "on the element"),
    (field(Annotated[dict[str, Any], Json(), Native("x")]), "says the whole type", "remove"),
    (field(Annotated[int, Key]), "Key stands without parentheses", r"Key\(\)"),
    (field(int | str), "one type", r"Json\(\)"),
    (field(Any), "Any says nothing", "Native"),
    (field(complex), "complex has no column type", "plain Python type"),
    (field(list[dict[str, Any]]), "one document or an array", r"Json\(\)"),
    (field(list[list[int]]), "dimensions", "one list"),
    (field(Number), "choice 1 is not text", "as text"),
    (field(Literal["a", 2]), "choice 2 is not text", "as text"),
    (field("Nowhere"), "'Nowhere'", "import or define"),
    (field("list["), "cannot be read", "write a type"),
    (field(str, 5), "5 is no text", "give str"),
    (field(int, True), "True is no int64", "give int"),
    (field(int, "1"), "'1' is no int64", "give int"),
    (field(Annotated[Decimal, Numeric(5, 2)], 1.5), "never exact", r'Decimal\("1.5"\)'),
    (field(Annotated[Decimal, Numeric(5, 2)], Decimal("1.555")), r"does not fit decimal\(5,2\)", "fewer digits"),
    (field(Annotated[Decimal, Numeric(5, 2)], 1000), r"does not fit decimal\(5,2\)", "fewer digits"),
    (field(Annotated[int, Bits(16)], 40000), "does not fit int16", "wider"),
    (field(str, None), "may not be NULL", "None"),
    (field(datetime, datetime(2026, 1, 1)), "no time zone", "UTC"),  # noqa: DTZ001
    (field(float, float("nan")), "not a finite number", "leave"),
    (field(list[str], ["a"]), "must be empty", "ARRAY"),
    (field(Annotated[int, Default("1")], 1), "two defaults", "keep"),
    (field(Literal["A"], "B"), "none of the choices", "use one of A"),
    (field(Annotated[Literal["A"], Default("'B'")]), "none of the choices", "use one of A"),
    (field(Annotated[str, Length(2)], "abc"), "longer than 2", "shorten"),
    (field(Annotated[str, Pattern("[A-Z]+")], "abc"), "does not match", "correct"),
    (field(Annotated[int, Range(0, 9)], 10), "outside its own range", "correct"),
    (field(Annotated[int, Default("'ten'")]), "'ten' is no int64", "give a value"),
    (field(Annotated[int, Range(9, 0)]), "range from 9 to 0 is empty", "swap"),
    (field(Annotated[int, Range("a")]), "'a' is no int64", "give a value"),
    (field(Annotated[Decimal, Numeric(5, 2), Range(0.1)]), "never exact", "Decimal"),
    (field(Annotated[str, Range(0)]), "Range does not fit text", "numbers, dates"),
    (field(Annotated[str, Pattern("[a")]), "does not compile", "correct"),
    (field(Annotated[str, Pattern(r"\bx")]), "word boundary", "use"),
    (field(Annotated[int, Pattern("x")]), "Pattern does not fit int64", "for str"),
    (field(Annotated[int, OneOf("a")]), "OneOf does not fit int64", "for str"),
    (field(Annotated[str, OneOf("a", "a")]), "'a' is there twice", "keep one"),
    (field(Annotated[str, Pii("mail")]), "'mail' is no class of personal data", "email"),
    (field(Annotated[str, Identity()]), "numbers integers", "use int"),
    (field(Annotated[int | None, Identity()]), "never NULL", "remove"),
    (field(Annotated[int, Identity(), Default("1")]), "exclude each other", "keep one"),
    (field(Annotated[int, Generated("1"), Default("1")]), "exclude each other", "keep one"),
    (field(Annotated[int | None, Key()]), "part of the key and may be NULL", "remove"),
    (field(Annotated[int, Ref("customers")]), "does not name a column", "table.column"),
    (field(Annotated[int, Ref("a.b", on_delete="explode")]), "on_delete='explode'", "cascade"),  # type: ignore[arg-type]
    (field(Annotated[int, Name("_x")]), "leading underscore", "rename"),
    (field(Annotated[int, Name("xmin")]), "PostgreSQL keeps this name", "rename"),
    (field(Annotated[int, Name("é" * 32)]), "longer than 63 bytes", "shorten"),
    (field(Annotated[int, Name("")]), "is no name", "at least one character"),
    (field(Annotated[int, Name("thing_id")]), "two fields have this column name", "rename"),
    (field(Annotated[Literal[()], Native("mood")]), "an enum type needs a value", "list them"),
]

ENTITIES: list[tuple[Callable[[], None], str, str]] = [
    (entity(tabel="x"), "no keyword tabel=", "did you mean table="),
    (entity(audit="no"), "audit= has 'no'", "give bool"),
    (entity(key="x"), "key= has 'x'", "give tuple"),
    (entity(partition="y"), "partition= has 'y'", "give Partition"),
    (entity(indexes=["x"]), "indexes= holds 'x'", "give Index"),
    (entity(key=("x",)), "the key is said twice", "keep one"),
    (entity(table=""), "the table name '' is no name", "at least one"),
    (entity(name="Thing-1"), "'Thing-1' does not do for the lake", "a-z"),
    (entity(retention="for ever"), "'for ever' is no interval", "7 years"),
    (entity(retention="0 days"), "'0 days' is no interval", "7 years"),
    (entity(replica_identity="half"), "'half' is unknown", "full"),
    (entity(unique=["a"]), "no column 'a'", "the columns are thing_id, x, y, z"),
    (entity(unique=["x", "x"]), "unique x is said twice", "keep one"),
    (entity(indexes=[Index(name="i", columns=("xx desc",))]), "no column 'xx'", "did you mean 'x'"),
    (entity(indexes=[Index(name="i", columns=())]), "has no columns", "name at least one"),
    (entity(indexes=[Index(name="i", columns=("x",), include=("w",))]), "no column 'w'", "the columns are"),
    (entity(indexes=[Index(name="i", columns=("x",))] * 2), "two indexes are named 'i'", "rename"),
    (entity(indexes=[Index(name="i", columns=("x desc",), method="brin")]), "brin has no order", "remove"),
    (entity(indexes=[Index(name="i", columns=("x",), method="hash", unique=True)]), "cannot be unique", "btree"),
    (entity(partition=Partition(column="yy")), "no column 'yy'", "did you mean 'y'"),
    (entity(partition=Partition(column="x")), "Thing.x: partitions of time need a timestamptz", "uuid7"),
    (entity(partition=Partition(column="y", step="decade")), "'decade'", "month"),  # type: ignore[arg-type]
    (entity(partition=Partition(column="y", ahead=-1)), "negative", "count from 0"),
    (entity(partition=Partition(column="y"), unique=["x"]), "does not hold the partition column 'y'", "add it"),
    (entity(partition=Partition(column="x", by="uuid7")), "Thing.x: .*whole key", "by="),
    (
        entity(references=[Reference(columns=("x", "q"), to="t", to_columns=("a",))]),
        "pairs 2 with 1 columns",
        "as many",
    ),
    (lambda: declare({}, audit=False), "it has no fields", "declare at least one"),
    (lambda: declare({"x": int}), "it has no key", r"key=\(\)"),
    (lambda: declare({"spec": int, "x": Annotated[int, Key()]}), "Thing.spec: the name is taken", "spec_"),
    (lambda: declare({"x": int}, key=(), replica_identity="default"), "without a key", "Key"),
    (lambda: declare({"x": Annotated[int, Key()]}, (Parent,)), "inherits from the entity Parent", "plain class"),
    (lambda: declare({"x": Annotated[int, Key()], "version": str}), "Thing.version: the audit column is int32", "rename"),
    (lambda: declare({"x": Annotated[int, Key()], "price": float}), "Thing.price: it looks like money", r"Measured\(\)"),
]


@pytest.mark.parametrize(("make", "what", "remedy"), FIELDS, ids=[what for _, what, _ in FIELDS])
def test_a_wrong_field(make: Callable[[], None], what: str, remedy: str) -> None:
    with pytest.raises(DeclarationError, match=what) as caught:
        make()
    assert "Thing" in caught.value.what
    assert_remedy(caught.value, remedy)


@pytest.mark.parametrize(("make", "what", "remedy"), ENTITIES, ids=[what for _, what, _ in ENTITIES])
def test_a_wrong_entity(make: Callable[[], None], what: str, remedy: str) -> None:
    with pytest.raises(DeclarationError, match=what) as caught:
        make()
    assert_remedy(caught.value, remedy)


def assert_remedy(error: DeclarationError, remedy: str) -> None:
    assert re.search(remedy, f"{error.what} {error.remedy}"), str(error)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(
            {"a": Decimal, "b": Annotated[str, Pii("mail")], "c": Annotated[int, Range(3, 1)], "d": "Nope"},
            key=("a", "d", "e"),
            retention="ever",
        )
    said = str(caught.value)
    assert said.startswith("[thing] 6 problems")
    for path in ("Thing.a:", "Thing.b:", "Thing.c:", "Thing.d:", "there is no column 'e'", "Thing: the retention"):
        assert path in said
    assert "'a'" not in said, "a field that could not be read makes no second problem"


def test_a_foreign_table_may_be_what_ours_may_not() -> None:
    """PostgreSQL has it already: what matters is that we read it as it is."""
    declare(
        {
            "id": Annotated[int, Name("_id"), Key()],
            "price": float,
            "wide": Annotated[Decimal, Numeric(100, 50)],
            "shifted": Annotated[Decimal, Numeric(2, -3)],
            "mood": Annotated[Literal["a"], Native("mood"), Default("'b'::mood")],
        },
        managed=False,
        audit=False,
    )
